"""Limits of models and versions: who may answer, and who is charged, when another one answers."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec import structs
from tests.flow.harness import KEY, MODELS, Recorder, Rig
from tests.flow.limits.test_limits import PRICE, RUBLE, left, limit, refused

from xrouter.domain.limits import Limit
from xrouter.domain.plan import Plan, Target
from xrouter.domain.routes import Cache, Policy
from xrouter.edge.dialects.openai.chat import read_chat
from xrouter.flow.limits.refusals import QuotaExhausted
from xrouter.providers.base import Left

FIRST, SECOND = "openai/gpt-4o-mini", "yandex/yandexgpt"


def use(rig: Rig, *limits: Limit, **policy: Any) -> None:
    """The first, behind it the second, both at the same price; each at one place."""
    found: dict[str, tuple[Limit, ...]] = {}
    for each in limits:
        found[each.subject] = (*found.get(each.subject, ()), each)
    first = Policy(**({"fallbacks": (SECOND,)} | policy))
    models = {
        name: structs.replace(
            m,
            versions=(structs.replace(m.versions[0], price=PRICE),),
            policy=first if name == FIRST else m.policy,
        )
        for name, m in MODELS.items()
    }
    rig.use(standby=False)
    rig.snapshots.replace(structs.replace(rig.snapshots.current, limits=found, models=models))


def counter(subject: str, limit: Limit) -> str:
    return f"{subject}|{limit.model or '*'}|{limit.meter}|{limit.window}"


def served(reply: Recorder) -> str:
    assert reply.error is None, reply.error
    assert reply.served is not None
    return reply.served.model


async def free(rig: Rig, limit: Limit, subject: str | None = None) -> int:
    return await left(rig, counter(subject or limit.subject, limit), limit)


def break_first(rig: Rig) -> None:
    rig.fault("server_error", provider="openai")


@pytest.mark.parametrize(
    "subject,more",
    [(f"model:{FIRST}", {}), (f"version:{FIRST}:1", {}), ("key:*", {"model": FIRST})],
)
async def test_who_is_at_its_limit_is_not_asked(
    rig: Rig, subject: str, more: dict[str, str]
) -> None:
    use(rig, limit(subject, "requests", "day", 1, **more))

    assert served(await rig.chat(FIRST)) == FIRST
    reply = await rig.chat(FIRST)
    assert served(reply) == SECOND
    assert reply.served is not None
    assert reply.served.reason == f"priority, {FIRST} at its limit"
    assert (reply.served.attempts, len(rig.asked(rig.first))) == (1, 2)
    assert reply.allowances == {}, "the second has no limit"
    assert rig.journal.events[-1].tried == ()


async def test_when_none_is_left_it_is_refused(rig: Rig) -> None:
    """By the limit that is free again first."""
    daily = limit(f"model:{FIRST}", "requests", "day", 1)
    total = limit(f"model:{SECOND}", "requests", "total", 2)
    mine = limit("key:*", "requests", "day", 9)
    use(rig, total, daily, mine)

    assert [served(await rig.chat(FIRST)) for _ in range(3)] == [FIRST, SECOND, SECOND]
    reply = await rig.chat(FIRST)
    error = refused(reply)
    assert isinstance(error, QuotaExhausted)
    assert f"the daily requests quota of model '{FIRST}' is 1" in error.message
    assert error.retry_after is not None
    assert (reply.allowances["requests"].limit, reply.allowances["requests"].remaining) == (1, 0)
    assert await free(rig, mine, "key:key-1") == 6, "a refusal takes nothing"
    assert len(rig.asked(rig.first)) == 3


async def test_headers_tell_of_who_goes_first(rig: Rig) -> None:
    use(
        rig,
        limit(f"model:{FIRST}", "requests", "day", 1),
        limit(f"model:{SECOND}", "requests", "day", 7),
    )

    told = [(await rig.chat(FIRST)).allowances["requests"] for _ in range(2)]
    assert [(each.limit, each.remaining) for each in told] == [(1, 0), (7, 6)]


@pytest.mark.parametrize("stream", [False, True])
async def test_who_answers_is_charged(rig: Rig, *, stream: bool) -> None:
    subjects = (f"model:{FIRST}", f"version:{FIRST}:1", f"model:{SECOND}", f"version:{SECOND}:1")
    tokens = [limit(subject, "tokens", "day", 10_000) for subject in subjects]
    money = [limit(subject, "money", "month", 99 * RUBLE) for subject in subjects]
    rates = [limit(subject, "tokens", "minute", 10_000) for subject in subjects]
    mine = limit("key:*", "tokens", "day", 10_000, model=SECOND)
    use(rig, *tokens, *money, *rates, mine)
    break_first(rig)

    reply = await rig.chat(FIRST, max_tokens=400, stream=stream)
    assert served(reply) == SECOND
    assert reply.usage is not None
    used = reply.usage.prompt_tokens + reply.usage.completion_tokens
    charge = rig.event.charge
    assert charge is not None
    assert charge.total > 0
    assert [10_000 - await free(rig, each) for each in tokens] == [0, 0, used, used]
    assert [99 * RUBLE - await free(rig, each) for each in money] == [0, 0, *[charge.total] * 2]
    assert 10_000 - await free(rig, mine, "key:key-1") == used
    taken = [10_000 - await free(rig, each) for each in rates]
    assert taken[:2] == [0, 0]
    assert all(0 < each <= used for each in taken[2:])


async def test_a_failure_costs_whoever_was_asked_last_a_request(rig: Rig) -> None:
    limits = [limit(f"model:{name}", "requests", "day", 9) for name in (FIRST, SECOND)]
    use(rig, *limits, max_attempts=2)
    rig.fault("server_error")

    assert refused(await rig.chat(FIRST)).status >= 500
    assert [await free(rig, each) for each in limits] == [9, 8]


async def test_no_budget_is_passed_by_those_who_come_from_elsewhere(rig: Rig) -> None:
    """A hundred at once, all of them fall back to a budget for twenty."""
    budget = limit(f"model:{SECOND}", "money", "total", 20 * 4 * RUBLE + RUBLE)
    use(rig, budget)
    break_first(rig)

    replies = await asyncio.gather(
        *(rig.chat(FIRST, "x" * 400, max_tokens=1950) for _ in range(100))
    )
    answered = [reply for reply in replies if reply.error is None]
    spent = sum(event.charge.total for event in rig.journal.events if event.charge is not None)
    assert len(answered) >= 20
    assert spent <= budget.amount
    assert await free(rig, budget) == budget.amount - spent
    assert all(reply.error.status >= 500 for reply in replies if reply.error is not None)


async def test_of_rates_and_places_nothing_is_held_for_who_may_be_asked(rig: Rig) -> None:
    """Else a large model would use up the small one behind it without ever asking it."""
    rate = limit(f"model:{SECOND}", "requests", "minute", 2)
    place = limit(f"model:{SECOND}", "running", "now", 1)
    quota = limit(f"model:{SECOND}", "requests", "day", 4)
    use(rig, rate, place, quota)
    waiting = [Recorder(hold_at="start") for _ in range(3)]
    tasks = [asyncio.create_task(rig.chat(FIRST, reply=each, stream=True)) for each in waiting]
    for each in waiting:
        await each.held.wait()

    assert [await free(rig, each) for each in (rate, place, quota)] == [2, 1, 1]
    assert served(await rig.chat(SECOND)) == SECOND
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert [await free(rig, each) for each in (rate, place, quota)] == [1, 1, 3]


async def test_who_is_full_is_no_fallback(rig: Rig) -> None:
    use(rig, limit(f"model:{SECOND}", "running", "now", 1))
    break_first(rig)
    first = Recorder(hold_at="start")
    task = asyncio.create_task(rig.chat(SECOND, reply=first, stream=True))
    await first.held.wait()

    assert refused(await rig.chat(FIRST)).status >= 500
    task.cancel()
    await asyncio.wait([task])
    assert served(await rig.chat(FIRST)) == SECOND


async def test_who_has_all_its_streams_answers_whole(rig: Rig) -> None:
    place = limit(f"model:{FIRST}", "streams", "now", 1)
    use(rig, place, limit(f"model:{SECOND}", "requests", "day", 9))
    first = Recorder(hold_at="start")
    task = asyncio.create_task(rig.chat(FIRST, reply=first, stream=True))
    await first.held.wait()

    assert served(await rig.chat(FIRST, stream=True)) == SECOND
    assert served(await rig.chat(FIRST)) == FIRST
    task.cancel()
    await asyncio.wait([task])
    assert served(await rig.chat(FIRST, stream=True)) == FIRST
    assert await free(rig, place) == 1


@pytest.mark.parametrize("chain", ["on_overflow", "on_refusal"])
async def test_chains_lead_to_nobody_at_its_limit(
    rig: Rig, chain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    daily = limit(f"model:{SECOND}", "requests", "day", 1)
    use(rig, daily, fallbacks=(), **{chain: (SECOND,)})
    plans: list[Plan] = []
    answer = rig.pipeline._gear.dispatcher.answer

    async def noted(request: Any, plan: Plan, tally: Any) -> Any:
        plans.append(plan)
        return await answer(request, plan, tally)

    monkeypatch.setattr(rig.pipeline._gear.dispatcher, "answer", noted)
    assert served(await rig.chat(FIRST)) == FIRST
    assert await free(rig, daily) == 1
    assert served(await rig.chat(SECOND)) == SECOND
    assert served(await rig.chat(FIRST)) == FIRST
    chains = [plan.overflow + plan.refusal for plan in plans]
    assert [len(each) for each in chains] == [1, 0, 0]
    assert [plan.skipped for plan in plans] == [False] * 3
    assert plans[2].reason == plans[0].reason


async def test_a_kept_answer_is_a_request_at_who_gave_it(rig: Rig) -> None:
    limits = [limit(f"model:{name}", "requests", "day", 9) for name in (FIRST, SECOND)]
    use(rig, *limits, limit("model:*", "tokens", "day", 10**6), cache=Cache(ttl=60))

    for _ in range(2):
        assert served(await rig.chat(FIRST)) == FIRST
    assert [event.cached for event in rig.journal.events] == [False, True]
    assert [await free(rig, each) for each in limits] == [7, 9]


async def test_what_is_answered_later_counts_at_who_took_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = [limit(f"model:{name}", "tokens", "day", 1000) for name in (FIRST, SECOND)]
    rates = [limit(f"model:{name}", "tokens", "minute", 1000) for name in (FIRST, SECOND)]
    places = [limit(f"model:{name}", "running", "now", 1) for name in (FIRST, SECOND)]
    use(rig, *tokens, *rates, *places)

    async def defer(_: object, plan: Plan) -> tuple[Target, Left]:
        return plan.targets[1], Left("op-1")

    monkeypatch.setattr(rig.pipeline._gear.dispatcher, "defer", defer)
    body = {"model": FIRST, "messages": [{"role": "user", "content": "Hey!"}], "max_tokens": 99}
    found = await rig.pipeline.defer(read_chat(msgspec.json.encode(body)), KEY, rig.call("chat"))
    assert found is not None
    assert found.model == SECOND
    assert [await free(rig, each) for each in tokens] == [1000, 900]
    taken = [1000 - await free(rig, each) for each in rates]
    assert taken[0] == 0
    assert 90 < taken[1] <= 100
    assert [await free(rig, each) for each in places] == [1, 1]
