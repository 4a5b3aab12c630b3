"""Counting tokens with the provider's own tokenizer: `POST /tokens/count`, an addition of ours."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from typing_extensions import override

from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.ports import Served
from xrouter.edge.dialects.openai.chat import read_chat
from xrouter.edge.mistakes import DECODE_ERRORS, explain, missing
from xrouter.edge.voice import Voice, encode

MAX_TEXTS = 2048


class CountBody(Struct, kw_only=True):
    """Either `input` (texts, each counted) or `messages` with what else a chat request has."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    input: str | list[str] | None = None
    messages: list[dict[str, Any]] | None = None


class Counted(Struct, kw_only=True):
    """tokens: all; parts: of each text. estimated: the provider has no tokenizer to ask."""

    object: str = "token_count"
    model: str
    tokens: int
    parts: tuple[int, ...]
    estimated: bool


_body = msgspec.json.Decoder(CountBody)


def read_count(body: bytes) -> CountRequest:
    """A checked request. Raises InvalidRequest that names the parameter at fault."""
    try:
        if not body.isascii():
            body.decode()
        parsed = _body.decode(body)
    except DECODE_ERRORS as error:
        raise explain(error) from None
    if parsed.messages is not None:
        if parsed.input is not None:
            raise InvalidRequest(
                "Send 'input' or 'messages', not both.", code="invalid_value", param="input"
            )
        return CountRequest(model=parsed.model, chat=read_chat(body))
    texts = [parsed.input] if isinstance(parsed.input, str) else parsed.input
    if not texts:
        raise missing("input", hint="Texts in 'input', or a conversation in 'messages'.")
    if len(texts) > MAX_TEXTS:
        raise InvalidRequest(
            f"Invalid 'input': at most {MAX_TEXTS} texts, but got {len(texts)}.",
            code="array_above_max_length",
            param="input",
        )
    return CountRequest(model=parsed.model, texts=texts)


class CountVoice(Voice):
    """Says the numbers."""

    @override
    def count(self, count: TokenCount, served: Served) -> bytes:
        return encode(
            Counted(
                model=served.model,
                tokens=count.tokens,
                parts=count.parts,
                estimated=count.estimated,
            )
        )
