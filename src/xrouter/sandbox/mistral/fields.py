"""The closed schema: every field is known and of its type, or the answer is 422."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xrouter.sandbox.mistral.errors import Wrong

Loc = tuple[str | int, ...]
Check = Callable[[Any, Loc, list[Wrong]], None]


def closed(
    given: Any, loc: Loc, known: Mapping[str, Check], needed: tuple[str, ...], wrong: list[Wrong]
) -> bool:
    """Check an object; whether it is one. Null is as good as absent where not needed."""
    if not isinstance(given, dict):
        kind = "Input should be a valid dictionary or object to extract fields from"
        wrong.append(Wrong("model_attributes_type", loc, kind, given))
        return False
    absent = [name for name in needed if name not in given]
    wrong.extend(Wrong("missing", (*loc, name), "Field required", given) for name in absent)
    for name, value in given.items():
        if name not in known:
            text = "Extra inputs are not permitted"
            wrong.append(Wrong("extra_forbidden", (*loc, name), text, value))
        elif value is not None or name in needed:
            known[name](value, (*loc, name), wrong)
    return True


def anything(_value: Any, _loc: Loc, _wrong: list[Wrong]) -> None:
    """Whatever it is."""


def string(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    """A text."""
    if not isinstance(value, str):
        wrong.append(Wrong("string_type", loc, "Input should be a valid string", value))


def boolean(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    """True or false."""
    if not isinstance(value, bool):
        wrong.append(Wrong("bool_type", loc, "Input should be a valid boolean", value))


def mapping(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    """An object of any fields."""
    if not isinstance(value, dict):
        wrong.append(Wrong("dict_type", loc, "Input should be a valid dictionary", value))


def array(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    """A list of anything."""
    if not isinstance(value, list):
        wrong.append(Wrong("list_type", loc, "Input should be a valid list", value))


def strings(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    """A text or a list of texts."""
    for index, one in enumerate(value) if isinstance(value, list) else ():
        string(one, (*loc, index), wrong)
    if not isinstance(value, list):
        string(value, loc, wrong)


def number(low: float, high: float, *, whole: bool = False) -> Check:
    """A number within limits."""
    name = "int_type" if whole else "float_type"
    text = "Input should be a valid integer" if whole else "Input should be a valid number"

    def check(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
        fits = isinstance(value, int) or (isinstance(value, float) and not whole)
        if isinstance(value, bool) or not fits:
            wrong.append(Wrong(name, loc, text, value))
        elif value < low:
            told = f"Input should be greater than or equal to {low:g}"
            wrong.append(Wrong("greater_than_equal", loc, told, value))
        elif value > high:
            told = f"Input should be less than or equal to {high:g}"
            wrong.append(Wrong("less_than_equal", loc, told, value))

    return check


def integer(low: float = -(2**63), high: float = 2**63) -> Check:
    """A whole number within limits."""
    return number(low, high, whole=True)


def one_of(*values: str) -> Check:
    """One of these words."""
    text = f"Input should be {', '.join(repr(one) for one in values)}"

    def check(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
        if value not in values:
            wrong.append(Wrong("literal_error", loc, text, value))

    return check
