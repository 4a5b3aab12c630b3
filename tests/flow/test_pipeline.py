"""What a request comes to: answers, usage to the token, headers, refusals."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.flow.harness import KEY, PRINCIPAL, Recorder, Rig, endpoint

from xrouter.domain.catalog import Timeouts
from xrouter.domain.errors import (
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
    NotReady,
    RateLimited,
    Unauthenticated,
)
from xrouter.domain.identity import Principal
from xrouter.domain.secret import Secret
from xrouter.domain.snapshot import EMPTY
from xrouter.edge.dialects.openai.chat import read_chat

CHATS = [
    "gigachat/GigaChat-2-Max",
    "yandex/yandexgpt",
    "yandex/yandexgpt-lite",
    "yandex/gpt-oss-20b",
    "openai/gpt-4o-mini",
    "openai/o4-mini",
    "llamacpp/qwen3-8b",
]
EMBEDDERS = [
    "gigachat/Embeddings",
    "yandex/text-search-doc",
    "openai/text-embedding-3-small",
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", CHATS)
async def test_the_event_says_what_the_provider_charged(rig: Rig, model: str, stream: bool) -> None:
    reply = await rig.chat(model, "Tell me [[words:37]]", stream=stream)

    assert reply.calls == (["start", "deltas", "end"] if stream else ["answer"])
    assert reply.events_at_end == 1
    assert len(reply.text.split()) == 37
    assert reply.finish == "stop"
    (charge,) = rig.first.bill
    event = rig.event
    assert (event.tokens_in, event.tokens_out) == (charge.tokens_in, charge.tokens_out)
    assert (event.tokens_estimated, event.streamed, charge.streamed) == (False, stream, stream)
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (
        charge.tokens_in,
        charge.tokens_out,
    )


@pytest.mark.parametrize("stream", [True, False])
async def test_the_event_is_complete(rig: Rig, stream: bool) -> None:
    reply = await rig.chat("openai/gpt-4o-mini:latest", "Hi [[cached:2]]", stream=stream)

    event = rig.event
    assert (event.request_id, event.operation) == ("req_test", "chat")
    assert (event.key_id, event.project) == (PRINCIPAL.key_id, PRINCIPAL.project)
    assert event.model_requested == "openai/gpt-4o-mini:latest"
    assert (event.model_served, event.version) == ("openai/gpt-4o-mini", "1")
    assert event.upstream_model == "gpt-4o-mini-2024-07-18"
    assert (event.provider, event.endpoint, event.attempts) == ("openai", "at-1", 1)
    assert (event.status, event.outcome, event.error_code) == (200, "ok", None)
    assert event.finish_reason == "stop"
    assert event.upstream_request_id is not None
    assert event.upstream_request_id.startswith("req_")
    assert 0 <= event.queue_ms <= event.total_ms
    assert (event.first_token_ms is not None) is stream
    if event.first_token_ms is not None:
        assert event.queue_ms <= event.first_token_ms <= event.total_ms
    assert reply.served is not None
    assert (reply.served.model, reply.served.version) == ("openai/gpt-4o-mini", "1")
    assert (reply.served.provider, reply.served.endpoint) == ("openai", "at-1")
    assert (reply.served.attempts, reply.served.dropped) == (1, ())
    assert reply.served.upstream_request_id == event.upstream_request_id


@pytest.mark.parametrize("stream", [True, False])
async def test_cached_tokens_are_a_part_of_the_prompt(rig: Rig, stream: bool) -> None:
    text = "one two three four five six seven eight [[cached:5]]"
    await rig.chat("gigachat/GigaChat-2-Max", text, stream=stream)

    assert rig.event.tokens_cached == 5
    assert rig.event.tokens_in == rig.first.bill[0].tokens_in > 5


@pytest.mark.parametrize("stream", [True, False])
async def test_hidden_reasoning_is_counted(rig: Rig, stream: bool) -> None:
    await rig.chat("openai/o4-mini", "Think [[think:12]]", stream=stream)

    assert rig.event.tokens_reasoning == 12
    assert rig.event.tokens_out == rig.first.bill[0].tokens_out > 12


COMPATIBLE = {"options": {"folder_id": "b1gsandbox0000000000", "api": "compatible"}}


async def test_a_stream_without_usage_is_counted_by_the_tokenizer(rig: Rig) -> None:
    rig.use(yandex=COMPATIBLE)
    reply = await rig.chat("yandex/yandexgpt-lite", "Tell me [[words:40]]", stream=True)

    (charge,) = rig.first.bill
    assert (rig.event.tokens_in, rig.event.tokens_out) == (charge.tokens_in, charge.tokens_out)
    assert not rig.event.tokens_estimated
    assert reply.usage is not None
    assert len(rig.asked(rig.first, "tokenize")) == 2


async def test_a_stream_without_usage_is_estimated_and_says_so(rig: Rig) -> None:
    rig.use(yandex=COMPATIBLE)
    rig.fault("server_error", match={"path": "tokenize"})
    reply = await rig.chat("yandex/yandexgpt-lite", "Tell me [[words:40]]", stream=True)

    event = rig.event
    assert event.tokens_estimated
    assert event.tokens_in > 0
    assert event.tokens_out >= len(reply.text) // 8
    assert reply.usage is not None
    assert reply.usage.estimated


async def test_a_whole_answer_without_usage_is_estimated_and_says_so(rig: Rig) -> None:
    """OpenAI's language is spoken by servers that count nothing."""

    async def handle(_: web.Request) -> web.Response:
        message = {"role": "assistant", "content": "word " * 20}
        return web.json_response({"choices": [{"index": 0, "message": message}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    async with TestServer(app) as server:
        url = str(server.make_url("/"))[:-1]
        given = {"base_url": url + "/v1", "credential": {"api_key": Secret("sk-x")}}
        rig.endpoints({"openai": (endpoint("openai", "", 1, Timeouts(), **given),)})
        reply = await rig.chat("openai/gpt-4o-mini", "a question of some length")

    assert reply.text == "word " * 20
    assert rig.event.tokens_estimated
    assert (rig.event.tokens_in, rig.event.tokens_out) == (7, 25)


async def test_a_length_limit_is_told(rig: Rig) -> None:
    reply = await rig.chat("openai/gpt-4o-mini", "[[words:50]]", stream=True, max_tokens=5)

    assert reply.finish == rig.event.finish_reason == "length"
    assert rig.event.tokens_out == rig.first.bill[0].tokens_out == 5


@pytest.mark.parametrize("stream", [True, False])
async def test_what_a_provider_cannot_do_is_listed_as_dropped(rig: Rig, stream: bool) -> None:
    reply = await rig.chat("gigachat/GigaChat-2-Max", seed=7, user="me", stream=stream)

    assert reply.error is None
    assert reply.served is not None
    assert set(reply.served.dropped) == {"seed", "user"}


@pytest.mark.parametrize("stream", [True, False])
async def test_what_cannot_be_mapped_is_refused_by_name(rig: Rig, stream: bool) -> None:
    reply = await rig.chat("gigachat/GigaChat-2-Max", logprobs=True, stream=stream)

    assert reply.calls == ["refuse"]
    assert isinstance(reply.error, InvalidRequest)
    assert reply.error.param == "logprobs"
    assert rig.asked(rig.first) == rig.asked(rig.second) == []
    assert (rig.event.status, rig.event.outcome, rig.event.attempts) == (400, "error", 0)
    assert "xrouter_upstream_errors_total" not in rig.meters.render().decode().split("\n# ")[-1]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "model", ["gigachat/GigaChat-2-Max", "yandex/yandexgpt", "openai/gpt-4o-mini"]
)
async def test_tools_go_all_the_way(rig: Rig, model: str, stream: bool) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Weather in a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "a city"}},
                "required": ["city"],
            },
        },
    }
    reply = await rig.chat(model, "Use weather please", stream=stream, tools=[tool])

    assert reply.finish == rig.event.finish_reason == "tool_calls"
    (charge,) = rig.first.bill
    assert (rig.event.tokens_in, rig.event.tokens_out) == (charge.tokens_in, charge.tokens_out)


# --- embeddings


@pytest.mark.parametrize("texts", [1, 7, 45])
@pytest.mark.parametrize("model", EMBEDDERS)
async def test_embeddings_of_any_number_of_texts(rig: Rig, model: str, texts: int) -> None:
    given = [f"text number {number}" for number in range(texts)]
    reply = await rig.embed(model, given)

    assert reply.calls == ["embeddings"]
    assert reply.events_at_end == 1
    assert len(reply.vectors) == texts
    assert len({tuple(vector) for vector in reply.vectors}) == texts
    event = rig.event
    assert (event.operation, event.outcome, event.attempts) == ("embeddings", "ok", 1)
    assert event.tokens_in == sum(charge.tokens_in for charge in rig.first.bill) == 4 * texts
    assert (event.tokens_out, event.tokens_estimated) == (0, False)


async def test_vectors_come_in_the_order_of_their_texts(rig: Rig) -> None:
    given = [f"text number {number}" for number in range(9)]
    together = await rig.embed("yandex/text-search-doc", given)
    rig.fault("slow_headers", times=3, delay_s=0.05, match={"path": "textEmbedding"})
    again = await rig.embed("yandex/text-search-doc", given)
    last = await rig.embed("yandex/text-search-doc", given[-1:])

    assert together.vectors == again.vectors
    assert together.vectors[-1] == last.vectors[0]


async def test_embeddings_are_drawn_from_one_endpoint(rig: Rig) -> None:
    """One of several requests fails: all are made anew at the standby."""
    rig.fault("server_error", times=1, match={"path": "textEmbedding"})
    reply = await rig.embed("yandex/text-search-doc", ["a", "b", "c", "d", "e"])

    assert reply.served is not None
    assert (reply.served.endpoint, reply.served.attempts) == ("at-2", 2)
    assert len(rig.asked(rig.second, "textEmbedding")) == 5


async def test_a_chat_model_makes_no_embeddings(rig: Rig) -> None:
    reply = await rig.embed("openai/gpt-4o-mini", ["a"])

    assert isinstance(reply.error, InvalidRequest)
    assert reply.error.param == "model"
    assert "openai/text-embedding-3-small" in (reply.error.hint or "")


# --- refusals before a provider is asked


@pytest.mark.parametrize("credential", [None, "wrong"])
async def test_without_a_good_key_nothing_is_asked(rig: Rig, credential: str | None) -> None:
    reply = Recorder()
    body = b'{"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "a"}]}'
    await rig.pipeline.chat(read_chat(body), credential, rig.call("chat"), reply)

    assert reply.calls == ["refuse"]
    assert isinstance(reply.error, Unauthenticated)
    event = rig.event
    assert (event.status, event.outcome, event.key_id) == (401, "error", None)
    assert (event.attempts, event.provider, event.error_code) == (0, None, "invalid_api_key")
    assert rig.first.seen.report() == []


async def test_an_unknown_model_is_told_with_names_like_it(rig: Rig) -> None:
    reply = await rig.chat("openai/gpt-4o-minni")

    assert isinstance(reply.error, ModelNotFound)
    assert "openai/gpt-4o-mini" in (reply.error.hint or "")
    assert (rig.event.status, rig.event.error_code) == (404, "model_not_found")
    assert (rig.event.model_served, rig.event.attempts) == (None, 0)


async def test_a_provider_without_endpoints(rig: Rig) -> None:
    rig.endpoints({})
    reply = await rig.chat("openai/gpt-4o-mini")

    assert isinstance(reply.error, ModelUnavailable)
    assert (rig.event.status, rig.event.error_code) == (503, "model_unavailable")


async def test_before_the_first_snapshot(rig: Rig) -> None:
    rig.snapshots.replace(EMPTY)
    reply = await rig.chat("openai/gpt-4o-mini")

    assert isinstance(reply.error, NotReady)
    assert reply.error.retry_after is not None
    assert rig.event.status == 503


async def test_the_request_limit_of_a_key(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    limited = Principal(key_id="key-2", name="limited", rpm=2)
    monkeypatch.setattr(rig.pipeline._gear.keys, "find", lambda *_: limited)
    replies = [await rig.chat("openai/gpt-4o-mini", f"{n}") for n in range(3)]

    assert [reply.allowance.remaining for reply in replies[:2] if reply.allowance] == [1, 0]
    assert isinstance(replies[2].error, RateLimited)
    assert replies[2].error.retry_after is not None
    assert [event.status for event in rig.journal.events] == [200, 200, 429]
    assert len(rig.asked(rig.first)) == 2


# --- the lists


async def test_the_models_that_answer_are_listed(rig: Rig) -> None:
    rig.endpoints(dict(list(rig.snapshots.current.endpoints.items())[:1]))

    assert {model.provider for model in rig.pipeline.models(KEY)} == {"gigachat"}
    assert rig.pipeline.model(KEY, "openai/o4-mini").model_id == "openai/o4-mini"
    with pytest.raises(ModelNotFound):
        rig.pipeline.model(KEY, "openai/none")
    with pytest.raises(Unauthenticated):
        rig.pipeline.models(None)
