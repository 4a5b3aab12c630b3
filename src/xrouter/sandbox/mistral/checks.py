"""What the simulated Mistral refuses in a chat request: fields, tools, what a model cannot do."""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.sandbox.mistral.errors import ApiError, Wrong, invalid, refused
from xrouter.sandbox.mistral.fields import (
    Check,
    Loc,
    anything,
    array,
    boolean,
    closed,
    integer,
    mapping,
    number,
    one_of,
    string,
    strings,
)
from xrouter.sandbox.mistral.history import check_fields, check_order
from xrouter.sandbox.mistral.models import Model

Body = dict[str, Any]

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
NATIVE_TOOLS = ("image_generation", "document_library", "connector")


def check(body: Body, model: Model) -> None:
    """Raise ApiError for a request that the model does not take."""
    wrong: list[Wrong] = []
    closed(body, (), _FIELDS, ("model", "messages"), wrong)
    if not wrong:
        check_fields(body["messages"], wrong)
    if wrong:
        raise invalid(wrong)
    _check_model(body, model)
    check_order(body["messages"], late_system=not model.strict)


def _format(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    known = {"type": one_of("text", "json_object", "json_schema"), "json_schema": _schema}
    fits = closed(value, loc, known, ("type",), wrong)
    if fits and value.get("type") == "json_schema" and value.get("json_schema") is None:
        wrong.append(Wrong("missing", (*loc, "json_schema"), "Field required", value))


def _schema(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    known = {"name": string, "schema": mapping, "description": string, "strict": boolean}
    closed(value, loc, known, ("name", "schema"), wrong)


def _prediction(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    closed(value, loc, {"type": one_of("content"), "content": string}, ("content",), wrong)


def _tools(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    array(value, loc, wrong)
    for index, tool in enumerate(value) if isinstance(value, list) else ():
        if isinstance(tool, dict) and tool.get("type") in NATIVE_TOOLS:
            continue
        known: dict[str, Check] = {"type": one_of("function"), "function": _function}
        closed(tool, (*loc, index), known, ("function",), wrong)


def _function(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    known = {"name": string, "description": string, "strict": boolean, "parameters": mapping}
    closed(value, loc, known, ("name", "parameters"), wrong)


def _choice(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    if isinstance(value, dict):
        known: dict[str, Check] = {"type": one_of("function"), "function": _named}
        closed(value, loc, known, ("function",), wrong)
    else:
        one_of("auto", "none", "any", "required")(value, loc, wrong)


def _named(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    closed(value, loc, {"name": string}, ("name",), wrong)


def _messages(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    array(value, loc, wrong)
    if value == []:
        wrong.append(Wrong("too_short", loc, "List should have at least 1 item", value))


def _cache_key(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    string(value, loc, wrong)
    if isinstance(value, str) and not value.isascii():
        wrong.append(Wrong("value_error", loc, "Value error, must be ASCII", value))


_FIELDS: dict[str, Check] = {
    "model": string,
    "messages": _messages,
    "temperature": number(0, 1.5),
    "top_p": number(0, 1),
    "max_tokens": integer(0),
    "min_tokens": integer(0),
    "stream": boolean,
    "stop": strings,
    "random_seed": integer(),
    "metadata": mapping,
    "response_format": _format,
    "tools": _tools,
    "tool_choice": _choice,
    "parallel_tool_calls": boolean,
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "repetition_penalty": number(0, 10),
    "top_k": integer(),
    "n": integer(1),
    "prediction": _prediction,
    "reasoning_effort": one_of(*EFFORTS),
    "prompt_mode": one_of("reasoning"),
    "safe_prompt": boolean,
    "guardrails": array,
    "prompt_cache_key": _cache_key,
    "service_tier": one_of("auto", "standard_only"),
    "logprobs": boolean,
    "top_logprobs": integer(0, 20),
    "prompt_logprobs": anything,
    "top_prompt_logprobs": anything,
}


def _check_model(body: Body, model: Model) -> None:
    if body.get("reasoning_effort") is not None and not model.effort:
        raise _cannot("reasoning_effort", model)
    if body.get("prompt_mode") is not None and not model.mode:
        raise _cannot("prompt_mode", model)
    if body.get("tools") and not model.tools:
        raise _cannot("tools", model)
    kinds = set(_kinds(body["messages"]))
    if "image_url" in kinds and not model.vision:
        raise refused(f"Image input is not enabled for model {model.id}")
    if "input_audio" in kinds and not model.audio:
        raise refused(f"Audio input is not enabled for model {model.id}")
    if not model.strict:
        return
    if isinstance(body.get("tool_choice"), dict):
        raise _cannot("tool_choice", model)
    if (body.get("n") or 1) > 1:
        raise _cannot("n", model)
    if b'"$ref"' in msgspec.json.encode(body.get("tools")):
        raise refused("Invalid tool schema: $ref is not supported")


def _cannot(name: str, model: Model) -> ApiError:
    return refused(f"{name} is not supported for model {model.id}")


def _kinds(messages: list[dict[str, Any]]) -> list[str]:
    """The types of all chunks."""
    contents = [message.get("content") for message in messages]
    return [chunk["type"] for one in contents if isinstance(one, list) for chunk in one]
