from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from xrouter.domain.answer import Usage
from xrouter.domain.embeddings import EmbeddingsAnswer
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.ports import Served
from xrouter.edge.dialects.openai.embeddings import EmbeddingsVoice, read_embeddings

SERVED = Served("acme/e", "1", "acme", "primary", 1)


def body(**more: Any) -> bytes:
    return json.dumps({"model": "m", "input": "Hi", **more}).encode()


@pytest.mark.parametrize("given,texts", [("a", ["a"]), (["a"], ["a"]), (["a", "b"], ["a", "b"])])
def test_texts(given: Any, texts: list[str]) -> None:
    request = read_embeddings(body(input=given, dimensions=8, user="u"))
    assert request.input == texts
    assert (request.dimensions, request.user, request.encoding_format) == (8, "u", "float")
    assert json.loads(bytes(request.fields["input"])) == given


@pytest.mark.parametrize("given", [None, "float", "base64"])
def test_encodings(given: str | None) -> None:
    request = read_embeddings(body(encoding_format=given))
    assert request.encoding_format == (given or "float")


@pytest.mark.parametrize(
    "more,param,code",
    [
        ({"input": None}, "input", "invalid_type"),
        ({"input": 5}, "input", "invalid_type"),
        ({"input": {}}, "input", "invalid_type"),
        ({"input": ["a", None]}, "input[1]", "invalid_type"),
        ({"input": ["a", 5]}, "input[1]", "invalid_type"),
        ({"input": []}, "input", "empty_array"),
        ({"input": ""}, "input", "empty_string"),
        ({"input": ["a", ""]}, "input[1]", "empty_string"),
        ({"input": ["a"] * 2049}, "input", "array_above_max_length"),
        ({"input": [1, 2, 3]}, "input", "unsupported_value"),
        ({"input": [[1, 2], [3]]}, "input", "unsupported_value"),
        ({"encoding_format": "int8"}, "encoding_format", "invalid_value"),
        ({"encoding_format": 5}, "encoding_format", "invalid_type"),
        ({"dimensions": 0}, "dimensions", "integer_below_min_value"),
        ({"dimensions": "8"}, "dimensions", "invalid_type"),
        ({"model": None}, "model", "invalid_type"),
    ],
)
def test_the_parameter_at_fault_is_named(more: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_embeddings(body(**more))
    assert (caught.value.param, caught.value.code) == (param, code)


def test_a_missing_input() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_embeddings(b'{"model":"m"}')
    assert (caught.value.param, caught.value.code) == ("input", "missing_required_parameter")


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"model":"m","input":"\xff"}'])
def test_what_is_not_json(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_embeddings(data)


def test_tokens_get_a_hint() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_embeddings(body(input=[[1, 2]]))
    assert caught.value.hint is not None


def told(encoding: str, answer: EmbeddingsAnswer) -> Any:
    return json.loads(b"".join(EmbeddingsVoice(encoding).embeddings(answer, SERVED)))


def test_vectors_as_numbers() -> None:
    answer = EmbeddingsAnswer(
        [[0.25, -1.0], [3.0]], Usage(7, 0), extra={"id": "e1", "model": "x", "data": 1, "object": 2}
    )
    assert told("float", answer) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.25, -1.0]},
            {"object": "embedding", "index": 1, "embedding": [3.0]},
        ],
        "model": "acme/e",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
        "id": "e1",
    }


def test_vectors_as_little_endian_floats() -> None:
    answer = told("base64", EmbeddingsAnswer([[0.25, -1.5]], Usage(1, 0)))
    packed = base64.b64decode(answer["data"][0]["embedding"])
    assert struct.unpack("<2f", packed) == (0.25, -1.5)
