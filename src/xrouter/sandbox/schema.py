"""JSON that fits a JSON schema: the smallest honest example, always the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

DEPTH_MAX = 8
ITEMS_MAX = 100

_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example(schema: Any) -> Any:
    """A value that fits the schema. What is not understood is taken as free."""
    root = schema if isinstance(schema, dict) else {}
    try:
        return _value(root, root, 0)
    except (TypeError, ValueError, AttributeError, KeyError):
        return {}


def _value(schema: Any, root: dict[str, Any], depth: int) -> Any:
    if not isinstance(schema, dict):
        return {}
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("enum", "examples"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    if "$ref" in schema:
        return _value(_resolved(schema["$ref"], root), root, depth + 1) if depth < 32 else None  # noqa: PLR2004 - a schema that only refers to itself has no value
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list) and schema[key]:
            return _value(_shallowest(schema[key], depth), root, depth + 1)
    if isinstance(schema.get("allOf"), list):
        schema = _merged(schema, root)
    return _MAKERS[_type_of(schema, depth)](schema, root, depth)


def _type_of(schema: dict[str, Any], depth: int) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        rest = [name for name in kind if name != "null"]
        kind = "null" if depth >= DEPTH_MAX and "null" in kind else next(iter(rest), "null")
    if kind in _MAKERS:
        return str(kind)
    return "array" if "items" in schema else "object"


def _shallowest(options: list[Any], depth: int) -> Any:
    """The first option that is not null; deep down null, where it may be."""
    nulls = [option for option in options if option == {"type": "null"}]
    if depth >= DEPTH_MAX and nulls:
        return nulls[0]
    return next((option for option in options if option not in nulls), options[0])


def _merged(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        piece = _resolved(part["$ref"], root) if isinstance(part, dict) and "$ref" in part else part
        if isinstance(piece, dict):
            properties = {**merged.get("properties", {}), **piece.get("properties", {})}
            required = [*merged.get("required", []), *piece.get("required", [])]
            merged |= piece
            merged |= {"properties": properties, "required": required}
    return merged


def _resolved(reference: Any, root: dict[str, Any]) -> Any:
    """A local reference (`#/$defs/x`); an unknown one is free."""
    value: Any = root
    for step in str(reference).removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        value = value.get(name, {}) if isinstance(value, dict) else {}
    return value


def _object(schema: dict[str, Any], root: dict[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    required = schema.get("required") or []
    return {
        name: _value(inner, root, depth + 1)
        for name, inner in properties.items()
        if depth < DEPTH_MAX or name in required
    }


def _array(schema: dict[str, Any], root: dict[str, Any], depth: int) -> list[Any]:
    least = schema.get("minItems", 0)
    count = min(max(least, 0 if depth >= DEPTH_MAX else 1), ITEMS_MAX)
    count = min(count, schema.get("maxItems", count))
    return [_value(schema.get("items", {}), root, depth + 1) for _ in range(count)]


def _string(schema: dict[str, Any], _root: dict[str, Any], _depth: int) -> str:
    text = _FORMATS.get(schema.get("format", ""), "sample")
    return text.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]


def _integer(schema: dict[str, Any], _root: dict[str, Any], _depth: int) -> int:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    high = schema.get("maximum", schema.get("exclusiveMaximum", max(low, 1) + 1) - 1)
    value = int(min(max(low, 1), high))
    step = schema.get("multipleOf")
    return value if not step else int(-(-value // step) * step)


def _number(schema: dict[str, Any], _root: dict[str, Any], _depth: int) -> float:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 0.5)
    high = schema.get("maximum", schema.get("exclusiveMaximum", max(low, 1) + 1) - 0.5)
    return float(min(max(low, 1.5), high))


_MAKERS: dict[str, Callable[[dict[str, Any], dict[str, Any], int], Any]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda *_: True,
    "null": lambda *_: None,
}
