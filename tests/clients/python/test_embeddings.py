from __future__ import annotations

import math

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from tests.clients.served import SandboxControl
from tests.clients.upstreams import EMBEDDERS, EXACT, OPENAI, Upstream, each

TEXTS = [EXACT, "second", "third"]


@each(EMBEDDERS)
def test_vectors(client: OpenAI, upstream: Upstream, sandbox: SandboxControl) -> None:
    """By default the client asks for base64 and decodes it."""
    made = client.embeddings.create(model=upstream.embedder, input=TEXTS)
    assert made.object == "list"
    assert made.model == upstream.embedder
    assert [one.index for one in made.data] == [0, 1, 2]
    assert all(len(one.embedding) == upstream.size for one in made.data)
    assert all(type(number) is float for number in made.data[0].embedding)
    assert len({tuple(one.embedding) for one in made.data}) == 3
    charged = sum(line["tokens_in"] for line in sandbox.charges())
    assert made.usage.prompt_tokens == made.usage.total_tokens == charged > 0


@each(EMBEDDERS)
def test_numbers_are_the_same_as_base64(client: OpenAI, upstream: Upstream) -> None:
    packed = client.embeddings.create(model=upstream.embedder, input=EXACT)
    plain = client.embeddings.create(model=upstream.embedder, input=EXACT, encoding_format="float")
    assert len(plain.data[0].embedding) == upstream.size
    for one, other in zip(packed.data[0].embedding, plain.data[0].embedding, strict=True):
        assert math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-7)


@each(EMBEDDERS)
async def test_vectors_without_blocking(asking: AsyncOpenAI, upstream: Upstream) -> None:
    made = await asking.embeddings.create(model=upstream.embedder, input="Hello")
    assert len(made.data) == 1


def test_fewer_dimensions(client: OpenAI) -> None:
    made = client.embeddings.create(model=OPENAI.embedder, input="Hello", dimensions=64)
    assert len(made.data[0].embedding) == 64


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]], ids=str)
def test_tokens_are_refused_clearly(client: OpenAI, tokens: list[int]) -> None:
    with pytest.raises(openai.BadRequestError, match="token") as caught:
        client.embeddings.create(model=OPENAI.embedder, input=tokens)
    assert caught.value.param == "input"


def test_a_chat_model_makes_no_vectors(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=OPENAI.model, input="Hello")
    assert caught.value.param == "model"
    assert caught.value.code == "unsupported_operation"
