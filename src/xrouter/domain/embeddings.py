"""Embeddings: the request and the answer, OpenAI's shapes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from xrouter.domain.answer import AnswerMeta, Usage
from xrouter.domain.chat import Fields


class EmbeddingsRequest(Struct, kw_only=True):
    """`input` holds the texts in order, at least one; token arrays are refused at the door.

    encoding_format: "float" or "base64" (little-endian float32); the door encodes the answer, so
    adapters always ask for floats. `fields` is the whole body as sent.
    """

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    input: list[str]
    dimensions: int | None = None
    encoding_format: str = "float"
    user: str | None = None
    fields: Fields = msgspec.field(default_factory=dict, name="xrouter.fields")


class EmbeddingsAnswer(Struct):
    """One vector for each text, in order. `extra`: further top-level fields of the provider."""

    vectors: list[list[float]]
    usage: Usage
    meta: AnswerMeta | None = None
    extra: dict[str, Any] | None = None
