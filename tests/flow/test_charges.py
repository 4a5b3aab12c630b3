"""What requests cost, attempt by attempt, beside what the sandboxes have written on their bills."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from msgspec import structs
from tests.flow.harness import KEY, MODELS, Recorder, Rig, open_rig, until
from tests.flow.parts import use
from typing_extensions import override

from xrouter.domain.answer import Usage
from xrouter.domain.catalog import Price
from xrouter.domain.chat import ChatRequest, Message
from xrouter.domain.images import ImagesAnswer, ImagesRequest, Picture
from xrouter.domain.limits import Tenant
from xrouter.domain.money import FREE, Charge, Part, charge_of
from xrouter.domain.plan import Target
from xrouter.domain.routes import Policy, Route, RouteTarget
from xrouter.edge.dialects.openai.chat import read_chat
from xrouter.flow.yardstick import EVERY, Yardstick
from xrouter.providers.openai import OpenAIAdapter
from xrouter.sandbox.application import Sandbox
from xrouter.sandbox.openai_chat import compose
from xrouter.wire.types import Errand

CHEAP, DEAR = "openai/gpt-4o-mini", "yandex/yandexgpt-lite"
PRICES = {
    CHEAP: Price(id=1, currency="USD", input=3_000_000_001, output=5_000_000_003, request=7),
    DEAR: Price(id=2, currency="RUB", input=200_000_000_003, output=400_000_000_009),
}
RATES = {"USD": 81_234_567_891}
TENANT = Tenant(project="tests", organization="default", margin=1234, vat=2000)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with open_rig() as rig:
        now = rig.snapshots.current
        models = {
            name: structs.replace(
                model, versions=tuple(structs.replace(v, price=price) for v in model.versions)
            )
            for name, price in PRICES.items()
            for model in (now.models[name],)
        }
        targets = tuple(RouteTarget(model=name, priority=n) for n, name in enumerate(PRICES))
        routes = {"auto": Route(name="auto", targets=targets)}
        rig.snapshots.replace(
            structs.replace(
                now, models=models, rates=RATES, routes=routes, tenants={"tests": TENANT}
            )
        )
        yield rig


def cost(model: str, sandbox: Sandbox) -> int:
    """Of all calls on its bill."""
    return sum(
        charge_of(Usage(line.tokens_in, line.tokens_out), PRICES[model], RATES).cost
        for line in sandbox.bill
        if line.provider == model.partition("/")[0]
    )


def charge(rig: Rig) -> Charge:
    """Of the last request."""
    found = rig.journal.events[-1].charge
    assert found is not None
    assert found.total == found.cost + found.margin + found.vat
    return found


async def test_one_attempt_has_no_parts(rig: Rig) -> None:
    await rig.chat("auto", "[[words:9]]", stream=True)
    found = charge(rig)
    assert (found.cost, found.price_id, found.parts) == (cost(CHEAP, rig.first), 1, ())
    assert not found.is_estimated


@pytest.mark.parametrize("stream", [True, False])
async def test_each_attempt_is_priced_by_its_own_target(rig: Rig, stream: bool) -> None:
    """E10: both accounts of the cheap one break off, the dear one answers."""
    await rig.chat(CHEAP, "word " * 20 + "[[words:20]]", stream=stream)
    rig.first.bill.clear()
    for sandbox in (rig.first, rig.second):
        rig.fault("cut", after=0, where=sandbox, provider="openai")
    reply = await rig.chat("auto", "word " * 20 + "[[words:20]]", stream=stream)
    assert reply.error is None
    found = charge(rig)
    assert [(p.provider, p.endpoint, p.model, p.price_id) for p in found.parts] == [
        ("openai", "at-1", CHEAP, 1),
        ("openai", "at-2", CHEAP, 1),
        ("yandex", "at-1", DEAR, 2),
    ]
    assert [part.is_estimated for part in found.parts] == [True, True, False]
    assert found.parts[2].cost == cost(DEAR, rig.first)
    assert found.cost == sum(part.cost for part in found.parts)
    assert (found.currency, found.price_id, found.is_estimated) == ("RUB", 2, True)
    told = rig.journal.events[-1]
    assert (told.tokens_in, told.tokens_out) == (found.parts[2].tokens_in, 20)
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 20
    (billed,) = [line for line in rig.first.bill if line.provider == "openai"]
    assert abs(found.parts[0].tokens_in - billed.tokens_in) <= 0.2 * billed.tokens_in


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "refuse"},
        {"kind": "reset"},
        {"kind": "server_error"},
        {"kind": "error_in_200"},
        {"kind": "early_error_frame", "after": 0},
        {"kind": "rate_limited"},
    ],
    ids=lambda fault: fault["kind"],
)
async def test_what_the_provider_says_has_failed_costs_nothing(
    rig: Rig, fault: dict[str, Any], stream: bool
) -> None:
    rig.fault(**fault, times=1)
    await rig.chat("auto", stream=stream)
    assert rig.event.attempts == 2
    found = charge(rig)
    assert (found.is_estimated, [part.cost for part in found.parts]) == (False, [])
    assert found.cost == cost(CHEAP, rig.first) + cost(CHEAP, rig.second)


async def test_what_an_earlier_target_may_charge_is_charged_though_none_has_answered(
    rig: Rig,
) -> None:
    """The last one is refused before anything is sent to it."""
    rig.fault("cut", after=0, provider="openai", where=rig.first)
    rig.fault("refuse", provider="openai", where=rig.second)
    rig.fault("server_error", provider="yandex", where=rig.first)
    rig.fault("server_error", provider="yandex", where=rig.second)
    reply = await rig.chat("auto", stream=True)
    assert reply.error is not None
    assert rig.event.provider == "yandex" or rig.event.endpoint == "at-2"
    found = charge(rig)
    assert [(part.provider, part.endpoint) for part in found.parts] == [("openai", "at-1")]
    assert (found.price_id, found.is_estimated) == (1, True)
    assert found.cost == found.parts[0].cost > 0


@pytest.mark.parametrize("stream", [True, False])
async def test_each_of_several_calls_has_its_request_fee(rig: Rig, stream: bool) -> None:
    use(rig, several=True)
    await rig.chat(CHEAP, "[[words:4]]", n=3, stream=stream)
    found = charge(rig)
    assert len(rig.first.bill) == 3
    assert found.cost == cost(CHEAP, rig.first)
    assert [(part.calls, part.cost) for part in found.parts] == [(3, found.cost)]
    assert not found.is_estimated


async def test_a_caller_who_leaves_pays_for_what_was_said(rig: Rig) -> None:
    for _ in range(EVERY):
        await rig.chat(CHEAP, "word " * 50 + "[[words:60]]", stream=True)
    rig.first.bill.clear()
    reply = Recorder()
    text = "word " * 50 + "[[words:40]] [[pause:0.01]]"
    task = asyncio.create_task(rig.chat(CHEAP, text, stream=True, reply=reply))
    await until(lambda: len(reply.text) > 50, "some words have come")
    task.cancel()
    await asyncio.wait([task])
    await until(lambda: len(rig.first.bill) == 1, "it is on the bill")
    found = charge(rig)
    assert found.is_estimated
    (line,) = rig.first.bill
    assert abs(rig.journal.events[-1].tokens_in - line.tokens_in) <= 0.2 * line.tokens_in
    assert abs(found.cost - cost(CHEAP, rig.first)) <= 0.3 * found.cost


@pytest.mark.parametrize(
    "fields,user",
    [
        ({"user": "u1"}, "u1"),
        ({"safety_identifier": "s1"}, "s1"),
        ({"user": "u1", "safety_identifier": "s1"}, "u1"),
        ({"user": "x" * 1000}, "x" * 256),
        ({}, None),
    ],
)
async def test_the_end_user_is_named(rig: Rig, fields: dict[str, Any], user: str | None) -> None:
    await rig.chat(CHEAP, **fields)
    assert rig.event.end_user == user


def test_a_part_is_known_by_its_rate() -> None:
    part = Part(provider="p", endpoint="e", model="m", version="v")
    assert not part.is_known
    assert structs.replace(part, rate=1).is_known


def test_a_yardstick_learns_from_the_first_answer_and_then_now_and_then() -> None:
    from_plain = Yardstick()
    assert from_plain.answer(100) == 25
    from_plain.learn(_prompt(60), 50, Usage(30, 20))
    assert (from_plain.answer(100), from_plain.prompt(_prompt(60))) == (40, 30)
    from_plain.learn(_prompt(600), 500, Usage(100, 100))
    assert from_plain.answer(100) == 40, "the second answer teaches nothing"


@pytest.mark.parametrize("usage", [Usage(3, 2), Usage(3000, 3000), Usage(30, 20, estimated=True)])
def test_a_yardstick_does_not_believe_everything(usage: Usage) -> None:
    plain = Yardstick()
    plain.learn(_prompt(60), 50, usage)
    assert (plain.answer(100), plain.prompt(_prompt(60))) == (25, 15)


def _prompt(characters: int) -> ChatRequest:
    return ChatRequest(model="m", messages=[Message("user", "x" * characters)])


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_on_the_projects_own_account_is_free(rig: Rig, stream: bool) -> None:
    """Of two attempts, the one on our account costs what it costs."""
    now = rig.snapshots.current
    own, ours = now.endpoints["openai"]
    endpoints = {**now.endpoints, "openai": (structs.replace(own, owner="tests"), ours)}
    rig.snapshots.replace(structs.replace(now, endpoints=endpoints))
    await rig.chat(CHEAP, stream=stream)
    assert charge(rig) == FREE
    rig.fault("cut", after=0, provider="openai")
    await rig.chat(CHEAP, stream=stream)
    first, last = charge(rig).parts
    assert (first.endpoint, first.cost, first.is_known) == ("at-1", 0, True)
    assert charge(rig).cost == last.cost == cost(CHEAP, rig.second)


class Painter(OpenAIAdapter):
    @override
    def images(self, request: ImagesRequest, target: Target) -> Errand[ImagesAnswer]:
        yield self.get("/models")
        return ImagesAnswer([Picture(b64_json="x")] * (request.n or 1), Usage(3, 0))


async def test_each_picture_has_its_price(rig: Rig) -> None:
    rig.build = Painter
    price = Price(currency="RUB", input=10**9, output=0, image=5_000, request=7)
    reprice(rig, price)
    await rig.draw(CHEAP, n=3)
    assert charge(rig).cost == 3 * 1000 + 3 * 5_000 + 7


async def test_each_call_for_vectors_has_its_request_fee(rig: Rig) -> None:
    """The provider takes one text a call."""
    price = Price(currency="RUB", input=10**9, output=0, request=7)
    name = "yandex/text-search-doc"
    now = rig.snapshots.current
    models = {**now.models, name: MODELS[name]}
    rig.snapshots.replace(structs.replace(now, models=models))
    reprice(rig, price, name)
    await rig.embed(name, ["one", "two words", "three little words"])
    assert len(rig.first.bill) == 3
    assert charge(rig).cost == sum(line.tokens_in for line in rig.first.bill) * 1000 + 3 * 7


@pytest.mark.parametrize("cheaper", [True, False])
async def test_an_answer_that_is_left_for_later_has_its_own_price(rig: Rig, cheaper: bool) -> None:
    later = structs.replace(PRICES[DEAR], id=9, input=10**9, output=10**9)
    reprice(rig, PRICES[DEAR], DEAR, later if cheaper else None)
    body = {"model": DEAR, "messages": [{"role": "user", "content": "[[words:9]]"}]}
    request = read_chat(msgspec.json.encode(body))
    deferred = await rig.pipeline.defer(request, KEY, rig.call("chat"))
    assert deferred is not None
    await rig.pipeline.collect(deferred, rig.call("chat"), Recorder())
    found, (line,) = charge(rig), rig.first.bill
    used = Usage(line.tokens_in, line.tokens_out)
    price = later if cheaper else PRICES[DEAR]
    assert (found.cost, found.price_id) == (charge_of(used, price, RATES).cost, price.id)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "asked,told,is_later",
    [
        ("flex", ("flex",), True),
        ("flex", ("default",), False),
        ("flex", (None,), False),
        ("auto", ("flex",), True),
        (None, ("default",), False),
        ("fast", ("priority",), False),
        ("flex", ("flex", "default", "flex"), True),
    ],
)
async def test_the_tier_that_has_answered_is_charged(
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    asked: str | None,
    told: tuple[str | None, ...],
    is_later: bool,
    stream: bool,
) -> None:
    """Whatever was asked for; each of several calls has its own."""
    later = structs.replace(PRICES[CHEAP], id=9, input=10**9, output=10**9, request=3)
    reprice(rig, PRICES[CHEAP], later=later)
    tiers = list(told)

    def at(body: Any, model: Any) -> Any:
        turn = compose(body, model)
        turn.tier = tiers.pop(0)  # type: ignore[assignment] # null is what some services say
        return turn

    monkeypatch.setattr("xrouter.sandbox.openai.compose", at)
    use(rig, several=True)
    fields: dict[str, Any] = {} if asked is None else {"service_tier": asked}
    reply = await rig.chat(CHEAP, "[[words:9]]", n=len(told), stream=stream, **fields)
    assert (reply.error, tiers) == (None, [])
    costs = [
        charge_of(
            Usage(line.tokens_in, line.tokens_out),
            later if tier == "flex" else PRICES[CHEAP],
            RATES,
        ).cost
        for line, tier in zip(rig.first.bill, told, strict=True)
    ]
    found = charge(rig)
    assert found.cost == sum(costs)
    shown = {9 if is_later else 1} if len(told) == 1 else {1, 9}  # that of any of the calls
    assert found.price_id in shown


async def test_a_patient_tier_without_a_price_of_its_own_costs_as_always(rig: Rig) -> None:
    await rig.chat(CHEAP, "[[words:9]]", service_tier="flex")
    assert (charge(rig).cost, charge(rig).price_id) == (cost(CHEAP, rig.first), 1)


def reprice(rig: Rig, price: Price, name: str = CHEAP, later: Price | None = None) -> None:
    now = rig.snapshots.current
    model = now.models[name]
    versions = tuple(structs.replace(v, price=price, deferred=later) for v in model.versions)
    models = {**now.models, name: structs.replace(model, versions=versions)}
    rig.snapshots.replace(structs.replace(now, models=models))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", ["cut", "server_error"])
async def test_a_refusal_that_stays_is_charged_where_it_was_made(
    rig: Rig, kind: str, stream: bool
) -> None:
    """Nobody else has answered: a call that broke off in between is charged besides."""
    giga = "gigachat/GigaChat-2-Max"
    now = rig.snapshots.current
    refusing = structs.replace(MODELS[giga], policy=Policy(on_refusal=(CHEAP,)))
    rig.snapshots.replace(structs.replace(now, models={**now.models, giga: refusing}))
    reprice(rig, PRICES[DEAR], giga)
    for sandbox in (rig.first, rig.second):
        rig.fault(kind, after=0, where=sandbox, provider="openai")
    reply = await rig.chat(giga, "[[blacklist]]", stream=stream)
    assert reply.finish == "content_filter"
    (billed,) = [line for line in rig.first.bill if line.provider == "gigachat"]
    assert (rig.event.tokens_in, rig.event.tokens_out) == (billed.tokens_in, billed.tokens_out)
    assert rig.event.provider == "gigachat"
    found = charge(rig)
    own = charge_of(Usage(billed.tokens_in, billed.tokens_out), PRICES[DEAR], RATES).cost
    if kind == "server_error":
        assert (found.cost, found.parts, found.is_estimated) == (own, (), False)
    else:
        assert [part.provider for part in found.parts] == ["gigachat", "openai", "openai"]
        assert (found.parts[0].cost, found.parts[0].is_estimated) == (own, False)
