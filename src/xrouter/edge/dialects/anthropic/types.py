"""The bodies of Anthropic's Messages API: what is sent here, and what is answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from xrouter.domain.chat import Fields, Natural
from xrouter.domain.errors import InvalidRequest
from xrouter.edge.mistakes import DECODE_ERRORS, explain

Block = dict[str, Any]

_NO_THREADS = "thread_unsupported_request"
"""A client that reads this goes on without threads, with the whole history."""


class Turn(Struct):
    """One message. content: text, or blocks."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class CountTokensBody(Struct, kw_only=True):
    """A prompt. `fields` holds the whole body by key, as it was sent."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    messages: Annotated[list[Turn], Meta(min_length=1)]
    system: str | list[Block] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None
    thread: Any = None
    fields: Fields = msgspec.field(default_factory=dict, name="xrouter.fields")


class MessagesBody(CountTokensBody, kw_only=True):
    """A request for a message."""

    max_tokens: Natural
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    metadata: dict[str, Any] | None = None


class MessageObject(Struct, kw_only=True):
    """An answer. usage: input_tokens without what was read from or written into the cache."""

    id: str
    type: str = "message"
    role: str = "assistant"
    model: str
    content: list[Block]
    stop_reason: str | None
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    usage: dict[str, Any]


class InputTokenCount(Struct, kw_only=True):
    """How many tokens a prompt has."""

    input_tokens: int


_fields = msgspec.json.Decoder(Fields)
_message = msgspec.json.Decoder(MessagesBody)
_count = msgspec.json.Decoder(CountTokensBody)


def read_message(raw: bytes) -> MessagesBody:
    """A checked body. Raises InvalidRequest that names the parameter at fault."""
    return _read(raw, _message)


def read_count(raw: bytes) -> CountTokensBody:
    """As `read_message`, for a prompt that is to be counted."""
    return _read(raw, _count)


_Body = TypeVar("_Body", bound=CountTokensBody)


def _read(raw: bytes, decoder: msgspec.json.Decoder[_Body]) -> _Body:
    try:
        if not raw.isascii():
            raw.decode()
        fields = _fields.decode(raw)
        body = decoder.decode(raw)
    except DECODE_ERRORS as error:
        raise explain(error) from None
    if body.thread is not None:  # the rest of the conversation is not in the body
        raise InvalidRequest(
            "'thread' is not supported: no conversations are kept here. Send all messages.",
            code=_NO_THREADS,
            param="thread",
        )
    body.fields = fields
    return body
