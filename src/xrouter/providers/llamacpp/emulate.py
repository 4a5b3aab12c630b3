"""Tools for models whose template knows none: told in words, and called in JSON of a schema.

The model answers with one of

    {"tool_calls": [{"name": "...", "arguments": {...}}, ...]}
    {"response": "..."}

and nothing else is grammatical. Where the caller wants JSON himself, `response` is that JSON.
"""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.shapes.openai_body import is_null

_OF_TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
_LIKELIHOODS = ("logprobs", "top_logprobs")
_HEAD = "You can call these functions:"
_ONE = "Call one function at a time."
_TAIL = "Answer with one JSON object and nothing else."
_CALL = 'To call functions: {"tool_calls": [{"name": "...", "arguments": {...}}]}'
_SAY = 'To answer the user: {"response": "..."}'
_SAY_JSON = 'To answer the user: {"response": {...}}'


def emulate(request: ChatRequest, body: dict[str, Any], mode: str) -> tuple[str, list[str]]:
    """Put the tools of the body into its schema.

    mode: "auto" or "required". Returns what is to be told to the model, and the parameters given
    up: likelihoods would be those of the JSON. Raises InvalidRequest for a grammar besides.
    """
    if not is_null(body.get("grammar")):
        raise InvalidRequest(
            "'grammar' cannot be used together with 'tools'.", code="invalid_value", param="grammar"
        )
    functions = _functions(body["tools"])
    wanted = _wanted(body)
    single = request.parallel_tool_calls is False
    for name in _OF_TOOLS:
        body.pop(name, None)
    dropped = [name for name in _LIKELIHOODS if not is_null(body.pop(name, None))]
    schema = _schema(functions, mode, wanted, single=single)
    body["response_format"] = {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema},
    }
    return _told(functions, mode, single=single, says_json=wanted is not None), dropped


def _functions(tools: Any) -> list[dict[str, Any]]:
    given = msgspec.json.decode(msgspec.json.encode(tools), type=list[dict[str, Any]])
    return [tool["function"] for tool in given]


def _wanted(body: dict[str, Any]) -> Any:
    """The schema of the answer that the caller asks for, None for text."""
    given = body.pop("json_schema", None)
    if not is_null(given):
        return msgspec.json.decode(msgspec.json.encode(given))
    wanted = body.get("response_format")
    if is_null(wanted):
        return None
    form = msgspec.json.decode(msgspec.json.encode(wanted))
    kind = form.get("type")
    if kind == "json_schema":
        inner = form.get("json_schema")
        return inner.get("schema", {}) if isinstance(inner, dict) else {}
    return form.get("schema", {"type": "object"}) if kind == "json_object" else None


def _schema(
    functions: list[dict[str, Any]], mode: str, wanted: Any, *, single: bool
) -> dict[str, Any]:
    """The schema of the whole answer; schemas of others keep their references."""
    definitions: dict[str, Any] = {}
    alternatives = []
    for index, function in enumerate(functions):
        parameters = function.get("parameters") or {"type": "object", "properties": {}}
        definitions[f"f{index}"] = _rooted(parameters, f"#/$defs/f{index}")
        arguments = {"$ref": f"#/$defs/f{index}"}
        alternatives.append(_object(name={"const": function["name"]}, arguments=arguments))
    calls: dict[str, Any] = {"type": "array", "items": {"anyOf": alternatives}, "minItems": 1}
    if single:
        calls["maxItems"] = 1
    whole = _object(tool_calls=calls)
    if mode == "auto":
        said: dict[str, Any] = {"type": "string"}
        if wanted is not None:
            definitions["response"] = _rooted(wanted, "#/$defs/response")
            said = {"$ref": "#/$defs/response"}
        whole = {"anyOf": [whole, _object(response=said)]}
    return whole | {"$defs": definitions}


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _rooted(schema: Any, root: str) -> Any:
    """The schema with its own references leading to where it stands now."""
    if isinstance(schema, list):
        return [_rooted(part, root) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _rooted(part, root) for name, part in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        made["$ref"] = root + reference[1:]
    return made


def _told(functions: list[dict[str, Any]], mode: str, *, single: bool, says_json: bool) -> str:
    known = ("name", "description", "parameters")
    lines = [
        msgspec.json.encode({key: f[key] for key in known if f.get(key) is not None}).decode()
        for f in functions
    ]
    answers = [_CALL]
    if mode == "auto":
        answers.append(_SAY_JSON if says_json else _SAY)
    return "\n".join([_HEAD, *lines, *([_ONE] if single else ()), _TAIL, *answers])
