"""JSON for a schema."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from xrouter.sandbox.schema import example

NODE = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 9},
        "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]},
        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
    },
    "required": ["name", "next", "children"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "date"},
        {"type": "string", "maxLength": 2},
        {"type": "integer", "minimum": 5, "maximum": 9},
        {"type": "integer", "maximum": -3},
        {"type": "integer", "minimum": 7, "multipleOf": 5},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "number", "maximum": 0},
        {"type": ["null", "string"]},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 3},
        {"type": "array", "maxItems": 0},
        {"enum": ["снег", "rain"]},
        {"const": 4},
        {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        {"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}]},
        {"$ref": "#/$defs/node", "$defs": {"node": NODE}},
        {"type": "object", "properties": {"x": {"type": "object", "properties": {}}}},
        {},
    ],
)
def test_the_example_fits(schema: dict[str, Any]) -> None:
    jsonschema_rs.validate(schema, example(schema))
    assert example(schema) == example(schema)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        [],
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
        {"type": "integer", "minimum": "x"},
        {"type": "object", "properties": {"a": 1}},
        {"allOf": [1]},
    ],
)
def test_nonsense_is_taken_as_free(schema: Any) -> None:
    assert example(schema) in ({}, None, {"a": {}})
