"""A request of the Responses API as a chat request."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.edge.dialects.openai.chat import read_chat
from xrouter.edge.dialects.responses.body import Item, ResponsesBody
from xrouter.edge.dialects.responses.items import messages_of
from xrouter.edge.dialects.responses.tools import Tooling, read_tools
from xrouter.edge.dialects.responses.words import renamed
from xrouter.edge.mistakes import missing
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

_FORMS = ("text", "json_object", "json_schema")
_SAID_OF_TEXT = ("format", "verbosity")
_SAID_OF_REASONING = ("effort", "summary", "generate_summary")
_AS_IT_IS = (None, "auto", "standard")
"""Values of parameters that ask for nothing that is not done anyway."""

INCLUDED = frozenset({"reasoning.encrypted_content", "message.output_text.logprobs"})


class Asked(Struct):
    """before: the conversation that is gone on with; own: the items of this request alone."""

    chat: ChatRequest
    tooling: Tooling
    before: list[Item]
    own: list[Item]
    dropped: tuple[str, ...]

    def renamed(self, param: str | None) -> str | None:
        """A parameter of the chat request by the name that the caller used."""
        return renamed(param, self.tooling.places)

    def refusal(self, error: XRouterError) -> bytes:
        """The body of an error of the flow, in the words of this API."""
        body = error.body()
        body["error"]["param"] = self.renamed(error.param)
        return encode(body)


def translate(body: ResponsesBody, before: list[Item]) -> Asked:
    """before: the items of the conversation that is gone on with. Raises InvalidRequest."""
    own = _own(body)
    tooling = read_tools(body.tools, body.tool_choice)
    messages, left_out = messages_of(before, own)
    if body.instructions:
        messages.insert(0, {"role": "system", "content": body.instructions})
    chat: dict[str, Any] = {"model": body.model, "messages": messages}
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
    dropped = (*tooling.dropped, *left_out, *_dropped(body))
    return Asked(_read(chat, tooling.places), tooling, before, own, dropped)


def _own(body: ResponsesBody) -> list[Item]:
    if isinstance(body.input, str):
        return [{"type": "message", "role": "user", "content": body.input}]
    return body.input or []


def _text(text: dict[str, Any] | None) -> dict[str, Any]:
    if text is None:
        return {}
    fields: dict[str, Any] = {}
    if text.get("verbosity") is not None:
        fields["verbosity"] = text["verbosity"]
    form = text.get("format")
    if form is None:
        return fields
    if not isinstance(form, dict):
        raise InvalidRequest(
            "Invalid type for 'text.format': expected an object.",
            code="invalid_type",
            param="text.format",
        )
    kind = form.get("type")
    if kind is None:
        raise missing("text.format.type")
    if kind not in _FORMS:
        raise InvalidRequest(
            f"Invalid value for 'text.format.type'. Supported values are: {', '.join(_FORMS)}.",
            code="invalid_value",
            param="text.format.type",
        )
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
    names += _inside(body, "text", _SAID_OF_TEXT)
    names += _inside(body, "reasoning", _SAID_OF_REASONING)
    if body.stream_options is not None and body.stream_options.include_obfuscation:
        names.append("stream_options.include_obfuscation")
    names += _inside(body, "stream_options", ("include_usage", "include_obfuscation"))
    wanted = [f"include.{what}" for what in body.include or () if what not in INCLUDED]
    return sorted(names) + wanted


def _inside(body: ResponsesBody, name: str, known: tuple[str, ...]) -> list[str]:
    """What is said inside of a parameter and nobody reads."""
    raw = body.fields.get(name)
    if raw is None or getattr(body, name) is None:
        return []
    said = msgspec.json.decode(raw, type=dict[str, Any])
    return [f"{name}.{key}" for key, value in said.items() if key not in known and _asks(value)]


def _asks(value: Any) -> bool:
    return isinstance(value, (dict, list)) or value not in _AS_IT_IS


def _read(chat: dict[str, Any], places: list[str]) -> ChatRequest:
    """Check as chat completions do; what is wrong is told in this API's words."""
    try:
        return read_chat(encode(chat))
    except InvalidRequest as error:
        error.param = renamed(error.param, places)
        raise
