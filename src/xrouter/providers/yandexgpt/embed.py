"""Embeddings and token counts: native calls that take one text each."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from xrouter.domain.answer import AnswerMeta, Usage
from xrouter.domain.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest, UpstreamMalformed
from xrouter.providers.base import CountExchange, EmbeddingsExchange
from xrouter.providers.yandexgpt.params import asks
from xrouter.providers.yandexgpt.payload import as_count, as_list, as_text, read_object
from xrouter.wire.types import WireReply, WireRequest

_TRANSLATED = frozenset({"model", "input", "dimensions", "encoding_format"})


def embedding_bodies(request: EmbeddingsRequest, uri: str) -> list[dict[str, str]]:
    """One body for each text. Raises InvalidRequest for an empty text."""
    bodies = []
    for index, text in enumerate(request.input):
        if not text:
            raise InvalidRequest(
                f"'input[{index}]' must not be empty.",
                code="invalid_value",
                param=f"input[{index}]",
            )
        body = {"modelUri": uri, "text": text}
        if request.dimensions is not None:
            body["dim"] = str(request.dimensions)  # int64 is a string in protobuf's JSON
        bodies.append(body)
    return bodies


class NativeEmbeddings(EmbeddingsExchange):
    """Several texts, one request for each."""

    def __init__(self, wires: list[WireRequest], request: EmbeddingsRequest, ref: str) -> None:
        self.wires = wires
        fields = request.fields
        lost = {name for name in fields if name not in _TRANSLATED and asks(fields, name)}
        self.dropped = tuple(sorted(lost))
        self._ref = ref

    @override
    def answer(self, replies: Sequence[WireReply]) -> EmbeddingsAnswer:
        vectors: list[list[float]] = []
        tokens = 0
        build = None
        for reply in replies:
            body = read_object(reply.body)
            vector = as_list(body.get("embedding"))
            if not vector or not all(_is_number(value) for value in vector):
                raise UpstreamMalformed("The provider's answer has no vector.")
            vectors.append([float(value) for value in vector])
            tokens += as_count(body.get("numTokens"))
            build = as_text(body.get("modelVersion")) or build
        meta = AnswerMeta(model=self._ref, fingerprint=build)
        return EmbeddingsAnswer(vectors, Usage(prompt_tokens=tokens), meta)


class NativeCount(CountExchange):
    """Several texts through the tokenizer; an empty text is not sent, it has no tokens."""

    def __init__(self, wires: list[WireRequest], texts: Sequence[str]) -> None:
        self.wires = wires
        self._sent = [bool(text) for text in texts]

    @override
    def answer(self, replies: Sequence[WireReply]) -> list[int]:
        found = iter([_tokens(reply) for reply in replies])
        return [next(found) if sent else 0 for sent in self._sent]


def _tokens(reply: WireReply) -> int:
    tokens = read_object(reply.body).get("tokens")
    if not isinstance(tokens, list):
        raise UpstreamMalformed("The provider's tokenizer answered without tokens.")
    return len(tokens)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
