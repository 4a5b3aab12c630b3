"""Request parameters that do not translate: refused by name, or listed as dropped."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from xrouter.domain.chat import ChatRequest, Fields, Message
from xrouter.domain.errors import InvalidRequest

TRANSLATED = frozenset(
    {
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
        "temperature", "stop", "tools", "tool_choice", "parallel_tool_calls", "functions",
        "function_call", "response_format", "reasoning_effort", "n",
    }
)  # fmt: skip
"""Parameters that have a translation of their own on both APIs."""

LIKELIHOODS = ("logprobs", "top_logprobs")
"""Documented as not supported by all models, and mostly absent from the answers of those that were
seen: refused unless the operator says of a model that it gives them."""

NO_ODDS = (*LIKELIHOODS, "logit_bias")
"""What the provider's own models cannot do at all."""

AUDIO = ("audio", "modalities")

NO_REASONING = (None, "none", "minimal")
"""Values of `reasoning_effort` that ask for none."""

_NEUTRAL: dict[str, tuple[Any, ...]] = {
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

OWN_MESSAGE = frozenset({"role", "content", "tool_calls", "tool_call_id", "function_call"})
"""Keys of messages that the provider's own models have a place for."""

OPEN_MESSAGE = OWN_MESSAGE | {"name", "reasoning_content", "reasoning"}
"""Keys that the servers of open models know."""

_PART_KEYS = frozenset({"type", "text", "refusal", "image_url", "input_audio", "file"})
_TOOL_KEYS = frozenset({"type", "function", "name", "description", "parameters", "strict"})
_ADDRESSES = frozenset({"modelUri", "model_uri", "folder_id", "folderId", "folder", "project"})
_MODEL_URI = re.compile(rb'"(?:gpt|emb|art|cls|ds)://')
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


def check_folder(fields: Fields) -> None:
    """Raise InvalidRequest for a parameter that tries to say where models are: that is not theirs.

    The texts of the conversation may say what they like.
    """
    for name, raw in fields.items():
        named = name in _ADDRESSES and bytes(raw) != b"null"
        if named or (name not in TRANSLATED and _MODEL_URI.search(bytes(raw))):
            raise InvalidRequest(
                f"'{name}' must not address models or folders of the provider.",
                code="invalid_value",
                param=name,
                hint="Name the model in 'model' as the list of models does.",
            )


def lost_keys(request: ChatRequest, kept: frozenset[str]) -> set[str]:
    """Paths such as `messages.name`, without indexes, of what has no place at the provider.

    kept: keys of messages that have one. Inside content parts and tools only what is known of
    OpenAI's has one: `cache_control` and the like do not.
    """
    lost: set[str] = set()
    written = msgspec.json.decode(request.fields["messages"], type=list[dict[str, Raw]])
    for given, message in zip(written, request.messages, strict=True):
        known = _kept_in(message, kept)
        asked = {key for key, raw in given.items() if bytes(raw) not in _EMPTY}
        lost |= {f"messages.{key}" for key in asked - known}
        if isinstance(message.content, list):
            lost |= {f"messages.content.{key}" for key in _unknown(message.content, _PART_KEYS)}
    return lost | {f"tools.{key}" for key in _unknown(request.tools or [], _TOOL_KEYS)}


def _kept_in(message: Message, kept: frozenset[str]) -> frozenset[str]:
    """A result may have a name; a refusal is the text where there is no other."""
    named = {"name"} if message.role in ("tool", "function") else set()
    return kept | named | (set() if message.content else {"refusal"})


def _unknown(objects: list[dict[str, Any]], known: frozenset[str]) -> set[str]:
    return {key for one in objects for key in one.keys() - known if one[key] is not None}


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
