"""Chat to the OpenAI-compatible API. Unknown parameters travel through untouched."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from xrouter.domain.chat import ChatRequest, Message, first_other_part
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.tools import FunctionTool
from xrouter.providers.yandexgpt.calls import CallBook
from xrouter.providers.yandexgpt.choice import asked_tools
from xrouter.providers.yandexgpt.params import (
    NO_ODDS,
    NO_REASONING,
    OPEN_MESSAGE,
    TRANSLATED,
    asks,
    clamped_temperature,
)
from xrouter.providers.yandexgpt.pictures import Pictures
from xrouter.providers.yandexgpt.plain import (
    RESULT_ROLES,
    SYSTEM_ROLES,
    part_text,
    plain_text,
    unknown_role,
)
from xrouter.providers.yandexgpt.wanted_json import Way, compatible_shape, instruction

_Dict = dict[str, Any]

_NOWHERE = frozenset(
    {
        "seed", "store", "audio", "web_search_options", "service_tier", "user", "metadata",
        "prediction", "modalities", "safety_identifier", "prompt_cache_key",
        "prompt_cache_retention", "prompt_cache_options",
    }
)  # fmt: skip
"""Documented as not supported, or without a meaning there, whatever the model."""

_NOT_OWN = frozenset({"top_p", "presence_penalty", "frequency_penalty", "verbosity"})
"""Works, at best, on open models."""

_REFUSED_EARLIER = frozenset(NO_ODDS)
"""On the provider's own models: what is left of these are neutral values."""


class Shape(Struct, frozen=True, kw_only=True):
    """What is particular to a model and to a way of asking.

    own: it is the provider's own. pictures: None where it reads none.
    """

    uri: str
    own: bool
    way: Way
    pictures: Pictures | None


def compatible_body(request: ChatRequest, shape: Shape, dropped: set[str]) -> _Dict:
    """The body of `POST /v1/chat/completions`; adds to `dropped` what got lost.

    Stop sequences are cut here, several answers are several calls, and `stream_options` is unknown
    there: none of these is sent.
    """
    own = shape.own
    fields = request.fields
    unsupported = _NOWHERE | _NOT_OWN | _REFUSED_EARLIER if own else _NOWHERE
    dropped |= {name for name in unsupported if asks(fields, name)}
    body: _Dict = {
        name: raw
        for name, raw in fields.items()
        if name not in TRANSLATED and name not in unsupported and bytes(raw) != b"null"
    }
    body["model"] = shape.uri
    body["messages"] = compatible_messages(request, shape)
    if request.streaming:
        body["stream"] = True
    if request.output_limit is not None:
        body["max_tokens"] = request.output_limit
    temperature = clamped_temperature(request, dropped) if own else request.temperature
    if temperature is not None:
        body["temperature"] = temperature
    body |= compatible_shape(request, shape.way)
    return body | _tools(request, own=own) | _effort(request, own=own, dropped=dropped)


def compatible_messages(request: ChatRequest, shape: Shape) -> list[_Dict]:
    """One system message first, then the turns with whatever else they carry.

    Own models are given only what they know; their tool calls have the function's name as id.
    """
    raw = request.fields.get("messages", Raw(b"[]"))
    given = msgspec.json.decode(raw, type=list[dict[str, Any]])
    own, calls = shape.own, CallBook()
    system: list[str] = []
    turns: list[_Dict] = []
    for index, message in enumerate(request.messages):
        where = f"messages[{index}]"
        if message.role in SYSTEM_ROLES:
            system.append(plain_text(message, where))
        elif message.role in ("user", "assistant", *RESULT_ROLES):
            turn = _own_turn(message, where, calls) if own else _open_turn(message, given[index])
            turn["content"] = _content(message, where, shape.pictures)
            turns += [turn] if _says_something(turn) else []
        else:
            raise unknown_role(message.role, where)
    texts = (*system, instruction(request, shape.way))
    joined = "\n\n".join(text for text in texts if text)
    return [{"role": "system", "content": joined}, *turns] if joined else turns


def _says_something(turn: _Dict) -> bool:
    """An assistant's turn without text and calls is left out: it is refused as empty.

    Known of the native API, inferred here.
    """
    return turn["role"] != "assistant" or bool(turn["content"]) or "tool_calls" in turn


def _own_turn(message: Message, where: str, calls: CallBook) -> _Dict:
    if message.role in RESULT_ROLES:
        return {"role": "tool", "tool_call_id": calls.called_by(message, where).inward}
    turn: _Dict = {"role": message.role}
    if message.role == "assistant":
        made = calls.calls_of(message, where)
        if made:
            turn["tool_calls"] = [
                _wire_call(call.inward, call.name, call.arguments) for call in made
            ]
    return turn


def _open_turn(message: Message, given: _Dict) -> _Dict:
    """As it came; the legacy forms of a call and of its result are brought up to date."""
    turn = {k: v for k, v in given.items() if k in OPEN_MESSAGE and v is not None}
    legacy = turn.pop("function_call", None)
    if message.role == "function":
        return {"role": "tool", "tool_call_id": message.name or ""}
    if not turn.get("tool_calls"):
        turn.pop("tool_calls", None)
    if legacy is not None and message.function_call is not None and "tool_calls" not in turn:
        call = message.function_call
        turn["tool_calls"] = [_wire_call(call.name, call.name, call.arguments)]
    return turn


def _wire_call(call_id: str, name: str, arguments: str) -> _Dict:
    function = {"name": name, "arguments": arguments or "{}"}
    return {"id": call_id, "type": "function", "function": function}


def _content(message: Message, where: str, pictures: Pictures | None) -> str | list[_Dict]:
    """Plain text wherever it is text only, or must be; of a user also parts with images."""
    only_text = message.role != "user" or first_other_part(message.content) is None
    if pictures is None or only_text or not isinstance(message.content, list):
        return plain_text(message, where)
    return [
        _part(part, f"{where}.content[{index}]", pictures)
        for index, part in enumerate(message.content)
    ]


def _part(part: _Dict, where: str, pictures: Pictures) -> _Dict:
    kind = part.get("type")
    if kind in ("text", "input_text"):
        return {"type": "text", "text": part_text(part, where)}
    if kind in ("image_url", "input_image"):
        return pictures.part(part, where)
    raise InvalidRequest(
        f"Content of type '{kind}' is not supported by this provider.",
        code="unsupported_value",
        param=where,
    )


def _tools(request: ChatRequest, *, own: bool) -> _Dict:
    """Own models have no named choice: that is one tool, required.

    They ignore `parallel_tool_calls`; the decoder keeps the first call.
    """
    tools, choice = asked_tools(request)
    if choice.mode == "named" and own:
        tools = [tool for tool in tools if tool.name == choice.name]
    if not tools:
        return {}
    body: _Dict = {"tools": [_tool(tool) for tool in tools]}
    if choice.mode == "named" and not own:
        body["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif choice.mode != "auto":
        body["tool_choice"] = "required"
    if request.parallel_tool_calls is not None and not own:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    return body


def _tool(tool: FunctionTool) -> _Dict:
    function: _Dict = {"name": tool.name}
    for key in ("description", "parameters", "strict"):
        if getattr(tool, key) is not None:
            function[key] = getattr(tool, key)
    return {"type": "function", "function": function}


def _effort(request: ChatRequest, *, own: bool, dropped: set[str]) -> _Dict:
    if request.reasoning_effort is None:
        return {}
    if own:
        if request.reasoning_effort not in NO_REASONING:
            dropped.add("reasoning_effort")
        return {}
    return {"reasoning_effort": request.reasoning_effort}
