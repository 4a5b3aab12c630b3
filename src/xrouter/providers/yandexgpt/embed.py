"""Embeddings: native calls that take one text each, by one model of a pair."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from typing_extensions import override

from xrouter.domain.answer import AnswerMeta, Usage
from xrouter.domain.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest, UpstreamMalformed
from xrouter.providers.base import EmbeddingsExchange
from xrouter.providers.yandexgpt.params import asks
from xrouter.providers.yandexgpt.payload import as_count, as_list, as_text, read_object
from xrouter.wire.types import WireReply, WireRequest

_TRANSLATED = frozenset({"model", "input", "dimensions", "encoding_format", "input_type"})
_DOC, _QUERY = "-doc", "-query"
_ENDS = {
    "document": _DOC,
    "search_document": _DOC,
    "passage": _DOC,
    "query": _QUERY,
    "search_query": _QUERY,
}
"""What `input_type` may say, in the words of several providers."""


def of_the_pair(request: EmbeddingsRequest, ref: str) -> str:
    """The reference, or that of the other model of its pair if `input_type` asks for it.

    Documents and queries have models of their own, whose vectors fit each other.
    """
    if not asks(request.fields, "input_type"):
        return ref
    wanted = msgspec.json.decode(request.fields["input_type"])
    end = _ENDS.get(wanted) if isinstance(wanted, str) else None
    name, slash, branch = ref.partition("/")
    stem = name.removesuffix(_DOC).removesuffix(_QUERY)
    if end is None or stem == name:
        raise InvalidRequest(
            "'input_type' is 'document' or 'query', and only for models that come in a pair.",
            code="invalid_value",
            param="input_type",
        )
    return f"{stem}{end}{slash}{branch}"


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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
