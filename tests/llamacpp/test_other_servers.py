"""Servers started in other ways: for embeddings, with several models, with too little memory."""

from __future__ import annotations

import asyncio

import pytest
from tests.llamacpp.asking import STEADY, Caller
from tests.llamacpp.server import CONTEXT, LlamaServer

from xrouter.domain.catalog import ModelDescription
from xrouter.domain.errors import ModelNotFound, UpstreamOverloaded
from xrouter.wire.client import Client

pytestmark = [pytest.mark.real_llamacpp, pytest.mark.timeout(120, func_only=True)]


async def test_answers_that_break_off_for_want_of_memory(
    client: Client, crowded: LlamaServer
) -> None:
    caller = Caller(client, crowded.url)
    asked = (caller.stream(max_tokens=400, **STEADY) for _ in range(4))
    ends = await asyncio.gather(*asked, return_exceptions=True)
    broken = [end for end in ends if isinstance(end, UpstreamOverloaded)]
    assert broken
    assert "out of context memory" in broken[0].message


async def test_embeddings(client: Client, embedder: LlamaServer) -> None:
    caller = Caller(client, embedder.url)
    one, other, again = [await caller.embed(text) for text in ("кошка", "a wall", "кошка")]
    assert one.vectors[0] == pytest.approx(again.vectors[0], abs=1e-4)
    assert one.vectors[0] != pytest.approx(other.vectors[0], abs=1e-4)
    assert len(one.vectors[0]) == 64
    assert one.usage.prompt_tokens == len("кошка")


async def found_by(caller: Caller) -> dict[str, ModelDescription]:
    wire = caller.adapter.discover()
    assert wire is not None
    return {m.name: m for m in caller.adapter.decode_models(await caller.ask(wire))}


async def test_a_server_of_several_models(client: Client, several: LlamaServer) -> None:
    """It loads what is asked for; only then it knows the context."""
    alpha = Caller(client, several.url, model="alpha")
    beta = Caller(client, several.url, model="beta")
    assert sorted(await found_by(alpha)) == ["alpha", "beta"]
    for caller, name in ((alpha, "alpha"), (beta, "beta")):
        answer = await caller.chat(max_tokens=3, **STEADY)
        assert answer.meta is not None
        assert answer.meta.model == name
    assert (await found_by(beta))["beta"].context_length == CONTEXT
    assert await beta.count("hi") == [2]


async def test_a_model_that_a_server_of_several_does_not_have(
    client: Client, several: LlamaServer
) -> None:
    with pytest.raises(ModelNotFound):
        await Caller(client, several.url, model="gamma").chat()
