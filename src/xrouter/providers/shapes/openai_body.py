"""Request bodies in OpenAI's language: as the client wrote them, but for the model's name.

How a service differs is said by an endpoint's options, all of them optional:

    limit_field     the only name it knows for the limit of the answer: `max_tokens` or
                    `max_completion_tokens`
    include_usage   "false" when it does not know `stream_options`
    tool_choice     "emulated" when it ignores `tool_choice`: tools that may not be called are
                    left out; that one must be called cannot be had, and is listed as dropped
    ignored         names of parameters, with blanks between, that it ignores: they are listed as
                    dropped and not sent
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.shapes.messages_fields import at_home
from xrouter.providers.shapes.openai_tools import narrow_tools, repair_tools

_CHOICES = {
    "limit_field": ("", "max_tokens", "max_completion_tokens"),
    "include_usage": ("true", "false"),
    "tool_choice": ("native", "emulated"),
}
OPTIONS = frozenset({*_CHOICES, "ignored"})
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details")
_LIMITS = ("max_tokens", "max_completion_tokens")
_NEEDED = frozenset({"model", "messages", "input", "stream", "stream_options"})
_NULL = b"null"


class Habits(Struct, frozen=True):
    """How a service differs; see above."""

    limit_field: str = ""
    include_usage: bool = True
    narrows_tools: bool = False
    ignored: frozenset[str] = frozenset()


def habits_of(options: Mapping[str, str]) -> Habits:
    """Read the options. Raises InvalidRequest that names the wrong one."""
    for name, allowed in _CHOICES.items():
        if options.get(name, allowed[0]) not in allowed:
            raise InvalidRequest(
                f"'{name}' must be one of: {', '.join(filter(None, allowed))}.",
                code="invalid_value",
                param=f"options.{name}",
            )
    ignored = frozenset(options.get("ignored", "").split())
    if ignored & _NEEDED:
        raise InvalidRequest(
            f"These cannot be ignored: {', '.join(sorted(ignored & _NEEDED))}.",
            code="invalid_value",
            param="options.ignored",
        )
    return Habits(
        options.get("limit_field", ""),
        options.get("include_usage") != "false",
        options.get("tool_choice") == "emulated",
        ignored,
    )


def chat_body(
    request: ChatRequest, upstream: str, habits: Habits
) -> tuple[dict[str, Any], list[str]]:
    """The body of a chat request, and the parameters given up. Values are still raw JSON."""
    request, dropped = at_home(request)
    body: dict[str, Any] = dict(request.fields)
    body["model"] = upstream
    if request.streaming:
        body["stream"] = True
        _ask_for_usage(body, habits)
    if request.tools or request.tool_choice is not None:
        repair_tools(request, body)
        if habits.narrows_tools and narrow_tools(request, body) == "required":
            dropped.append("tool_choice")
    if habits.limit_field:
        _name_limit(request, body, habits.limit_field)
    if habits.ignored:
        dropped += drop(body, habits.ignored)
    return body, dropped


def embeddings_body(
    request: EmbeddingsRequest, upstream: str, habits: Habits
) -> tuple[dict[str, Any], list[str]]:
    """The body of an embeddings request, always for plain numbers."""
    body: dict[str, Any] = dict(request.fields)
    body["model"] = upstream
    body["encoding_format"] = "float"
    return body, drop(body, habits.ignored)


def without_thoughts(request: ChatRequest) -> Raw | None:
    """The messages without reasoning that clients send back, None where there is none."""
    for message in request.messages:
        if message.reasoning_content or message.reasoning or message.reasoning_details:
            break
    else:
        return None
    plain = msgspec.json.decode(request.fields["messages"], type=list[Fields])
    for fields in plain:
        for name in _THOUGHTS:
            fields.pop(name, None)
    return Raw(msgspec.json.encode(plain))


def drop(body: dict[str, Any], names: frozenset[str]) -> list[str]:
    """Take the parameters out of the body; the names of those that were set, sorted."""
    set_ones = [name for name in body.keys() & names if not is_null(body[name])]
    for name in names:
        body.pop(name, None)
    return sorted(set_ones)


def is_null(value: Any) -> bool:
    """Whether a value of a body, raw or not, is null."""
    return value is None or (isinstance(value, Raw) and bytes(value) == _NULL)


def _ask_for_usage(body: dict[str, Any], habits: Habits) -> None:
    """The counts are always asked for; whether the caller sees them is the door's affair."""
    given = body.pop("stream_options", None)
    if not habits.include_usage:
        return
    options: dict[str, Any] = {}
    if given is not None and not is_null(given):
        options |= msgspec.json.decode(given, type=Fields)
    options["include_usage"] = True
    body["stream_options"] = options


def _name_limit(request: ChatRequest, body: dict[str, Any], name: str) -> None:
    for known in _LIMITS:
        body.pop(known, None)
    if request.output_limit is not None:
        body[name] = request.output_limit
