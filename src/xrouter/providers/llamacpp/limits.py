"""Limits in a JSON schema that contradict each other.

llama.cpp's server hangs on those of sizes, and answers to those of numbers with anything. They
matter wherever in the document they are: any place of it can be referred to.
"""

from __future__ import annotations

import re
from typing import Any

_SIZES = (("minLength", "maxLength"), ("minItems", "maxItems"))
_NAMED = ("properties", "$defs", "definitions")
_DATA = ("const", "enum", "default", "example", "examples")
"""What holds values, not schemas."""
_LITERAL = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]", re.DOTALL)
_REPEATED = re.compile(r"\{(\d{1,9}),(\d{1,9})\}")

Limit = tuple[float, str]
"""The smallest or largest value that is allowed, and the keyword that says so."""


def contradiction(schema: Any) -> str | None:
    """What is wrong with the first part that asks for at least more than at most."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            found = _of_sizes(part) or _of_numbers(part) or _of_pattern(part.get("pattern"))
            if found is not None:
                return found
            for name, value in part.items():
                if name in _NAMED and isinstance(value, dict):
                    waiting += value.values()
                elif name not in _DATA:
                    waiting.append(value)
    return None


def _of_sizes(part: dict[str, Any]) -> str | None:
    for low, high in _SIZES:
        found = _crossed(_limits(part, {low: 0}), _limits(part, {high: 0}))
        if found is not None:
            return found
    return None


def _of_numbers(part: dict[str, Any]) -> str | None:
    step = 1 if part.get("type") == "integer" else 0
    least = _limits(part, {"minimum": 0, "exclusiveMinimum": step})
    return _crossed(least, _limits(part, {"maximum": 0, "exclusiveMaximum": -step}))


def _limits(part: dict[str, Any], steps: dict[str, int]) -> list[Limit]:
    """Those that are set; steps: keyword -> how far the limit is from its number."""
    given = [(part.get(name), name) for name in steps]
    return [
        (value + steps[name], name)
        for value, name in given
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def _crossed(least: list[Limit], most: list[Limit]) -> str | None:
    if not least or not most:
        return None
    low, high = max(least), min(most)
    return f"`{low[1]}` and `{high[1]}` leave no value" if low[0] > high[0] else None


def _of_pattern(pattern: Any) -> str | None:
    if not isinstance(pattern, str):
        return None
    for few, many in _REPEATED.findall(_LITERAL.sub("x", pattern)):
        if int(few) > int(many):
            return f"`pattern` repeats at least {few} and at most {many} times"
    return None
