"""What may be tried after a failure: the same target in a moment, another one, another chain."""

from __future__ import annotations

import asyncio

import pytest
from tests.flow.harness import MODELS, Recorder, Rig

from xrouter.domain.answer import ChatDelta
from xrouter.domain.catalog import Timeouts
from xrouter.domain.errors import UpstreamFailed, UpstreamRateLimited, UpstreamTimeout
from xrouter.domain.plan import Target
from xrouter.domain.routes import Patience, Policy
from xrouter.flow.board import LEAST_RETRIES
from xrouter.flow.stream import PACE_S, Pace

GIGA, YANDEX, OPENAI = "gigachat/GigaChat-2-Max", "yandex/yandexgpt-lite", "openai/gpt-4o-mini"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_lone_target_is_asked_again_after_a_moment(rig: Rig, stream: bool) -> None:
    rig.use(standby=False)
    rig.fault("server_error", times=1)
    reply = await rig.chat(OPENAI, stream=stream)
    assert reply.error is None
    assert (rig.event.attempts, rig.event.outcome) == (2, "ok")
    assert [(each.endpoint, each.code) for each in rig.event.tried] == [
        ("at-1", "upstream_error"),
        ("at-1", None),
    ]


async def test_a_short_wait_that_the_provider_asks_for_is_kept(rig: Rig) -> None:
    rig.use(standby=False)
    rig.fault("rate_limited", times=1, retry_after=1)
    reply = await rig.chat(OPENAI)
    assert reply.error is None
    assert rig.event.total_ms >= 1000


async def test_a_long_wait_is_left_to_the_caller(rig: Rig) -> None:
    rig.use(standby=False)
    rig.fault("rate_limited", retry_after=30)
    reply = await rig.chat(OPENAI)
    assert isinstance(reply.error, UpstreamRateLimited)
    assert (reply.error.retry_after, rig.event.attempts) == (30, 1)


async def test_what_a_provider_may_charge_for_is_not_asked_twice(rig: Rig) -> None:
    rig.use(standby=False)
    rig.fault("cut", after=0)
    reply = await rig.chat(OPENAI, stream=True)
    assert reply.error is not None
    assert rig.event.attempts == 1


async def test_how_often_the_first_choice_answers_is_counted(rig: Rig) -> None:
    await rig.chat(OPENAI)
    rig.fault("server_error", times=1)
    await rig.chat(OPENAI)
    text = rig.meters.render().decode()
    assert 'xrouter_plans_total{answered="first",strategy="priority"} 1.0' in text
    assert 'xrouter_plans_total{answered="other",strategy="priority"} 1.0' in text


async def test_a_standby_is_not_the_first_choice_though_nothing_failed(rig: Rig) -> None:
    rig.fault("server_error", times=5)
    for _ in range(7):
        assert (await rig.chat(OPENAI)).error is None
    assert rig.journal.events[-1].tried == ()
    text = rig.meters.render().decode()
    assert 'xrouter_plans_total{answered="other",strategy="priority"} 7.0' in text
    assert 'answered="first"' not in text


async def test_an_answer_in_place_of_a_refusal_is_not_the_first_choices(rig: Rig) -> None:
    rig.use(policy=Policy(on_refusal=(OPENAI,)))
    await rig.chat(GIGA, "[[blacklist]]")
    text = rig.meters.render().decode()
    assert 'xrouter_plans_total{answered="other",strategy="priority"} 1.0' in text


@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_says_who_was_asked_last(rig: Rig, stream: bool) -> None:
    for where in (rig.first, rig.second):
        rig.fault("server_error", where=where)
    reply = await rig.chat(OPENAI, stream=stream)
    assert reply.calls == ["refuse"]
    asked = reply.last_asked
    assert asked is not None
    assert (asked.model, asked.endpoint, asked.attempts) == (OPENAI, "at-1", 3)
    assert asked.reason == "priority"


async def test_what_is_refused_before_anybody_is_asked_names_nobody(rig: Rig) -> None:
    assert (await rig.chat("openai/none")).last_asked is None
    reply = await rig.chat(GIGA, logprobs=True)
    assert reply.error is not None
    assert reply.last_asked is None


async def test_errors_of_other_operations_say_who_was_asked_too(rig: Rig) -> None:
    rig.use(standby=False)
    rig.fault("server_error", match={"path": "mbedding"})
    reply = await rig.embed("openai/text-embedding-3-small", ["a"])
    assert isinstance(reply.error, UpstreamFailed)
    assert reply.last_asked is not None
    assert reply.last_asked.provider == "openai"


async def test_attempts_are_bounded(rig: Rig) -> None:
    rig.use(policy=Policy(max_attempts=2))
    for where in (rig.first, rig.second):
        rig.fault("server_error", where=where)
    reply = await rig.chat(OPENAI)
    assert isinstance(reply.error, UpstreamFailed)
    assert rig.event.attempts == 2


async def test_retries_do_not_multiply_the_load(rig: Rig) -> None:
    """A budget, not only a count: a provider that is down gets few second calls."""
    rig.use(standby=False, policy=Policy(max_attempts=2))
    rig.fault("server_error")
    for _ in range(20):
        await rig.chat(OPENAI)
    assert len(rig.asked(rig.first, "ompletion")) <= 20 * 1.2 + LEAST_RETRIES


async def test_a_target_that_failed_is_not_the_first_any_more(rig: Rig) -> None:
    rig.fault("server_error")
    for _ in range(8):
        assert (await rig.chat(OPENAI)).error is None
    assert len(rig.asked(rig.first, "ompletion")) == 5
    assert rig.journal.events[-1].reason == "priority, openai/at-1 held back"


async def test_a_denied_endpoint_is_not_asked_for_other_versions(rig: Rig) -> None:
    rig.use(standby=False)
    rig.fault("unauthorized_once", status=403, times=None, match={"path": ""})
    await rig.chat(YANDEX)
    assert len(rig.asked(rig.first, "ompletion")) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_goes_to_the_chain_for_refusals(rig: Rig, stream: bool) -> None:
    rig.use(policy=Policy(on_refusal=(OPENAI,)))
    reply = await rig.chat(GIGA, "[[blacklist]]", stream=stream)
    assert reply.served is not None
    assert (reply.finish, reply.served.model) == ("stop", OPENAI)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_stays_where_nobody_else_answers(rig: Rig, stream: bool) -> None:
    rig.use(policy=Policy(on_refusal=(OPENAI,)))
    rig.fault("server_error", match={"model": "gpt-4o-mini"})
    rig.fault("server_error", match={"model": "gpt-4o-mini"}, where=rig.second)
    reply = await rig.chat(GIGA, "[[blacklist]]", stream=stream)
    assert reply.served is not None
    assert (reply.finish, reply.served.model) == ("content_filter", GIGA)
    assert rig.event.model_served == GIGA


async def test_running_calls_are_counted_and_none_is_left(rig: Rig) -> None:
    reply = Recorder(hold_at="deltas")
    task = asyncio.create_task(rig.chat(OPENAI, stream=True, reply=reply))
    await reply.held.wait()
    endpoint = rig.snapshots.current.endpoints["openai"][0]
    target = Target(endpoint, MODELS[OPENAI], MODELS[OPENAI].versions[0])
    assert rig.board.standing(target).running == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert rig.board.standing(target).running == 0


async def test_a_policys_patience_is_the_requests(rig: Rig) -> None:
    rig.use(
        Timeouts(first_token=60), standby=False, policy=Policy(patience=Patience(first_token=0.2))
    )
    rig.fault("hang_before_headers")
    reply = await rig.chat(OPENAI, stream=True)
    assert isinstance(reply.error, UpstreamTimeout)


def test_a_stream_must_keep_its_pace() -> None:
    now = [0.0]
    pace = Pace(10.0, lambda: now[0])
    pace.check([ChatDelta(text="x")])
    now[0] = PACE_S
    pace.check([ChatDelta(text="x" * 50)])
    now[0] = 2 * PACE_S
    with pytest.raises(UpstreamTimeout, match="slower than 10 characters"):
        pace.check([ChatDelta(text="x" * 49)])
