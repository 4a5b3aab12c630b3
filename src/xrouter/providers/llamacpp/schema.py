"""JSON schemas as llama.cpp's server takes them: it makes a grammar of them.

It knows no schemas that are `true` or `false`, and some that contradict themselves make it hang.
"""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.llamacpp.limits import contradiction

Schema = dict[str, Any]

_DEPTH = 100
_NAMED = ("properties", "$defs", "definitions")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")


def sound_schemas(request: ChatRequest, body: dict[str, Any]) -> None:
    """Mend the schemas in a chat's body; bytes stay as they are where nothing is to be mended.

    Raises InvalidRequest that names the one which the server could not survive.
    """
    _mend_format(request, body)
    if request.tools:
        _mend_tools(body)
    raw = body.get("json_schema")
    given = None if raw is None else msgspec.json.decode(raw)
    if isinstance(given, dict):
        mended = mend(given, "json_schema")
        if mended != given:
            body["json_schema"] = mended


def _mend_format(request: ChatRequest, body: dict[str, Any]) -> None:
    wanted = request.response_format or {}
    inner = wanted.get("json_schema")
    if isinstance(inner, dict) and isinstance(inner.get("schema"), dict | bool):
        mended = mend(inner["schema"], "response_format.json_schema.schema")
        if mended != inner["schema"]:
            body["response_format"] = wanted | {"json_schema": inner | {"schema": mended}}
    elif isinstance(wanted.get("schema"), dict | bool):
        mended = mend(wanted["schema"], "response_format.schema")
        if mended != wanted["schema"]:
            body["response_format"] = wanted | {"schema": mended}


def _mend_tools(body: dict[str, Any]) -> None:
    tools: list[Any] = msgspec.json.decode(msgspec.json.encode(body["tools"]))
    changed = False
    for index, tool in enumerate(tools):
        function = tool["function"]
        given = function.get("parameters")
        if not isinstance(given, dict):
            continue
        mended = mend(given, f"tools[{index}].function.parameters")
        if mended != given:
            function["parameters"] = mended
            changed = True
    if changed:
        body["tools"] = tools


def mend(schema: Any, where: str) -> Any:
    """The schema without what the server cannot take. Raises InvalidRequest."""
    mender = _Mender(where)
    mended = mender.schema(schema, 0)
    flaw = contradiction(mended)
    if flaw is not None:
        raise mender.wrong(flaw)
    return mended


class _Mender:
    """One schema; where: the parameter that holds it."""

    def __init__(self, where: str) -> None:
        self._where = where

    def schema(self, given: Any, depth: int) -> Any:
        """The same, mended; what is no schema at all is left for the server to judge."""
        if given is True:
            return {}
        if given is False:
            raise self.wrong("a schema that is `false` allows nothing")
        if not isinstance(given, dict):
            return given
        if depth > _DEPTH:
            raise self.wrong(f"it is nested deeper than {_DEPTH} levels")
        return self._parts(given, depth)

    def _parts(self, given: Schema, depth: int) -> Schema:
        made = dict(given)
        for name in _NAMED:
            if isinstance(given.get(name), dict):
                made[name] = {
                    key: self.schema(part, depth + 1)
                    for key, part in given[name].items()
                    if part is not False
                }
        for name in _LISTED:
            if isinstance(given.get(name), list):
                rest = [
                    p for p in given[name] if p is not False or name in ("allOf", "prefixItems")
                ]
                made[name] = [self.schema(part, depth + 1) for part in rest or given[name]]
        if given.get("items") is False:
            del made["items"]
            if "prefixItems" not in given:
                made["maxItems"] = 0
        elif isinstance(given.get("items"), list):
            made["items"] = [self.schema(part, depth + 1) for part in given["items"]]
        elif "items" in given:
            made["items"] = self.schema(given["items"], depth + 1)
        if isinstance(given.get("additionalProperties"), dict):
            made["additionalProperties"] = self.schema(given["additionalProperties"], depth + 1)
        return made

    def wrong(self, why: str) -> InvalidRequest:
        """The refusal."""
        return InvalidRequest(
            f"Invalid schema in '{self._where}': {why}.",
            code="invalid_json_schema",
            param=self._where,
        )
