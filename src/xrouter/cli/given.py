"""What commands are given: pairs, secrets, JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from xrouter.cli.output import fail


def pairs(given: list[str] | None, what: str = "A credential or option") -> dict[str, str]:
    """`name=value`, several of them."""
    found = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise fail(f"{what} has no name or no value.", "Write name=value.")
        found[name] = value
    return found


def secrets(given: list[str] | None) -> dict[str, str]:
    """`name=value`, `name=@file`, `name=-` for standard input."""
    return {name: _secret(name, value) for name, value in pairs(given).items()}


def numbers(given: list[str] | None, what: str) -> dict[str, float]:
    """`name=number`, several of them."""
    try:
        return {name: float(value) for name, value in pairs(given, what).items()}
    except ValueError:
        raise fail(f"{what} is no number.", "Write name=seconds.") from None


def json_object(text: str | None, what: str) -> dict[str, Any]:
    """A JSON object, empty for nothing."""
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise fail(f"{what} is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise fail(f"{what} must be a JSON object.")
    return found


def _secret(name: str, value: str) -> str:
    if value == "-":
        return sys.stdin.read().strip()
    if value.startswith("@"):
        try:
            return Path(value[1:]).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise fail(f"The credential '{name}' could not be read: {error}") from None
    return value
