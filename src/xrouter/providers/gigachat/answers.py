"""The shapes of GigaChat's answers, and what they mean in ours; what both contracts share."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from xrouter.domain.answer import AnswerMeta, Usage
from xrouter.domain.errors import XRouterError
from xrouter.providers.gigachat.errors import error_for, malformed, shorten

CENSORED = frozenset(
    {
        "blacklist",
        "request_blacklist",
        "request_whitelist",
        "request_filter",
        "response_blacklist",
    }
)
"""Finish reasons of an answer that GigaChat's own filter has replaced or emptied."""


class WireFunction(Struct):
    """A call; `arguments` is an object (text is understood too)."""

    name: str
    arguments: Any = None


class WireMessage(Struct):
    """The assistant's message, or a piece of it."""

    role: str | None = None
    content: str | None = None
    function_call: WireFunction | None = None
    functions_state_id: Any = None
    reasoning_content: str | None = None


class WireChoice(Struct):
    """`message` in whole answers, `delta` in chunks."""

    message: WireMessage | None = None
    delta: WireMessage | None = None
    finish_reason: str | None = None
    index: int = 0


class WireUsage(Struct):
    """Token counts as GigaChat gives them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    precached_prompt_tokens: int | None = None


class WireBody(Struct):
    """What answers of both contracts have; `status` and `message` are an error in their place."""

    model: str | None = None
    status: Any = None
    message: Any = None


class WireAnswer(WireBody):
    """An answer or a chunk."""

    choices: list[WireChoice] | None = None
    usage: WireUsage | None = None


_T = TypeVar("_T")
_decoder = msgspec.json.Decoder(WireAnswer)


def parse(data: bytes) -> WireAnswer:
    """An answer or a chunk. Raises UpstreamMalformed."""
    return decoded(_decoder, data)


def decoded(decoder: msgspec.json.Decoder[_T], data: bytes) -> _T:
    """What GigaChat has sent, in its shape. Raises UpstreamMalformed."""
    try:
        return decoder.decode(data)
    except (ValueError, RecursionError):
        raise malformed("it is not the JSON that was expected") from None


def first_choice(body: WireAnswer) -> WireChoice | None:
    """The only choice that GigaChat is asked for."""
    return next((choice for choice in body.choices or () if choice.index == 0), None)


def arguments_of(call: WireFunction) -> str:
    """The arguments as JSON text: non-ASCII letters as they are, {} for none."""
    if isinstance(call.arguments, str):
        return call.arguments or "{}"
    return msgspec.json.encode(call.arguments or {}).decode()


def usage_of(given: WireUsage) -> Usage:
    """In OpenAI's sense the prompt includes its cached part.

    GigaChat's v1 counts the cached tokens beside the prompt [inferred: the same text is 17 + 2
    cached there and 19 without a cache; total = prompt + completion; only uncached are billed].
    """
    cached = given.precached_prompt_tokens or 0
    return Usage(
        prompt_tokens=(given.prompt_tokens or 0) + cached,
        completion_tokens=given.completion_tokens or 0,
        cached_tokens=cached,
    )


def meta_of(body: WireBody) -> AnswerMeta:
    """The model is named with its build: `GigaChat-2-Max:2.0.30.01`."""
    build = body.model.partition(":")[2] if body.model is not None else ""
    return AnswerMeta(model=body.model, fingerprint=build or None)


def reported(body: WireBody, request_id: str | None = None) -> XRouterError:
    """The error that was sent in place of an answer or a chunk (the latter: [inferred])."""
    text = shorten(body.message) if isinstance(body.message, str) else ""
    try:
        error = error_for(int(body.status), text)
    except (TypeError, ValueError):
        error = malformed(text or "there is no answer in it")
    error.upstream_request_id = request_id
    return error
