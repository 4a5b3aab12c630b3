"""JSON as a protobuf gateway reads it: names in camelCase or snake_case, nothing unknown.

A kind reads a value at a place (its path, for errors) and raises Refusal when it cannot.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from xrouter.sandbox.yandex.errors import INVALID, Refusal

Kind = Callable[[Any, str], Any]
_HUMP = re.compile(r"[A-Z]")
_INT64_MAX = 2**63 - 1


def text(value: Any, place: str) -> str:
    """A string."""
    if not isinstance(value, str):
        raise _invalid(place, "string", value)
    return value


def flag(value: Any, place: str) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        raise _invalid(place, "bool", value)
    return value


def int64(value: Any, place: str) -> int:
    """An integer, as a number or as a string."""
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        raise _invalid(place, "int64", value) from None
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or abs(number) > _INT64_MAX:
        raise _invalid(place, "int64", value)
    return number


def double(value: Any, place: str) -> float:
    """A number, or a string of one."""
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        raise _invalid(place, "double", value) from None
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise _invalid(place, "double", value)
    return number


def struct(value: Any, place: str) -> dict[str, Any]:
    """Any object."""
    if not isinstance(value, dict):
        raise _invalid(place, "Struct", value)
    return value


def enum(*names: str) -> Kind:
    """One of these names."""

    def read(value: Any, place: str) -> Any:
        if value not in names:
            raise _invalid(place, "enum", value)
        return value

    return read


def repeated(kind: Kind) -> Kind:
    """An array."""

    def read(value: Any, place: str) -> Any:
        if not isinstance(value, list):
            raise _invalid(place, "array", value)
        return [kind(one, f"{place}[{index}]") for index, one in enumerate(value)]

    return read


def message(fields: dict[str, Kind], oneof: tuple[str, ...] = ()) -> Kind:
    """An object of these fields (camelCase), of which at most one of `oneof` may be there.

    It is read into a dict with names in camelCase; null is the same as absent.
    """
    names = {name: name for name in fields} | {_snake(name): name for name in fields}

    def read(value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            raise _invalid(place, "message", value)
        found: dict[str, Any] = {}
        for given, inner in value.items():
            name = names.get(given)
            if name is None:
                raise Refusal(INVALID, f'unknown field "{given}" in {place or "request"}')
            if inner is None:
                continue
            if name in found:
                raise Refusal(INVALID, f'duplicate field "{given}" in {place or "request"}')
            found[name] = fields[name](inner, f"{place}.{name}" if place else name)
        if len([name for name in oneof if name in found]) > 1:
            raise Refusal(INVALID, f"only one of {', '.join(oneof)} may be set in {place}")
        return found

    return read


def _snake(name: str) -> str:
    return _HUMP.sub(lambda hump: f"_{hump.group().lower()}", name)


def _invalid(place: str, kind: str, value: Any) -> Refusal:
    shown = str(value)[:60]
    return Refusal(INVALID, f"invalid value for {kind} field {place or 'request'}: {shown}")
