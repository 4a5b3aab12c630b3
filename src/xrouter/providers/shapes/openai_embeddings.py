"""One embeddings call in OpenAI's language."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct
from typing_extensions import override

from xrouter.domain.answer import Usage
from xrouter.domain.embeddings import EmbeddingsAnswer
from xrouter.domain.errors import UpstreamMalformed
from xrouter.providers.base import EmbeddingsExchange
from xrouter.providers.shapes.openai_answer import meta_of, read_object, usage_of
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.wire.types import WireReply, WireRequest

_OURS = frozenset({"object", "data", "model", "usage", "id", "created", "error"})
_FLOAT32 = 4


class _Vector(Struct):
    """One vector: numbers, or base64 of little-endian float32, asked for or not."""

    embedding: list[float] | str
    index: int | None = None


_envelope = msgspec.json.Decoder(dict[str, Raw])
_vectors = msgspec.json.Decoder(list[_Vector])


class OpenAIEmbeddings(EmbeddingsExchange):
    """All texts go in one request."""

    def __init__(
        self, wire: WireRequest, count: int, errors: ErrorReader, dropped: tuple[str, ...] = ()
    ) -> None:
        """count: how many vectors there must be."""
        self.wires = [wire]
        self.dropped = dropped
        self._count = count
        self._errors = errors

    @override
    def answer(self, replies: Sequence[WireReply]) -> EmbeddingsAnswer:
        """Vectors in the order of the texts, whatever the order in the answer."""
        body = replies[0].body
        try:
            fields = _envelope.decode(body)
            items = _vectors.decode(fields["data"]) if "data" in fields else None
        except msgspec.ValidationError:
            items, fields = None, {}
        except (ValueError, RecursionError):
            raise _malformed("it is not JSON") from None
        if items is None:
            raise self._reported(replies[0])
        rest: dict[str, Any] = {
            name: msgspec.json.decode(raw) for name, raw in fields.items() if name != "data"
        }
        extra = {name: value for name, value in rest.items() if name not in _OURS}
        meta = meta_of(rest)
        meta.extra = None
        usage = usage_of(rest.get("usage")) or Usage()
        usage.completion_tokens = 0
        return EmbeddingsAnswer(self._ordered(items), usage, meta, extra or None)

    def _ordered(self, items: list[_Vector]) -> list[list[float]]:
        found: dict[int, list[float]] = {}
        for position, item in enumerate(items):
            index = position if item.index is None else item.index
            found[index] = _numbers(item.embedding)
        if len(items) != self._count or found.keys() != set(range(self._count)):
            raise _malformed(f"{self._count} vectors were expected, {len(items)} came")
        return [found[index] for index in range(self._count)]

    def _reported(self, reply: WireReply) -> Exception:
        """The error in an answer without vectors."""
        body = read_object(reply.body)
        if not body.get("error"):
            return _malformed("it has no vectors")
        error = self._errors.of_object(body)
        error.upstream_request_id = reply.headers.get("x-request-id")
        return error


def _numbers(value: list[float] | str) -> list[float]:
    if not isinstance(value, str):
        return value
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise _malformed("a vector is not base64") from None
    if len(raw) % _FLOAT32:
        raise _malformed("a vector is cut")
    return list(struct.unpack(f"<{len(raw) // _FLOAT32}f", raw))


def _malformed(what: str) -> UpstreamMalformed:
    return UpstreamMalformed(f"The provider's embeddings cannot be read: {what}.")
