"""A request of the Responses API as a chat request."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.edge.dialects.openai.chat import read_chat
from xrouter.edge.dialects.responses.body import Item, ResponsesBody
from xrouter.edge.dialects.responses.items import messages_of
from xrouter.edge.dialects.responses.tools import Tooling, read_tools
from xrouter.edge.voice import encode

_SAME = (
    "temperature",
    "top_p",
    "top_logprobs",
    "parallel_tool_calls",
    "user",
    "safety_identifier",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "verbosity",
    "seed",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "provider",
    "models",
    "top_k",
)
"""Parameters that chat completions have under the same name."""

_HERE = frozenset(
    {
        "model",
        "input",
        "instructions",
        "previous_response_id",
        "store",
        "stream",
        "stream_options",
        "tools",
        "tool_choice",
        "max_output_tokens",
        "text",
        "reasoning",
        "include",
        "metadata",
        "background",
    }
)
"""Parameters that this dialect has dealt with itself."""

_INCLUDED = frozenset({"reasoning.encrypted_content", "message.output_text.logprobs"})


class Asked(Struct):
    """items: the conversation, without instructions; own: those of this request alone."""

    chat: ChatRequest
    tooling: Tooling
    items: list[Item]
    own: list[Item]
    dropped: tuple[str, ...]


def translate(body: ResponsesBody, before: list[Item]) -> Asked:
    """before: the items of the conversation that is gone on with. Raises InvalidRequest."""
    own = _own(body)
    items = [*before, *own]
    tooling = read_tools(body.tools, body.tool_choice)
    chat: dict[str, Any] = {"model": body.model, "messages": _messages(body, items)}
    for name in _SAME:
        if name in body.fields:
            chat[name] = body.fields[name]
    if body.stream is not None:
        chat["stream"] = body.stream
    if tooling.tools:
        chat["tools"] = tooling.tools
        if tooling.choice is not None:
            chat["tool_choice"] = tooling.choice
    else:
        chat.pop("parallel_tool_calls", None)
    if body.max_output_tokens is not None:
        chat["max_completion_tokens"] = body.max_output_tokens
    if body.reasoning is not None and body.reasoning.effort is not None:
        chat["reasoning_effort"] = body.reasoning.effort
    if body.included("message.output_text.logprobs") or body.top_logprobs:
        chat["logprobs"] = True
    chat |= _text(body.text)
    return Asked(_read(chat), tooling, items, own, (*tooling.dropped, *_dropped(body)))


def _own(body: ResponsesBody) -> list[Item]:
    if isinstance(body.input, str):
        return [{"type": "message", "role": "user", "content": body.input}]
    return body.input or []


def _messages(body: ResponsesBody, items: list[Item]) -> list[dict[str, Any]]:
    messages = messages_of(items)
    if body.instructions:
        messages.insert(0, {"role": "system", "content": body.instructions})
    return messages


def _text(text: dict[str, Any] | None) -> dict[str, Any]:
    if text is None:
        return {}
    fields: dict[str, Any] = {}
    if text.get("verbosity") is not None:
        fields["verbosity"] = text["verbosity"]
    form = text.get("format")
    if isinstance(form, dict):
        kind = form.get("type")
        if kind == "json_schema":
            schema = {k: v for k, v in form.items() if k != "type" and v is not None}
            fields["response_format"] = {"type": kind, "json_schema": schema}
        elif kind != "text":
            fields["response_format"] = form
    return fields


def _dropped(body: ResponsesBody) -> list[str]:
    """What nobody reads: known or unknown parameters, and things to be included."""
    names = [
        name
        for name, value in body.fields.items()
        if name not in _HERE and name not in _SAME and bytes(value) != b"null"
    ]
    if body.truncation == "disabled":
        names.remove("truncation")
    wanted = [f"include.{what}" for what in body.include or () if what not in _INCLUDED]
    return sorted(names) + wanted


def _read(chat: dict[str, Any]) -> ChatRequest:
    """Check as chat completions do; what is wrong is told in this API's words."""
    try:
        return read_chat(encode(chat))
    except InvalidRequest as error:
        error.param = _renamed(error.param)
        raise


def _renamed(param: str | None) -> str | None:
    if param is None:
        return None
    if param.startswith("messages"):
        return "input"
    return {"max_completion_tokens": "max_output_tokens", "response_format": "text.format"}.get(
        param, param
    )


def items_json(items: list[Item]) -> bytes:
    """As they are stored."""
    return msgspec.json.encode(items)
