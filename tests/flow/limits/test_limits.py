"""Limits in the pipeline: what is counted, what is refused, what is told."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
import pytest
from msgspec import structs
from tests.flow.harness import KEY, MODELS, PRINCIPAL, Recorder, Rig

from xrouter.domain.catalog import Price
from xrouter.domain.chat import ChatRequest, Message
from xrouter.domain.errors import InternalError, RateLimited, XRouterError
from xrouter.domain.identity import Principal
from xrouter.domain.limits import Limit, Meter, Tenant, Window
from xrouter.domain.plan import Plan, Target
from xrouter.domain.ports import Want
from xrouter.edge.dialects.openai.chat import read_chat
from xrouter.flow.ask import Ask
from xrouter.flow.limits.needs import needs
from xrouter.flow.limits.refusals import QuotaExhausted, TokensLimited
from xrouter.flow.limits.rules import Rule
from xrouter.providers.base import Left

MODEL = "openai/gpt-4o-mini"
EMBEDDER = "openai/text-embedding-3-small"
RUBLE = 10**9
PRICE = Price(currency="RUB", input=RUBLE * 1000, output=RUBLE * 2000)
"""A thousandth of a ruble for a token of the prompt, two for one of the answer."""


def limit(subject: str, meter: Meter, window: Window, amount: int, **more: Any) -> Limit:
    return Limit(subject=subject, meter=meter, window=window, amount=amount, **more)


def use(rig: Rig, *limits: Limit, tenant: Tenant | None = None, price: Price = PRICE) -> None:
    """These limits, and every model at this price."""
    found: dict[str, tuple[Limit, ...]] = {}
    for each in limits:
        found[each.subject] = (*found.get(each.subject, ()), each)
    models = {
        name: structs.replace(m, versions=(structs.replace(m.versions[0], price=price),))
        for name, m in MODELS.items()
    }
    tenants = {} if tenant is None else {tenant.project: tenant}
    rig.snapshots.replace(
        structs.replace(rig.snapshots.current, limits=found, tenants=tenants, models=models)
    )


async def left(rig: Rig, counter: str, limit: Limit) -> int:
    want = Want(counter, limit.meter, limit.window, limit.amount, 0, limit.time_zone)
    return (await rig.limits.look([want]))[0].remaining


def rules_of(rig: Rig, target: Target, user: str | None = None) -> tuple[Rule, ...]:
    book, snapshot = rig.pipeline._gear.limits._rules, rig.snapshots.current
    request = ChatRequest(model=MODEL, messages=[Message(role="user", content="Hey!")], user=user)
    return book.whole(Ask(PRINCIPAL, request), target, snapshot).rules


def refused(reply: Recorder) -> XRouterError:
    assert reply.error is not None, "it was answered"
    return reply.error


@pytest.mark.parametrize(
    "subject,counted",
    [
        ("key:key-1", "key:key-1"),
        ("key:*", "key:key-1"),
        ("project:tests", "project:tests"),
        ("organization:acme", "organization:acme"),
        ("organization:*", "organization:acme"),
        ("user:ann", "user:tests/ann"),
        ("user:*", "user:tests/ann"),
        (f"model:{MODEL}", f"model:{MODEL}"),
        ("model:*", f"model:{MODEL}"),
        (f"version:{MODEL}:1", f"version:{MODEL}:1"),
    ],
)
async def test_whose_limits_count(rig: Rig, subject: str, counted: str) -> None:
    daily = limit(subject, "requests", "day", 2)
    use(rig, daily, tenant=Tenant(project="tests", organization="acme"))

    for _ in range(2):
        assert (await rig.chat(MODEL, user="ann")).error is None
    error = refused(await rig.chat(MODEL, user="ann"))
    assert isinstance(error, QuotaExhausted)
    assert await left(rig, f"{counted}|*|requests|day", daily) == 0
    assert len(rig.asked(rig.first)) == 2


@pytest.mark.parametrize(
    "subject", ["key:key-2", "project:other", "organization:other", "user:bob", "model:a/b"]
)
async def test_limits_of_others_do_not_count(rig: Rig, subject: str) -> None:
    use(rig, limit(subject, "requests", "total", 0))

    reply = await rig.chat(MODEL, user="ann")
    assert (reply.error, reply.allowances) == (None, {})
    assert rig.limits._counters == {}


async def test_a_limit_of_ones_own_replaces_the_one_for_all(rig: Rig) -> None:
    use(rig, limit("key:*", "requests", "day", 1), limit("key:key-1", "requests", "day", 3))

    assert [(await rig.chat(MODEL)).error is None for _ in range(4)] == [True] * 3 + [False]


async def test_a_limit_at_one_model(rig: Rig) -> None:
    use(rig, limit("key:*", "requests", "total", 0, model=MODEL))

    assert f"at model '{MODEL}'" in refused(await rig.chat(MODEL)).message
    assert (await rig.chat("openai/o4-mini")).error is None


async def test_the_smaller_of_rpm_and_a_limit_counts(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Principal(key_id="key-2", name="slow", project="tests", rpm=1)
    monkeypatch.setattr(rig.pipeline._gear.keys, "find", lambda *_: slow)
    monkeypatch.setattr(rig.limits, "_clock", lambda: 1000.0)
    use(rig, limit("key:key-2", "requests", "minute", 5))

    replies = [await rig.chat(MODEL) for _ in range(2)]
    assert replies[0].allowances["requests"].limit == 1
    error = refused(replies[1])
    assert isinstance(error, RateLimited)
    assert (error.status, error.type, error.code) == (429, "requests", "rate_limit_exceeded")
    assert re.match(
        r"Rate limit reached for this API key on requests per min \(RPM\): "
        r"Limit 1, Used 1, Requested 1\. Please try again in (60s|1m0s)\.",
        error.message,
    )
    assert error.retry_after == pytest.approx(60)


@pytest.mark.parametrize("model", [None, MODEL])
@pytest.mark.parametrize("name", ["", "x" * 400], ids=["short", "long"])
async def test_each_end_user_of_a_key_has_their_own(rig: Rig, model: str | None, name: str) -> None:
    use(rig, limit("user:*", "requests", "total", 1, model=model))

    assert (await rig.chat(MODEL, user=f"{name}ann")).error is None
    refused(await rig.chat(MODEL, user=f"{name}ann"))
    assert (await rig.chat(MODEL, user=f"{name}bob")).error is None


async def test_tokens_are_held_and_settled_with_what_was_used(rig: Rig) -> None:
    rate = limit("key:*", "tokens", "minute", 1000)
    use(rig, rate)

    reply = await rig.chat(MODEL, "x" * 400, max_tokens=500)
    assert reply.allowances["tokens"].remaining == 1000 - 100 - 500
    assert reply.usage is not None
    used = reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert 1000 - used <= await left(rig, "key:key-1|*|tokens|minute", rate) <= 1000 - used + 50

    error = refused(await rig.chat(MODEL, "x" * 400, max_tokens=950))
    assert isinstance(error, TokensLimited)
    assert (error.type, error.retry_after) == ("tokens", None)
    assert error.message.startswith("Request too large for this API key on tokens per min (TPM): ")


async def test_a_guess_of_the_answer_excludes_no_request(rig: Rig) -> None:
    use(rig, limit("key:*", "tokens", "minute", 100))

    assert (await rig.chat(MODEL, "Hello")).error is None


@pytest.mark.parametrize("stream", [False, True])
async def test_money_is_held_and_settled_with_the_charge(rig: Rig, *, stream: bool) -> None:
    budget = limit("project:tests", "money", "month", 100 * RUBLE)
    tenant = Tenant(project="tests", organization="acme", margin=1000, vat=2000)
    use(rig, budget, tenant=tenant)

    reply = await rig.chat(MODEL, stream=stream)
    assert reply.error is None
    charge = rig.event.charge
    assert charge is not None
    assert charge.total > charge.cost > 0
    state = await left(rig, "project:tests|*|money|month", budget)
    assert state == 100 * RUBLE - charge.total


async def test_a_budget_is_held_before_it_is_spent(rig: Rig) -> None:
    """E01 through the pipeline: a hundred at once on a budget for twenty."""
    use(rig, limit("project:*", "money", "total", 20 * 4 * RUBLE + RUBLE))

    replies = await asyncio.gather(
        *(rig.chat(MODEL, "x" * 400, max_tokens=1950) for _ in range(100))
    )
    answered = [reply for reply in replies if reply.error is None]
    spent = sum(event.charge.total for event in rig.journal.events if event.charge is not None)
    assert len(answered) >= 20
    assert spent <= 20 * 4 * RUBLE + RUBLE
    errors = [reply.error for reply in replies if reply.error is not None]
    assert all(isinstance(error, QuotaExhausted) for error in errors)


async def test_an_exhausted_budget_says_whose_and_until_when(rig: Rig) -> None:
    use(rig, limit("project:*", "money", "month", RUBLE))

    assert (await rig.chat(MODEL, max_tokens=490)).error is None
    error = refused(await rig.chat(MODEL, max_tokens=490))
    assert (error.status, error.type, error.code) == (
        429,
        "insufficient_quota",
        "insufficient_quota",
    )
    assert "the monthly budget of project 'tests' is 1.00 rubles" in error.message
    assert "It resets at 2" in error.message
    assert error.retry_after is not None
    assert error.hint is not None
    assert rig.journal.events[-1].status == 429
    use(rig, limit("project:*", "money", "total", 0))
    error = refused(await rig.chat(MODEL, max_tokens=1000))
    assert error.message.endswith("It does not reset by itself.")
    assert error.retry_after is None


async def test_the_dearest_target_is_held(rig: Rig) -> None:
    """A fallback may cost more than the first choice."""
    budget = limit("key:*", "money", "total", 10 * RUBLE)
    use(rig, budget)
    snapshot = rig.snapshots.current
    ask = Ask(PRINCIPAL, None, None, {})
    plan = rig.pipeline._gear.router.plan(MODEL, ("chat",), ask, snapshot)
    price = structs.replace(PRICE, request=3 * RUBLE)
    version = structs.replace(plan.targets[0].version, price=price)
    dear = structs.replace(plan, refusal=(structs.replace(plan.targets[0], version=version),))
    book = rig.pipeline._gear.limits._rules

    def wanted(plan: Plan, tenant: Tenant | None = None) -> list[int]:
        tenants = {} if tenant is None else {tenant.project: tenant}
        found = needs(book, ask, plan, structs.replace(snapshot, tenants=tenants))
        return [want.amount for want in found.wants]

    assert wanted(plan) == [0]
    assert wanted(dear) == [3 * RUBLE]
    tenant = Tenant(project="tests", organization="acme", vat=2000)
    assert wanted(dear, tenant) == [3 * RUBLE * 6 // 5]


async def test_calls_at_a_time(rig: Rig) -> None:
    use(rig, limit("key:*", "running", "now", 1))
    first = Recorder(hold_at="start")
    task = asyncio.create_task(rig.chat(MODEL, reply=first, stream=True))
    await first.held.wait()

    error = refused(await rig.chat(MODEL))
    assert isinstance(error, RateLimited)
    assert error.retry_after == 1.0
    task.cancel()
    await asyncio.wait([task])
    assert (await rig.chat(MODEL)).error is None


async def test_streams_at_a_time(rig: Rig) -> None:
    few = limit("key:*", "streams", "now", 2)
    use(rig, few)
    waiting = [Recorder(hold_at="start") for _ in range(2)]
    tasks = [asyncio.create_task(rig.chat(MODEL, reply=each, stream=True)) for each in waiting]
    for each in waiting:
        await each.held.wait()

    error = refused(await rig.chat(MODEL, stream=True))
    assert isinstance(error, RateLimited)
    assert (error.type, error.code, error.retry_after) == ("requests", "rate_limit_exceeded", 1.0)
    assert error.message.startswith("Too many streams at a time for this API key: Limit 2. ")
    assert (await rig.chat(MODEL)).error is None
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    assert await left(rig, "key:key-1|*|streams|now", few) == 1
    for _ in range(2):  # whose places are free when they have ended
        assert (await rig.chat(MODEL, stream=True)).error is None
    tasks[1].cancel()
    await asyncio.wait(tasks[1:])
    assert await left(rig, "key:key-1|*|streams|now", few) == 2


async def test_whole_answers_take_no_place_of_streams(rig: Rig) -> None:
    """None is forbidden, at any level; all other limits count them."""
    daily = limit("key:*", "requests", "day", 9)
    none = [limit(whose, "streams", "now", 0) for whose in ("key:*", f"model:{MODEL}")]
    for each in none:
        use(rig, each, daily)
        before = await left(rig, "key:key-1|*|requests|day", daily)
        assert (await rig.chat(MODEL)).error is None
        assert await left(rig, "key:key-1|*|requests|day", daily) == before - 1
        assert refused(await rig.chat(MODEL, stream=True)).status == 429
    use(rig, none[0])
    assert (await rig.embed("openai/text-embedding-3-small", ["Hey!"])).error is None


async def test_what_reached_no_provider_is_given_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    daily = limit("key:*", "requests", "day", 5)
    use(rig, daily)

    async def fail(*_: object) -> None:
        raise InternalError("A defect.")

    monkeypatch.setattr(rig.pipeline._gear.dispatcher, "answer", fail)
    assert refused(await rig.chat(MODEL)).status == 500
    assert await left(rig, "key:key-1|*|requests|day", daily) == 5


async def test_a_failed_request_uses_no_tokens(rig: Rig) -> None:
    rate = limit("key:*", "tokens", "day", 10_000)
    use(rig, rate)
    rig.use(standby=False)
    use(rig, rate)
    rig.fault("server_error")

    assert (await rig.chat(MODEL, max_tokens=500)).error is not None
    assert await left(rig, "key:key-1|*|tokens|day", rate) == 10_000


async def test_other_operations_count_too(rig: Rig) -> None:
    daily = limit("key:*", "tokens", "day", 10_000)
    use(rig, daily, limit("key:*", "requests", "day", 2))

    assert (await rig.embed("openai/text-embedding-3-small", ["Hello"])).error is None
    assert await left(rig, "key:key-1|*|tokens|day", daily) < 10_000
    assert (await rig.embed("openai/text-embedding-3-small", ["Hello"])).error is None
    assert (await rig.embed("openai/text-embedding-3-small", ["Hello"])).error is not None


async def test_headers_tell_the_limit_of_which_least_is_left(rig: Rig) -> None:
    use(
        rig,
        limit("key:*", "requests", "minute", 50),
        limit("project:*", "requests", "day", 10),
        limit("key:*", "tokens", "minute", 100_000),
    )

    told = (await rig.chat(MODEL, max_tokens=10)).allowances
    assert (told["requests"].limit, told["requests"].remaining) == (10, 9)
    assert told["requests"].reset_s > 1
    assert told["tokens"].limit == 100_000


async def test_a_warning_comes_once_in_a_window(rig: Rig) -> None:
    use(rig, limit("key:*", "requests", "day", 4, warn_at=50))

    for _ in range(4):
        assert (await rig.chat(MODEL)).error is None
    assert (await rig.chat(MODEL)).error is not None
    text = rig.meters.render().decode()
    labels = '{kind="key",meter="requests",window="day"}'
    assert f"xrouter_limit_warnings_total{labels} 1.0" in text
    assert f"xrouter_limit_refusals_total{labels} 1.0" in text


async def test_rules_are_found_once_for_each_snapshot(rig: Rig) -> None:
    use(rig, limit("key:*", "requests", "day", 4), limit("model:*", "requests", "day", 4))
    target = rig.pipeline._gear.router.targets(MODEL, ("chat",), rig.snapshots.current)[0]

    first = rules_of(rig, target, "ann")
    again = rules_of(rig, target, "bob")
    assert [one is other for one, other in zip(first, again, strict=True)] == [True, True]
    use(rig, limit("key:*", "requests", "day", 5))
    assert rules_of(rig, target, "bob")[0].limit.amount == 5


@pytest.mark.parametrize("taken", [True, False])
async def test_what_is_answered_later_counts_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, *, taken: bool
) -> None:
    budget = limit("key:*", "tokens", "day", 1000)
    use(rig, budget, limit("key:*", "running", "now", 1))

    async def defer(_: object, plan: Plan) -> tuple[Target, Left] | None:
        return (plan.targets[0], Left("op-1")) if taken else None

    monkeypatch.setattr(rig.pipeline._gear.dispatcher, "defer", defer)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hey!"}], "max_tokens": 99}
    request = read_chat(msgspec.json.encode(body))
    for _ in range(2):
        assert (await rig.pipeline.defer(request, KEY, rig.call("chat")) is not None) == taken
    used = 2 * (1 + 99) if taken else 0
    assert await left(rig, "key:key-1|*|tokens|day", budget) == 1000 - used


async def test_vectors_count_for_the_end_user_who_is_named(rig: Rig) -> None:
    budget = limit("user:*", "money", "total", RUBLE // 50)
    use(rig, budget)
    assert (await rig.embed(EMBEDDER, ["word"], user="dora")).error is None
    spent = rig.event.charge
    assert spent is not None
    assert await left(rig, "user:tests/dora|*|money|total", budget) == RUBLE // 50 - spent.total
    error = refused(await rig.embed(EMBEDDER, ["word " * 100], user="dora"))
    assert isinstance(error, QuotaExhausted)
    assert "is 0.02 rubles, " in error.message
    assert "may need 0.125 rubles" in error.message
    assert (await rig.embed(EMBEDDER, ["word"], user="bob")).error is None
