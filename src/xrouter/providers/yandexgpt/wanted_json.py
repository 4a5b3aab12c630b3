"""Answers in JSON, and what is asked for instead where a model refuses the proper way."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest

ANSWER_IN_JSON = "Answer with JSON only, without any other text."
"""Added to the system text when JSON is asked for: without a word of it in the prompt the model
may produce whitespace up to the limit."""

_Dict = dict[str, Any]
_NAME = "answer"


class Way(Enum):
    """How JSON is asked for: as the caller did, as a schema of any object, in words only."""

    ASKED = 1
    ANY_OBJECT = 2
    TOLD = 3


def wants_json(request: ChatRequest) -> bool:
    """Whether the answer is to be JSON. Raises InvalidRequest for a format that nobody knows."""
    kind = (request.response_format or {}).get("type", "text")
    if kind in ("text", "json_object", "json_schema"):
        return bool(kind != "text")
    raise InvalidRequest(
        f"Invalid value for 'response_format.type': '{kind}'.",
        code="invalid_value",
        param="response_format.type",
    )


def schema_of(request: ChatRequest) -> _Dict | None:
    """The JSON schema asked for; None where any object will do."""
    wanted = request.response_format or {}
    inner = wanted.get("json_schema") if wanted.get("type") == "json_schema" else None
    schema = inner.get("schema") if isinstance(inner, dict) else None
    return schema if isinstance(schema, dict) else None


def next_way(request: ChatRequest, way: Way, *, native: bool) -> Way | None:
    """What to try when this way is refused; None when there is nothing left, or no JSON in it."""
    if way is Way.TOLD or not wants_json(request):
        return None
    if way is Way.ASKED and schema_of(request) is None and not native:
        return Way.ANY_OBJECT
    return Way.TOLD


def instruction(request: ChatRequest, way: Way) -> str | None:
    """What the system text says of it; the schema, too, where it is said nowhere else."""
    if not wants_json(request):
        return None
    schema = schema_of(request)
    if way is not Way.TOLD or schema is None:
        return ANSWER_IN_JSON
    written = msgspec.json.encode(schema).decode()
    return f"{ANSWER_IN_JSON} It must fit this JSON schema: {written}"


def native_shape(request: ChatRequest, way: Way) -> _Dict:
    """Fields of the native body."""
    if way is Way.TOLD or not wants_json(request):
        return {}
    schema = schema_of(request)
    return {"jsonObject": True} if schema is None else {"jsonSchema": {"schema": schema}}


def compatible_shape(request: ChatRequest, way: Way) -> _Dict:
    """Fields of the compatible body. A schema needs a name there."""
    if way is Way.TOLD or not wants_json(request):
        return {}
    wanted = request.response_format or {}
    if way is Way.ANY_OBJECT:
        inner: _Dict = {"name": _NAME, "schema": {"type": "object"}}
        return {"response_format": {"type": "json_schema", "json_schema": inner}}
    inner = wanted.get("json_schema") or {}
    if wanted.get("type") != "json_schema" or not isinstance(inner, dict) or inner.get("name"):
        return {"response_format": wanted}
    return {"response_format": {**wanted, "json_schema": {"name": _NAME, **inner}}}
