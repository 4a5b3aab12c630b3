"""Embeddings: the bytes of a request to EmbeddingsRequest, and vectors to bytes."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from typing_extensions import override

from xrouter.domain.chat import Fields, Natural
from xrouter.domain.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.ports import Served
from xrouter.edge.mistakes import DECODE_ERRORS, explain, invalid_value
from xrouter.edge.voice import Voice, encode

MAX_INPUTS = 2048
FORMATS = ("float", "base64")


class EmbeddingsBody(Struct):
    """Texts to be turned into vectors; at most 2048 of them, none empty."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    input: str | list[str]
    dimensions: Natural | None = None
    encoding_format: str | None = None
    user: str | None = None


_fields = msgspec.json.Decoder(Fields)
_body = msgspec.json.Decoder(EmbeddingsBody)
_tokens = msgspec.json.Decoder(list[int | list[int]])


def read_embeddings(body: bytes) -> EmbeddingsRequest:
    """A checked request. Raises InvalidRequest that names the parameter at fault."""
    try:
        if not body.isascii():
            body.decode()
        fields = _fields.decode(body)
        parsed = _body.decode(body)
    except DECODE_ERRORS as error:
        raise _explain(error, body) from None
    encoding = parsed.encoding_format or FORMATS[0]
    if encoding not in FORMATS:
        raise invalid_value(
            f"Invalid value: '{encoding[:40]}'. Supported values are: 'float' and 'base64'.",
            param="encoding_format",
        )
    return EmbeddingsRequest(
        model=parsed.model,
        input=_texts(parsed.input),
        dimensions=parsed.dimensions,
        encoding_format=encoding,
        user=parsed.user,
        fields=fields,
    )


def _texts(given: str | list[str]) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not texts:
        raise InvalidRequest(
            "Invalid 'input': empty array. Expected at least one text.",
            code="empty_array",
            param="input",
        )
    if len(texts) > MAX_INPUTS:
        raise InvalidRequest(
            f"Invalid 'input': array too long. Expected at most {MAX_INPUTS} texts, "
            f"but got {len(texts)} instead.",
            code="array_above_max_length",
            param="input",
        )
    if "" in texts:
        where = "input" if isinstance(given, str) else f"input[{texts.index('')}]"
        raise InvalidRequest(
            f"Invalid '{where}': empty string. Expected some text.",
            code="empty_string",
            param=where,
        )
    return texts


def _explain(error: Exception, body: bytes) -> InvalidRequest:
    """As `explain`; besides, recognise arrays of tokens."""
    reason = explain(error)
    if reason.param is None or not reason.param.startswith("input["):
        return reason
    try:
        _tokens.decode(_fields.decode(body)["input"])
    except DECODE_ERRORS:
        return reason
    return InvalidRequest(
        "Arrays of token ids are not supported in 'input': send the texts themselves.",
        code="unsupported_value",
        param="input",
        hint="In LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False).",
    )


class EmbeddingsVoice(Voice):
    """encoding: "float" or "base64" (little-endian float32)."""

    def __init__(self, encoding: str) -> None:
        self._vector = _base64 if encoding == "base64" else encode

    @override
    def embeddings(self, answer: EmbeddingsAnswer, served: Served) -> Iterator[bytes]:
        yield b'{"object":"list","data":['
        for index, vector in enumerate(answer.vectors):
            comma = b"," if index else b""
            yield b'%b{"object":"embedding","index":%d,"embedding":%b}' % (
                comma,
                index,
                self._vector(vector),
            )
        tokens = answer.usage.prompt_tokens
        rest = {
            **(answer.extra or {}),
            "model": served.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        for name in ("object", "data"):
            rest.pop(name, None)
        yield b"]," + encode(rest)[1:]


def _base64(vector: list[float]) -> bytes:
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return b'"' + base64.b64encode(numbers.tobytes()) + b'"'
