"""Embeddings: bounded portions of texts, one request each."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from typing_extensions import override

from xrouter.domain.answer import AnswerMeta, Usage
from xrouter.domain.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.plan import Target
from xrouter.providers.base import EmbeddingsExchange
from xrouter.providers.gigachat.answers import decoded
from xrouter.providers.gigachat.errors import malformed
from xrouter.wire.types import WireReply, WireRequest

PORTION = 20
"""Texts in one request. The real limit is not documented; a client in the field uses this one."""

_JSON = {"accept": "application/json", "content-type": "application/json"}
_MAPPED = frozenset({"model", "input", "dimensions", "encoding_format"})
_MAX_DROPPED = 64
_MAX_NAME = 64


class WireItemUsage(Struct):
    """Tokens of one text."""

    prompt_tokens: int | None = None


class WireVector(Struct):
    """One vector; usage is told for each one."""

    embedding: list[float]
    index: int
    usage: WireItemUsage | None = None


class WireEmbeddings(Struct):
    """The answer to one portion."""

    data: list[WireVector]
    model: str | None = None


_vectors = msgspec.json.Decoder(WireEmbeddings)


class GigaChatEmbeddings(EmbeddingsExchange):
    """One embeddings call."""

    def __init__(self, request: EmbeddingsRequest, target: Target, base_url: str) -> None:
        """Raises InvalidRequest for `dimensions`: a model has one size."""
        if request.dimensions is not None:
            raise InvalidRequest(
                "GigaChat's embeddings have one size; 'dimensions' cannot be chosen.",
                code="unsupported_value",
                param="dimensions",
            )
        self._portions = _portions(request.input)
        self.wires = _wires(f"{base_url}/embeddings", target, self._portions)
        self.dropped = tuple(
            name[:_MAX_NAME]
            for name, raw in request.fields.items()
            if name not in _MAPPED and bytes(raw) != b"null"
        )[:_MAX_DROPPED]

    @override
    def answer(self, replies: Sequence[WireReply]) -> EmbeddingsAnswer:
        vectors: list[list[float]] = []
        tokens = 0
        model: str | None = None
        for portion, reply in zip(self._portions, replies, strict=False):
            body = decoded(_vectors, reply.body)
            items = sorted(body.data, key=_index)
            if [item.index for item in items] != list(range(len(portion))):
                raise malformed("there is not one vector for each text")
            vectors += [item.embedding for item in items]
            tokens += sum(item.usage.prompt_tokens or 0 for item in items if item.usage)
            model = body.model
        return EmbeddingsAnswer(vectors, Usage(prompt_tokens=tokens), AnswerMeta(model=model))


def _portions(texts: Sequence[str]) -> list[list[str]]:
    return [list(texts[start : start + PORTION]) for start in range(0, len(texts), PORTION)]


def _wires(url: str, target: Target, portions: list[list[str]]) -> list[WireRequest]:
    model = target.version.upstream
    return [
        WireRequest("POST", url, dict(_JSON), msgspec.json.encode({"model": model, "input": texts}))
        for texts in portions
    ]


def _index(item: WireVector) -> int:
    return item.index
