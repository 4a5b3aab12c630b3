"""Vectors by several calls: what was asked before one of them fails is paid."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import structs
from tests.flow.harness import Rig, until
from typing_extensions import override

from xrouter.domain.answer import Usage
from xrouter.domain.catalog import Endpoint, Price
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.money import Charge, charge_of
from xrouter.domain.plan import Target
from xrouter.domain.routes import Policy
from xrouter.providers.base import BaseAPIAdapter, EmbeddingsExchange
from xrouter.providers.gigachat.adapter import GigaChatAdapter
from xrouter.providers.gigachat.embeddings import PORTION
from xrouter.providers.yandexgpt.adapter import YandexGPTAdapter
from xrouter.sandbox.application import Sandbox

YANDEX, GIGACHAT = "yandex/text-search-doc", "gigachat/Embeddings"
PRICE = Price(id=3, currency="RUB", input=10**9 + 1, output=0, request=7)
ONCE = Policy(max_attempts=1)


class Breaking(YandexGPTAdapter):
    """One of the calls goes astray."""

    astray = 0

    @override
    def encode_embeddings(self, request: EmbeddingsRequest, target: Target) -> EmbeddingsExchange:
        exchange = super().encode_embeddings(request, target)
        wire = exchange.wires[self.astray]
        wire.url = wire.url.replace("textEmbedding", "nowhere")
        return exchange


class Tearing(GigaChatAdapter):
    @override
    def encode_embeddings(self, request: EmbeddingsRequest, target: Target) -> EmbeddingsExchange:
        exchange = super().encode_embeddings(request, target)
        exchange.wires[-1].url += "/nowhere"
        return exchange


def use(rig: Rig, adapter: type[BaseAPIAdapter], policy: Policy = ONCE) -> None:
    """At the first sandbox; the second one's calls go where they should."""
    build = rig.build

    def broken(endpoint: Endpoint) -> BaseAPIAdapter:
        return adapter(endpoint) if endpoint.name == "at-1" else build(endpoint)

    rig.build = broken
    rig.use(policy=policy)
    now = rig.snapshots.current
    models = {
        name: structs.replace(m, versions=(structs.replace(m.versions[0], price=PRICE),))
        for name, m in now.models.items()
    }
    rig.snapshots.replace(structs.replace(now, models=models))


def breaking(at: int) -> type[Breaking]:
    return type("Breaking", (Breaking,), {"astray": at})


def cost(*sandboxes: Sandbox) -> int:
    lines = [line for sandbox in sandboxes for line in sandbox.bill]
    return sum(charge_of(Usage(line.tokens_in), PRICE, {}).cost for line in lines)


def charge(rig: Rig) -> Charge:
    assert rig.event.charge is not None
    return rig.event.charge


async def test_what_was_heard_before_is_paid(rig: Rig) -> None:
    use(rig, breaking(4))
    reply = await rig.embed(YANDEX, ["a", "b b", "c c c", "d d", "e"])
    assert reply.error is not None
    assert len(rig.first.bill) == 4
    assert rig.event.tokens_in == sum(line.tokens_in for line in rig.first.bill)
    found = charge(rig)
    assert found.cost == pytest.approx(cost(rig.first), abs=4), "but for rounding up each call"
    (part,) = found.parts
    assert (part.calls, part.is_estimated, found.is_estimated) == (4, False, False)


async def test_who_answers_instead_is_paid_too(rig: Rig) -> None:
    use(rig, breaking(4), Policy(max_attempts=2))
    texts = ["a", "b b", "c c c", "d d", "e"]
    reply = await rig.embed(YANDEX, texts)
    assert reply.error is None
    assert (len(rig.first.bill), len(rig.second.bill)) == (4, 5)
    assert rig.event.tokens_in == sum(line.tokens_in for line in rig.second.bill)
    found = charge(rig)
    assert [(part.endpoint, part.calls) for part in found.parts] == [("at-1", 4), ("at-2", 5)]
    assert found.cost == pytest.approx(cost(rig.first, rig.second), abs=9)
    assert not found.is_estimated


async def test_calls_under_way_are_estimated(rig: Rig) -> None:
    use(rig, breaking(0))
    rig.fault("hang_before_headers", match={"path": "textEmbedding"})
    reply = await rig.embed(YANDEX, ["x" * 40] * 4)
    assert reply.error is not None
    await until(lambda: rig.first.seen.open == 0, "nothing is being served any more")
    found = charge(rig)
    (part,) = found.parts
    assert (part.calls, part.tokens_in, part.is_estimated) == (3, 30, True)
    assert rig.event.tokens_estimated


async def test_who_leaves_pays_for_what_is_under_way(rig: Rig) -> None:
    use(rig, YandexGPTAdapter)
    rig.fault("hang_before_headers", match={"path": "textEmbedding"})
    task = asyncio.create_task(rig.embed(YANDEX, ["x" * 40] * 6))
    await until(lambda: rig.first.seen.open == 4, "several are asked at once")
    task.cancel()
    await asyncio.wait([task])
    assert (charge(rig).is_estimated, rig.event.tokens_in) == (True, 40)


async def test_portions_are_paid(rig: Rig) -> None:
    use(rig, Tearing)
    reply = await rig.embed(GIGACHAT, ["text"] * (4 * PORTION + 3))
    assert reply.error is not None
    assert len(rig.first.bill) == 4
    assert charge(rig).cost == pytest.approx(cost(rig.first), abs=4)
    assert not charge(rig).is_estimated


async def test_one_call_that_fails_costs_nothing(rig: Rig) -> None:
    use(rig, breaking(0))
    assert (await rig.embed(YANDEX, ["a"])).error is not None
    assert rig.event.charge is None


async def test_each_call_is_named(rig: Rig) -> None:
    use(rig, YandexGPTAdapter)
    assert (await rig.embed(YANDEX, ["a", "b", "c"])).error is None
    (part,) = charge(rig).parts
    assert part.calls == 3
    assert set(part.upstream_ids) == {call.name for call in rig.first.bill._calls}
