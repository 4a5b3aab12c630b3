"""Schemas that llama.cpp's server would choke on."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.llamacpp.schema import mend, sound_schemas

SOUND: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "string", "minLength": 2, "maxLength": 2}, "b": {"const": True}},
    "required": ["a"],
    "additionalProperties": False,
    "$defs": {"c": {"enum": [True, False]}},
}


WRONG = {"properties": 5, "anyOf": "x", "minItems": "x", "items": 5}


LESS = {"type": "string", "minLength": 3, "maxLength": 2}
CLOSE = {
    "minimum": 2, "maximum": 2, "exclusiveMinimum": True, "exclusiveMaximum": 3,
    "minLength": "3", "maxLength": 2, "default": LESS, "enum": [LESS], "const": LESS,
    "pattern": r"^\{3,2}[{3,2}\]]\\[{3,2}]a{2,3}b{3}c{3,}$",
    "properties": {"minLength": {}, "maxLength": {"type": "integer", "minimum": -5, "maximum": -2}},
    "not": {"exclusiveMinimum": 2, "exclusiveMaximum": 3},
}  # fmt: skip
"""Nothing is wrong with it, close as it comes."""


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    "given,expected",
    [
        (SOUND, SOUND),
        (True, {}),
        ({"properties": {"a": True, "b": False}}, {"properties": {"a": {}}}),
        ({"items": True}, {"items": {}}),
        ({"items": False}, {"maxItems": 0}),
        ({"items": [True, {}]}, {"items": [{}, {}]}),
        ({"prefixItems": [True], "items": False}, {"prefixItems": [{}]}),
        ({"oneOf": [False, True]}, {"oneOf": [{}]}),
        ({"$defs": {"a": True}, "definitions": {}}, {"$defs": {"a": {}}, "definitions": {}}),
        ({"additionalProperties": {"items": True}}, {"additionalProperties": {"items": {}}}),
        (WRONG, WRONG),
        (CLOSE, CLOSE),
        (deep(90), deep(90)),
    ],
)  # fmt: skip
def test_what_is_mended(given: Any, expected: Any) -> None:
    assert mend(given, "x") == expected


@pytest.mark.parametrize(
    "given,words",
    [
        ({"minLength": 3, "maxLength": 2}, "`minLength` and `maxLength` leave no value"),
        ({"properties": {"a": {"items": {"minItems": 3, "maxItems": 2}}}}, "no value"),
        ({"$defs": {"a": {"minItems": 1, "maxItems": 0}}}, "no value"),
        ({"anyOf": [{"minLength": 1, "maxLength": 0}]}, "no value"),
        ({"$ref": "#/components/a", "components": {"a": LESS}}, "no value"),
        ({"properties": {"default": LESS}}, "no value"),
        ({"items": False, "minItems": 1}, "no value"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "`minimum` and `maximum`"),
        ({"minimum": 0.2, "maximum": 0.1}, "`minimum` and `maximum`"),
        ({"type": "integer", "exclusiveMinimum": 2, "exclusiveMaximum": 3}, "no value"),
        ({"type": "integer", "minimum": 3, "exclusiveMaximum": 3}, "exclusiveMaximum"),
        ({"type": "integer", "minimum": 0, "exclusiveMinimum": 5, "maximum": 5}, "no value"),
        ({"type": "string", "pattern": "^a{3,2}$"}, "at least 3 and at most 2"),
        (False, "allows nothing"),
        ({"allOf": [False]}, "allows nothing"),
        ({"anyOf": [False]}, "allows nothing"),
        (deep(200), "deeper"),
    ],
)
def test_what_is_refused(given: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as refused:
        mend(given, "json_schema")
    assert refused.value.param == "json_schema"


HANGS = {"type": "string", "minLength": 3, "maxLength": 2}


@pytest.mark.parametrize(
    "fields,param",
    [
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": HANGS}}},
            "response_format.json_schema.schema",
        ),
        ({"response_format": {"type": "json_object", "schema": HANGS}}, "response_format.schema"),
        ({"json_schema": HANGS}, "json_schema"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": HANGS}}]},
            "tools[0].function.parameters",
        ),
    ],
)
def test_every_schema_of_a_request_is_looked_at(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        mended(fields)
    assert refused.value.param == param


def test_bytes_stay_where_nothing_is_to_be_mended() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": SOUND}}
    fields = {"response_format": {"type": "json_object"}, "json_schema": SOUND, "tools": [tool]}
    assert all(isinstance(value, msgspec.Raw) for value in mended(fields).values())
    loose = {"type": "json_object", "schema": {"properties": {"a": True}}}
    made = mended({"response_format": loose, "json_schema": {"items": True}})
    assert made["response_format"]["schema"] == {"properties": {"a": {}}}
    assert made["json_schema"] == {"items": {}}


def mended(fields: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps({"model": "m", "messages": [{"role": "user"}], **fields}).encode()
    request = msgspec.json.decode(body, type=ChatRequest)
    made: dict[str, Any] = dict(msgspec.json.decode(body, type=Fields))
    sound_schemas(request, made)
    return made
