"""Request parameters that do not translate: refused by name, or listed as dropped."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.errors import InvalidRequest

TRANSLATED = frozenset(
    {
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
        "temperature", "stop", "tools", "tool_choice", "parallel_tool_calls", "functions",
        "function_call", "response_format", "reasoning_effort",
    }
)  # fmt: skip
"""Parameters that have a translation of their own on both APIs."""

ONE_ANSWER = ("n", "logprobs", "top_logprobs", "logit_bias")
"""What the provider's own models cannot do at all."""

AUDIO = ("audio", "modalities")

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "verbosity": ("medium",),
    "metadata": ({},),
}
"""Values that say no more than silence does."""

_MESSAGE_KEYS = frozenset(
    {"role", "content", "tool_calls", "tool_call_id", "function_call", "refusal"}
)
_EMPTY = (b"null", b'""', b"[]", b"{}")
_MAX_STOPS = 16
_MAX_STOP_CHARS = 1024


def asks(fields: Fields, name: str) -> bool:
    """Whether the body has the parameter, with a value that means something."""
    raw = fields.get(name)
    if raw is None or bytes(raw) == b"null":
        return False
    return name not in _NEUTRAL or msgspec.json.decode(raw) not in _NEUTRAL[name]


def refuse(fields: Fields, names: Collection[str], model_id: str) -> None:
    """Raise InvalidRequest for the first of `names` that is asked for."""
    for name in names:
        if asks(fields, name):
            raise InvalidRequest(
                f"Unsupported parameter: '{name}' is not supported with '{model_id}'.",
                code="unsupported_parameter",
                param=name,
            )


def untranslated(fields: Fields) -> set[str]:
    """Names of parameters that are asked for and have no translation."""
    return {name for name in fields if name not in TRANSLATED and asks(fields, name)}


def lost_message_keys(messages: Raw) -> set[str]:
    """`messages.<key>` for keys of messages that the provider's own models have no place for."""
    lost: set[str] = set()
    for message in msgspec.json.decode(messages, type=list[dict[str, Raw]]):
        role = bytes(message.get("role", b""))
        for key, raw in message.items():
            named_result = key == "name" and role in (b'"tool"', b'"function"')
            if key not in _MESSAGE_KEYS and not named_result and bytes(raw) not in _EMPTY:
                lost.add(f"messages.{key}")
    return lost


def stops_of(request: ChatRequest) -> tuple[str, ...]:
    """Stop sequences, bounded, since they are looked for here and not by the provider."""
    stops = tuple(request.stops)
    if len(stops) > _MAX_STOPS or not all(0 < len(stop) <= _MAX_STOP_CHARS for stop in stops):
        raise InvalidRequest(
            f"'stop' takes up to {_MAX_STOPS} strings of 1 to {_MAX_STOP_CHARS} characters.",
            code="invalid_value",
            param="stop",
        )
    return stops


def clamped_temperature(request: ChatRequest, dropped: set[str]) -> float | None:
    """The provider's own models go from 0 to 1; what is above is cut and listed as dropped."""
    if request.temperature is None or request.temperature <= 1:
        return request.temperature
    dropped.add("temperature")
    return 1.0
