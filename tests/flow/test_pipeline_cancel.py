"""The caller leaves: the provider sees it at once, and the request is settled exactly once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.flow.harness import Recorder, Rig, until

from xrouter.domain.catalog import Timeouts
from xrouter.domain.ports import SERVER_SHUTDOWN
from xrouter.domain.routes import Policy

AT_ONCE_S = 1.0
"""Seconds: the bound that is tested. It takes a millisecond or two."""

MODELS = [
    "gigachat/GigaChat-2-Max",
    "yandex/yandexgpt-lite",
    "yandex/gpt-oss-20b",
    "openai/gpt-4o-mini",
]
ENDLESS = "[[words:500]] [[pause:0.02]]"

PHASES: list[tuple[str, dict[str, Any] | None, str, bool]] = [
    ("before the headers", {"kind": "hang_before_headers"}, "Hi", True),
    ("before the headers of a whole answer", {"kind": "hang_before_headers"}, "Hi", False),
    ("before the first delta", {"kind": "hang_mid_stream", "after": 0}, "Hi", True),
    ("in the middle of a body", {"kind": "hang_mid_stream"}, "Hi", False),
    ("between deltas", None, ENDLESS, True),
    ("in a silence between deltas", {"kind": "hang_mid_stream", "after": 4}, "[[words:90]]", True),
]


async def _leave(task: asyncio.Task[Any], rig: Rig, *message: str) -> None:
    """Cancel the request, as the door does, and see that the provider notices."""
    task.cancel(*message)
    took = await until(task.done, "it has ended")
    with pytest.raises(asyncio.CancelledError):
        await task
    took += await until(lambda: rig.first.seen.open == 0, "nothing is being served any more")
    assert rig.asked(rig.first)[-1]["closed_by_client"]
    assert took < AT_ONCE_S


@pytest.mark.parametrize("what,fault,text,stream", PHASES, ids=[phase[0] for phase in PHASES])
@pytest.mark.parametrize("model", MODELS)
async def test_leaving_closes_the_way_to_the_provider(
    rig: Rig, model: str, what: str, fault: dict[str, Any] | None, text: str, stream: bool
) -> None:
    if fault is not None:
        rig.fault(**fault)
    reply = Recorder()
    task = asyncio.create_task(rig.chat(model, text, stream=stream, reply=reply))
    if what.startswith(("between", "in a silence")):
        await until(lambda: len(reply.text) > 5, "a few words have come")
    else:
        await until(lambda: len(rig.asked(rig.first)) > 0, "the provider is asked")
    await _leave(task, rig)

    assert rig.asked(rig.second) == []
    assert "end" not in reply.calls
    assert "fail" not in reply.calls
    event = rig.event
    assert (event.status, event.outcome) == (499, "cancelled")
    assert (event.error_code, event.attempts) == ("client_disconnected", 1)
    if reply.text:
        assert event.tokens_in > 0
        assert event.tokens_out > 0
        assert event.first_token_ms is not None


@pytest.mark.parametrize("hold_at", ["start", "deltas"])
@pytest.mark.parametrize("model", MODELS)
async def test_leaving_while_nothing_is_taken(rig: Rig, model: str, hold_at: str) -> None:
    """A slow caller holds up the reading; when it leaves the provider's stream is closed."""
    reply = Recorder(hold_at)
    task = asyncio.create_task(rig.chat(model, ENDLESS, stream=True, reply=reply))
    await until(reply.held.is_set, "the caller takes nothing")
    await _leave(task, rig)

    assert rig.event.outcome == "cancelled"
    assert rig.event.tokens_out >= (hold_at == "deltas")


@pytest.mark.parametrize("hold_at,stream", [("end", True), ("answer", False)])
async def test_leaving_during_the_last_bytes_does_not_settle_twice(
    rig: Rig, hold_at: str, stream: bool
) -> None:
    reply = Recorder(hold_at)
    task = asyncio.create_task(rig.chat("openai/gpt-4o-mini", stream=stream, reply=reply))
    await until(reply.held.is_set, "the end is being sent")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (rig.event.status, rig.event.outcome) == (200, "ok")
    assert rig.event.tokens_out == rig.first.bill[0].tokens_out


async def test_leaving_while_being_refused_does_not_settle_twice(rig: Rig) -> None:
    rig.use(standby=False)
    rig.fault("server_error")
    reply = Recorder("refuse")
    task = asyncio.create_task(rig.chat("openai/gpt-4o-mini", reply=reply))
    await until(reply.held.is_set, "the refusal is being sent")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert rig.event.outcome == "error"


async def test_a_slow_caller_holds_the_provider_back(rig: Rig) -> None:
    """What is not taken is not read: the provider's stream stands still, memory does not grow."""
    reply = Recorder("deltas")
    task = asyncio.create_task(
        rig.chat("openai/gpt-4o-mini", "[[words:40000]]", stream=True, reply=reply)
    )
    await until(reply.held.is_set, "the caller takes nothing")
    await until(lambda: len(rig.asked(rig.first)) == 1, "the provider is asked")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await asyncio.wait([task])
    assert rig.first.seen.open == 1, "the provider cannot get rid of it all"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(reply.text) < 100_000


async def test_the_servers_leaving_is_not_the_callers(rig: Rig) -> None:
    reply = Recorder()
    task = asyncio.create_task(rig.chat("openai/gpt-4o-mini", ENDLESS, stream=True, reply=reply))
    await until(lambda: len(reply.text) > 5, "a few words have come")
    await _leave(task, rig, SERVER_SHUTDOWN)

    event = rig.event
    assert (event.status, event.outcome, event.error_code) == (503, "error", SERVER_SHUTDOWN)
    assert event.tokens_out > 0


async def test_leaving_in_the_middle_of_several_embeddings(rig: Rig) -> None:
    rig.fault("hang_before_headers", match={"path": "textEmbedding"})
    task = asyncio.create_task(rig.embed("yandex/text-search-doc", ["a", "b", "c", "d", "e", "f"]))
    await until(lambda: rig.first.seen.open > 1, "several are asked at once")
    task.cancel()
    took = await until(task.done, "it has ended")
    with pytest.raises(asyncio.CancelledError):
        await task
    took += await until(lambda: rig.first.seen.open == 0, "nothing is being served any more")

    asked = rig.asked(rig.first, "textEmbedding")
    assert 1 < len(asked) < 6, "they are asked in bounded portions"
    assert took < AT_ONCE_S
    assert rig.event.outcome == "cancelled"


async def test_one_failed_embedding_ends_the_others(rig: Rig) -> None:
    rig.use(Timeouts(total=30), standby=False, policy=Policy(max_attempts=1))
    rig.fault("server_error", times=1, match={"path": "textEmbedding"})
    rig.fault("hang_before_headers", match={"path": "textEmbedding"})
    reply = await rig.embed("yandex/text-search-doc", ["a", "b", "c", "d"])
    await until(lambda: rig.first.seen.open == 0, "nothing is being served any more")

    assert reply.calls == ["refuse"]
    assert rig.event.error_code == "upstream_error"


async def test_leaving_does_not_disturb_who_waits_for_the_same_token(rig: Rig) -> None:
    rig.fault("slow_headers", delay_s=0.3, times=1, match={"path": "oauth"})
    leaver = asyncio.create_task(rig.chat("gigachat/GigaChat-2-Max"))
    stayer = asyncio.create_task(rig.chat("gigachat/GigaChat-2-Max"))
    await until(lambda: len(rig.asked(rig.first, "oauth")) == 1, "a token is being fetched")
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    reply = await stayer

    assert reply.error is None
    assert len(rig.asked(rig.first, "oauth")) == 1
    assert sorted(event.outcome for event in rig.journal.events) == ["cancelled", "ok"]


async def test_many_come_and_go_and_nothing_is_left(rig: Rig) -> None:
    """Slots, sockets and tasks come back: after 200 who left, 50 are answered."""
    for _ in range(10):
        tasks = [
            asyncio.create_task(rig.chat("openai/gpt-4o-mini", ENDLESS, stream=True))
            for _ in range(20)
        ]
        await until(lambda: rig.first.seen.open > 10, "some are being served")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: rig.first.seen.open == 0, "all are closed")
    replies = await asyncio.gather(*(rig.chat("openai/gpt-4o-mini", f"{n}") for n in range(50)))

    assert all(reply.error is None for reply in replies)
    outcomes = [event.outcome for event in rig.journal.events]
    assert (outcomes.count("cancelled"), outcomes.count("ok")) == (200, 50)
    assert len({event.event_id for event in rig.journal.events}) == 250
