"""Checks of strategies' options, and reading them where nobody checked them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xrouter.domain.errors import InvalidRequest

_MOST = 1_000_000_000

Options = Mapping[str, Any]


def only(options: Options, *names: str) -> None:
    """Refuse options that the strategy does not have. Raises InvalidRequest."""
    for name in options:
        if name not in names:
            known = f"there are: {', '.join(names)}" if names else "the strategy has none"
            raise wrong(name, f"there is no such option; {known}")


def whole_number(options: Options, name: str) -> None:
    """Refuse anything but a whole number from 0 to a billion, or nothing."""
    value = options.get(name)
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST:
        raise wrong(name, "must be a whole number")


def share(options: Options, name: str) -> None:
    """Refuse anything but a number from 0 to 1, or nothing."""
    value = options.get(name)
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise wrong(name, "must be a number from 0 to 1")


def one_of(options: Options, name: str, words: tuple[str, ...]) -> None:
    """Refuse anything but one of the words, or nothing."""
    value = options.get(name)
    if value is not None and value not in words:
        raise wrong(name, f"must be one of {', '.join(words)}")


def number(options: Options, name: str, default: float) -> float:
    """A number from 0 to a billion, else the default."""
    value = options.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST:
        return value
    return default


def wrong(name: str, reason: str) -> InvalidRequest:
    """An option of no sense."""
    param = f"policy.options.{name}"
    return InvalidRequest(
        f"Invalid value for '{param}': {reason}.", param=param, code="invalid_value"
    )
