"""Providers that fail: before the first delta the next target answers, after it nobody else may."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from tests.flow.harness import KEY, PATIENT, SILENCE_S, Leap, Recorder, Rig, endpoint, until

from xrouter.domain.catalog import Timeouts
from xrouter.domain.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    OperatorError,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamMalformed,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnreachable,
    XRouterError,
)
from xrouter.domain.secret import Secret

pytestmark = pytest.mark.usefixtures("leaps")

MODELS = ["gigachat/GigaChat-2-Max", "yandex/yandexgpt-lite", "openai/gpt-4o-mini"]
LONG_ANSWER = "[[words:60]]"

FAULTS: list[tuple[dict[str, Any], type[XRouterError]]] = [
    ({"kind": "refuse"}, UpstreamUnreachable),
    ({"kind": "reset"}, UpstreamUnreachable),
    ({"kind": "hang_before_headers"}, UpstreamTimeout),
    ({"kind": "server_error"}, UpstreamFailed),
    ({"kind": "server_error", "status": 503}, UpstreamOverloaded),
    ({"kind": "server_error", "status": 504}, UpstreamTimeout),
    ({"kind": "server_error", "status": 402}, UpstreamQuotaExhausted),
    ({"kind": "rate_limited"}, UpstreamRateLimited),
    ({"kind": "rate_limited", "retry_after": 7}, UpstreamRateLimited),
    ({"kind": "html_error"}, UpstreamError),
    ({"kind": "html_error", "status": 200}, UpstreamMalformed),
    ({"kind": "unauthorized_once"}, UpstreamDenied),
    ({"kind": "unauthorized_once", "status": 403}, UpstreamDenied),
    ({"kind": "cut", "after": 0}, UpstreamError),
    ({"kind": "reset", "after": 0}, UpstreamError),
    ({"kind": "malformed_chunk", "after": 0}, UpstreamMalformed),
    ({"kind": "truncated_json", "after": 0}, UpstreamMalformed),
    ({"kind": "error_in_200"}, UpstreamError),
]
IN_STREAMS: list[tuple[dict[str, Any], type[XRouterError]]] = [
    ({"kind": "hang_mid_stream", "after": 0}, UpstreamTimeout),
    ({"kind": "early_error_frame", "after": 0}, UpstreamError),
]
MID_STREAM: list[tuple[dict[str, Any], type[XRouterError]]] = [
    ({"kind": "cut", "after": 3}, UpstreamMalformed),
    ({"kind": "reset", "after": 3}, UpstreamError),
    ({"kind": "malformed_chunk", "after": 3}, UpstreamMalformed),
    ({"kind": "truncated_json", "after": 3}, UpstreamMalformed),
    ({"kind": "early_error_frame", "after": 3}, UpstreamError),
    ({"kind": "hang_mid_stream", "after": 3}, UpstreamTimeout),
]


def bounds(fault: dict[str, Any], total: float = 20.0) -> Timeouts:
    """Short where the fault is silence, so that nothing else is cut short on a slow machine."""
    if "hang" not in fault["kind"]:
        return PATIENT
    return Timeouts(connect=60.0, first_token=SILENCE_S, idle=SILENCE_S, total=total)


def named(case: Any) -> str | None:
    return "-".join(str(value) for value in case.values()) if isinstance(case, dict) else None


# --- before the first delta


@pytest.mark.parametrize("fault,error", FAULTS + IN_STREAMS, ids=named)
@pytest.mark.parametrize("model", MODELS)
async def test_a_stream_falls_back_before_its_first_delta(
    rig: Rig, model: str, fault: dict[str, Any], error: type[XRouterError]
) -> None:
    rig.use(bounds(fault))
    rig.fault(**fault)
    reply = await rig.chat(model, "Hello there", stream=True)

    assert reply.calls == ["start", "deltas", "end"]
    _answered_by_the_standby(rig, reply.served, error)
    assert "Hello there" in reply.text
    assert rig.event.first_token_ms is not None


@pytest.mark.parametrize("fault,error", FAULTS, ids=named)
@pytest.mark.parametrize("model", MODELS)
async def test_a_whole_answer_falls_back(
    rig: Rig, model: str, fault: dict[str, Any], error: type[XRouterError]
) -> None:
    rig.use(bounds(fault, total=SILENCE_S))
    rig.fault(**fault)
    reply = await rig.chat(model, "Hello there")

    assert reply.calls == ["answer"]
    _answered_by_the_standby(rig, reply.served, error)
    assert "Hello there" in reply.text


def _answered_by_the_standby(rig: Rig, served: Any, error: type[XRouterError]) -> None:
    assert served is not None
    assert (served.endpoint, served.attempts) == ("at-2", 2)
    event = rig.event
    assert (event.endpoint, event.attempts, event.outcome) == ("at-2", 2, "ok")
    (charge,) = rig.second.bill
    assert (event.tokens_in, event.tokens_out) == (charge.tokens_in, charge.tokens_out)
    failed = _upstream_errors(rig)
    assert len(failed) == 1, "one failed attempt is one failed attempt"
    if error.default_code is not None:
        assert (
            error in (UpstreamError, OperatorError) or f'code="{error.default_code}"' in failed[0]
        )


def _upstream_errors(rig: Rig) -> list[str]:
    lines = rig.meters.render().decode().splitlines()
    return [line for line in lines if line.startswith("xrouter_upstream_errors_total{")]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [True, False])
async def test_when_all_fail_the_last_error_is_told(rig: Rig, model: str, stream: bool) -> None:
    rig.fault("server_error")
    rig.fault("rate_limited", where=rig.second, retry_after=9)
    reply = await rig.chat(model, stream=stream)

    assert reply.calls == ["refuse"]
    assert reply.events_at_end == 1
    assert isinstance(reply.error, UpstreamRateLimited)
    assert reply.error.retry_after == 9
    event = rig.event
    assert (event.status, event.outcome) == (429, "error")
    assert (event.attempts, event.endpoint, event.error_code) == (2, "at-2", "rate_limit_exceeded")
    assert (event.tokens_in, event.tokens_out) == (0, 0)
    assert event.upstream_request_id is not None


@pytest.mark.parametrize("model", MODELS)
async def test_our_credentials_failure_is_never_the_callers_401(rig: Rig, model: str) -> None:
    for sandbox in (rig.first, rig.second):
        rig.fault("unauthorized_once", where=sandbox)
    reply = await rig.chat(model)

    assert reply.error is not None
    assert (reply.error.status, rig.event.status) == (502, 502)
    assert rig.event.error_code == "upstream_auth_failed"
    assert "hint" not in reply.error.body()["error"]


async def test_an_endpoint_where_nobody_listens(rig: Rig) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        dead = endpoint("openai", f"http://127.0.0.1:{port}", 1, Timeouts())
        rig.endpoints({"openai": (dead, endpoint("openai", rig.urls[1], 2, Timeouts()))})
        reply = await rig.chat("openai/gpt-4o-mini", stream=True)

    assert reply.served is not None
    assert (reply.served.endpoint, reply.served.attempts) == ("at-2", 2)


async def test_an_endpoint_that_accepts_and_says_nothing_costs_its_timeout_only(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        timeouts = Timeouts(first_token=0.2, total=0.2)
        hole = f"http://127.0.0.1:{silent.getsockname()[1]}"
        rig.endpoints(
            {
                "openai": (
                    endpoint("openai", hole, 1, timeouts),
                    endpoint("openai", rig.urls[1], 2, Timeouts()),
                )
            }
        )
        for stream in (True, False):
            reply = await rig.chat("openai/gpt-4o-mini", stream=stream)
            assert reply.served is not None
            assert reply.served.endpoint == "at-2"
    assert all(200 <= event.total_ms < 5000 for event in rig.journal.events)


async def test_an_endpoint_that_is_misconfigured_is_the_operators_business(rig: Rig) -> None:
    """A row may be written by hand; the caller must not be told that the request is wrong."""
    broken = endpoint("gigachat", rig.urls[0], 1, Timeouts(), credential={})
    rig.endpoints({"gigachat": (broken,)})
    reply = await rig.chat("gigachat/GigaChat-2-Max")
    assert isinstance(reply.error, OperatorError)
    assert (reply.error.status, rig.event.status) == (502, 502)

    rig.endpoints({"gigachat": (broken, endpoint("gigachat", rig.urls[1], 2, Timeouts()))})
    reply = await rig.chat("gigachat/GigaChat-2-Max")
    assert reply.served is not None
    assert reply.served.endpoint == "at-2"


async def test_a_role_alone_is_not_yet_a_word(rig: Rig) -> None:
    """OpenAI's first chunk has a role and no text: a cut after it can still be mended."""
    rig.fault("cut", after=1)
    reply = await rig.chat("openai/gpt-4o-mini", "Hello", stream=True)

    assert reply.calls == ["start", "deltas", "end"]
    assert rig.event.endpoint == "at-2"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_connection_that_went_stale_costs_no_attempt(rig: Rig, stream: bool) -> None:
    """A kept connection is closed exactly when it is used again: the transport asks once more."""
    await rig.chat("openai/gpt-4o-mini", stream=stream)
    rig.fault("refuse", times=1)
    reply = await rig.chat("openai/gpt-4o-mini", stream=stream)

    assert reply.served is not None
    assert (reply.served.endpoint, reply.served.attempts) == ("at-1", 1)


# --- caller's errors


@pytest.mark.parametrize("stream", [True, False])
async def test_the_callers_mistake_is_not_tried_elsewhere(rig: Rig, stream: bool) -> None:
    reply = await rig.chat("openai/gpt-4o-mini", stream=stream, top_logprobs=3)

    assert reply.calls == ["refuse"]
    assert isinstance(reply.error, InvalidRequest)
    assert len(rig.asked(rig.first)) == 1
    assert rig.asked(rig.second) == []
    assert (rig.event.status, rig.event.outcome, rig.event.attempts) == (400, "error", 1)
    assert _upstream_errors(rig) == []


async def test_a_prompt_too_long_for_one_endpoint_may_fit_another(rig: Rig) -> None:
    reply = await rig.chat("yandex/yandexgpt-lite", "word " * 40_000)

    assert isinstance(reply.error, ContextLengthExceeded)
    assert rig.event.attempts == 2
    assert (rig.event.status, rig.event.error_code) == (400, "context_length_exceeded")


# --- tokens


@pytest.mark.parametrize("stream", [True, False])
async def test_one_401_means_a_fresh_token_and_one_more_try(rig: Rig, stream: bool) -> None:
    rig.fault("unauthorized_once", times=1)
    reply = await rig.chat("gigachat/GigaChat-2-Max", stream=stream)

    assert reply.error is None
    assert reply.served is not None
    assert (reply.served.endpoint, reply.served.attempts) == ("at-1", 1)
    assert len(rig.asked(rig.first, "oauth")) == 2
    refused, answered = rig.asked(rig.first)
    assert (refused["status"], answered["status"]) == (401, 200)
    assert refused["headers"]["authorization"] != answered["headers"]["authorization"]


async def test_a_token_that_expired_early_is_replaced(rig: Rig) -> None:
    await rig.chat("gigachat/GigaChat-2-Max")
    rig.first.simulators["gigachat"].tokens.expire_all()  # type: ignore[attr-defined]
    reply = await rig.chat("gigachat/GigaChat-2-Max")

    assert reply.error is None
    assert [event.endpoint for event in rig.journal.events] == ["at-1", "at-1"]


@pytest.mark.parametrize("kind", ["server_error", "hang_before_headers", "html_error", "refuse"])
async def test_a_token_service_that_fails_leads_to_the_standby(rig: Rig, kind: str) -> None:
    rig.use(bounds({"kind": kind}))
    rig.fault(kind, match={"path": "oauth"})
    reply = await rig.chat("gigachat/GigaChat-2-Max", stream=True)

    assert reply.error is None
    assert (rig.event.endpoint, rig.event.attempts) == ("at-2", 2)
    assert rig.asked(rig.first) == []


async def test_a_wrong_authorization_key_is_the_operators_business(rig: Rig) -> None:
    rig.use(standby=False, gigachat={"credential": {"credentials": Secret("d3Jvbmc6a2V5")}})
    reply = await rig.chat("gigachat/GigaChat-2-Max")

    assert isinstance(reply.error, UpstreamDenied)
    assert "d3Jvbmc6a2V5" not in f"{reply.error.message} {reply.error.hint}"
    assert rig.event.status == 502


# --- after the first delta


@pytest.mark.parametrize("fault,error", MID_STREAM, ids=named)
@pytest.mark.parametrize("model", MODELS)
async def test_after_the_first_delta_an_error_is_an_error_frame(
    rig: Rig, model: str, fault: dict[str, Any], error: type[XRouterError]
) -> None:
    rig.use(bounds(fault))
    rig.fault(**fault)
    reply = await rig.chat(model, LONG_ANSWER, stream=True)

    assert reply.calls == ["start", "deltas", "fail"]
    assert reply.events_at_end == 1
    assert isinstance(reply.error, error)
    assert rig.asked(rig.second) == []
    assert reply.text
    event = rig.event
    assert (event.outcome, event.status) == ("error", reply.error.status)
    assert (event.error_code, event.attempts, event.endpoint) == (reply.error.code, 1, "at-1")
    assert event.first_token_ms is not None
    assert event.tokens_in > 0
    assert event.tokens_out > 0, "what came so far is counted"


@pytest.mark.parametrize("model", MODELS)
async def test_a_stream_that_stalls_and_goes_on_is_not_disturbed(rig: Rig, model: str) -> None:
    rig.use(Timeouts(first_token=5, idle=5, total=20))
    rig.fault("hang_mid_stream", after=2, delay_s=0.2)
    reply = await rig.chat(model, LONG_ANSWER, stream=True)

    assert reply.error is None
    assert len(reply.text.split()) == 60


@pytest.mark.parametrize("model", MODELS)
async def test_a_stream_that_drips_ends_at_the_total_deadline(
    rig: Rig, leaps: Leap, model: str
) -> None:
    rig.use(Timeouts(connect=60, first_token=600, idle=600, total=300), standby=False)
    reply = Recorder()
    asking = asyncio.create_task(
        rig.chat(model, "[[words:200]] [[pause:0.05]]", stream=True, reply=reply)
    )
    await until(lambda: len(reply.text) > 5, "a few words have come")
    leaps(300)
    await asking

    assert reply.calls == ["start", "deltas", "fail"]
    assert isinstance(reply.error, UpstreamTimeout)
    assert "longer than the time allowed" in reply.error.message
    assert rig.event.total_ms < 5000


async def test_a_whole_answer_that_drips_ends_at_the_total_deadline(rig: Rig) -> None:
    rig.use(Timeouts(total=0.5), standby=False)
    rig.fault("slow_drip", delay_s=0.05)
    reply = await rig.chat("openai/gpt-4o-mini")

    assert reply.calls == ["refuse"]
    assert isinstance(reply.error, UpstreamTimeout)


async def test_bytes_that_come_one_by_one_make_the_same_answer(rig: Rig) -> None:
    for model in MODELS:
        plain = await rig.chat(model, "Привет 👋 [[emoji]]", stream=True)
        rig.fault("slow_drip", times=1, delay_s=0)
        dripped = await rig.chat(model, "Привет 👋 [[emoji]]", stream=True)
        assert dripped.text == plain.text
        assert dripped.error is None


async def test_a_defect_of_ours_is_a_500_and_is_settled(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(rig.pipeline._gear.router, "plan", broken)
    reply = await rig.chat("openai/gpt-4o-mini")

    assert reply.calls == ["refuse"]
    assert reply.error is not None
    assert "secret detail" not in str(reply.error.body())
    assert (rig.event.status, rig.event.error_code) == (500, "internal_error")
    assert rig.pipeline.models(KEY)


async def test_every_attempt_is_counted_and_every_request_has_one_event(rig: Rig) -> None:
    """All faults at all providers: what the sandboxes saw is what the events say."""
    asked = 0
    for fault, _ in FAULTS + IN_STREAMS + MID_STREAM:
        if fault["kind"] in ("refuse", "reset", "unauthorized_once"):
            continue  # the transport, or a fresh token, may rightly ask the same endpoint again
        for model in (*MODELS, "llamacpp/qwen3-8b"):
            for stream in (True, False):
                rig.use(bounds(fault, total=SILENCE_S))
                rig.first.faults.clear()
                rig.fault(**fault)
                await rig.chat(model, LONG_ANSWER, stream=stream)
                asked += 1

    events = rig.journal.events
    assert len(events) == len({event.event_id for event in events}) == asked
    seen = rig.first.seen._count + rig.second.seen._count
    tokens = len(rig.asked(rig.first, "oauth")) + len(rig.asked(rig.second, "oauth"))
    assert sum(event.attempts for event in events) == seen - tokens
    answered = sum(event.tokens_out for event in events if event.endpoint == "at-2")
    assert answered == sum(charge.tokens_out for charge in rig.second.bill)
