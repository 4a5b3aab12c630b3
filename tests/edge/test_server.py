from __future__ import annotations

import logging

import pytest
from msgspec import structs
from tests.edge.harness import (
    KEY,
    SERVED,
    House,
    chat_body,
    text_answer,
)

from xrouter.domain.answer import ChatDelta
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import RateLimited, UpstreamQuotaExhausted, UpstreamTimeout
from xrouter.domain.ports import Allowance, Reply, Served

PREFIXES = ["/v1", "/api/v1", ""]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("end", ["", "/"])
async def test_every_way_to_write_the_url(house: House, prefix: str, end: str) -> None:
    assert (await house.chat(chat_body(), f"{prefix}/chat/completions{end}")).status == 200
    embedded = await house.call("POST", f"{prefix}/embeddings{end}", {"model": "m", "input": "x"})
    assert embedded.json["data"][0]["embedding"] == [0.5, -1.0]
    assert (await house.call("GET", f"{prefix}/models{end}?client_version=1")).status == 200


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    "written",
    [
        "acme/deep/two:free",
        "acme%2Fdeep%2Ftwo%3Afree",
        "acme/deep%2ftwo:free",
        "acme/deep/two:free/",
    ],
)
async def test_model_ids_contain_slashes_and_colons(
    house: House, prefix: str, written: str
) -> None:
    answer = await house.call("GET", f"{prefix}/models/{written}")
    assert answer.json == {
        "id": "acme/deep/two:free",
        "object": "model",
        "created": 0,
        "owned_by": "acme",
        "name": "Two",
        "type": "model",
        "display_name": "Two",
        "created_at": "1970-01-01T00:00:00Z",
        "max_input_tokens": None,
        "max_tokens": None,
        "lifecycle": "active",
        "x_xrouter": {"kind": "chat", "available": True, "versions": ["1"], "channels": {}},
    }


async def test_the_list_of_models(house: House) -> None:
    body = (await house.call("GET", "/v1/models")).json
    assert body["object"] == "list"
    assert body["data"][0] == {
        "id": "acme/one",
        "object": "model",
        "created": 1700000000,
        "owned_by": "acme",
        "name": "One",
        "context_length": 8000,
        "max_model_len": 8000,
        "type": "model",
        "display_name": "One",
        "created_at": "2023-11-14T22:13:20Z",
        "max_input_tokens": 8000,
        "max_tokens": None,
        "lifecycle": "active",
        "x_xrouter": {
            "kind": "chat",
            "available": True,
            "versions": ["2026-01"],
            "channels": {"latest": "2026-01"},
        },
    }


async def test_errors_of_the_flow_keep_their_status(house: House) -> None:
    unknown = await house.call("GET", "/v1/models/acme/none")
    assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")
    wrong_key = await house.call("GET", "/v1/models", headers={"authorization": "Bearer no"})
    assert (wrong_key.status, wrong_key.error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "method,path", [("GET", "/v1/x"), ("POST", "/v1/completionz"), ("GET", "/nowhere/at/all")]
)
async def test_unknown_urls(house: House, method: str, path: str) -> None:
    answer = await house.call(method, path)
    assert answer.status == 404
    assert answer.error["code"] == "unknown_url"
    assert answer.error["message"].startswith(f"Unknown request URL: {method} {path}.")
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "method,path,allowed",
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/acme/one", "GET, HEAD"),
        ("PUT", "/health/live", "GET, HEAD"),
        ("TRACE", "/v1/models", "GET, HEAD"),
    ],
)
async def test_wrong_methods(house: House, method: str, path: str, allowed: str) -> None:
    answer = await house.call(method, path)
    assert answer.status == 405
    assert answer.error["code"] == "method_not_supported"
    assert answer.headers["allow"] == allowed


async def test_a_method_in_a_header_is_only_a_header(house: House) -> None:
    headers = {"x-http-method-override": "POST", "x-http-method": "POST"}
    answer = await house.call("GET", "/v1/chat/completions", headers=headers)
    assert answer.status == 405


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_root_answers_probes(house: House, method: str) -> None:
    answer = await house.call(method, "/")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    if method == "GET":
        assert answer.json["name"] == "XRouter"


async def test_browsers_may_ask_from_anywhere(house: House) -> None:
    headers = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-lang",
    }
    asked = await house.call("OPTIONS", "/v1/chat/completions", headers=headers)
    assert asked.status == 204
    assert asked.headers["access-control-allow-origin"] == "*"
    assert asked.headers["access-control-allow-methods"] == "POST, OPTIONS"
    assert (
        asked.headers["access-control-allow-headers"] == headers["access-control-request-headers"]
    )
    answer = await house.call("GET", "/v1/models", headers={"origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    plain = await house.call("GET", "/v1/models")
    assert "access-control-allow-origin" not in plain.headers


async def test_two_different_keys(house: House) -> None:
    answer = await house.call("POST", "/v1/chat/completions", chat_body(), {"api-key": "other"})
    assert (answer.status, answer.error["code"]) == (400, "conflicting_credentials")
    same = await house.call("POST", "/v1/chat/completions", chat_body(), {"api-key": KEY})
    assert same.status == 200


async def test_ids_and_the_call_that_the_flow_sees(house: House) -> None:
    answer = await house.chat(chat_body())
    (call,) = house.flow.calls
    assert call.request_id == answer.headers["x-request-id"]
    assert answer.json["id"].removeprefix("chatcmpl-") == call.request_id.removeprefix("req_")
    assert (call.operation, call.client) == ("chat", "127.0.0.1")
    assert house.flow.credentials == [KEY]


async def test_a_request_without_a_key_reaches_the_flow(house: House) -> None:
    await house.call("POST", "/v1/chat/completions", chat_body(), {"authorization": "x y"})
    assert house.flow.credentials == [None]


async def test_everything_that_is_told_in_headers(house: House) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        reply.allow(Allowance(60, 59, 1.0))
        await reply.answer(text_answer(), Served("m\u043e", "v", "p", "e", 2, ("seed",), "up"))

    house.flow.script = script
    headers = (await house.chat(chat_body())).headers
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert headers["x-ratelimit-reset-requests"] == "1s"
    assert headers["x-xrouter-model"] == "m?"
    assert headers["x-xrouter-attempts"] == "2"
    assert headers["x-xrouter-dropped"] == "seed"
    assert headers["x-xrouter-upstream-id"] == "up"
    assert "server" not in headers


async def test_a_refusal_says_when_to_come_back(house: House) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        reply.allow(Allowance(60, 0, 2.5))
        await reply.refuse(RateLimited("Slow down.", retry_after=2.5))

    house.flow.script = script
    answer = await house.chat(chat_body(stream=True))
    assert answer.status == 429
    assert answer.error["type"] == "requests"
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("3", "2500")
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_an_error_says_who_was_asked(house: House, path: str, stream: bool) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        reply.asked(structs.replace(SERVED, reason="priority"))
        await reply.refuse(UpstreamTimeout("Too late."))

    house.flow.script = script
    body = chat_body(stream=stream, max_tokens=9)
    if path == "/v1/responses":
        body = {"model": body["model"], "input": "Hi", "stream": stream}
    answer = await house.call("POST", path, body)
    assert answer.status == 504
    told = {n: v for n, v in answer.headers.items() if n.startswith("x-xrouter-")}
    assert told == {
        "x-xrouter-model": "acme/one",
        "x-xrouter-version": "2026-01",
        "x-xrouter-provider": "acme",
        "x-xrouter-endpoint": "primary",
        "x-xrouter-attempts": "1",
        "x-xrouter-route": "priority",
    }


async def test_a_used_up_quota_is_not_to_be_retried(house: House) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        await reply.refuse(UpstreamQuotaExhausted("Nothing left."))

    house.flow.script = script
    assert (await house.chat(chat_body())).headers["x-should-retry"] == "false"


async def test_a_stream(house: House) -> None:
    answer = await house.chat(chat_body(stream=True, stream_options={"include_usage": True}))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["x-xrouter-endpoint"] == "primary"
    chunks = answer.chunks
    assert len({(c["id"], c["created"], c["model"], c["object"]) for c in chunks}) == 1
    assert [c["choices"][0]["delta"] for c in chunks[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 5


async def test_an_open_stream_that_breaks(house: House) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        await reply.start(SERVED)
        await reply.deltas([ChatDelta(text="Hel")])
        await reply.fail(UpstreamTimeout("Too slow."))

    house.flow.script = script
    answer = await house.chat(chat_body(stream=True))
    assert answer.status == 200
    assert answer.chunks[-1]["error"]["code"] == "upstream_timeout"


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_defect_is_a_500_without_details(
    house: House, streaming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(request: ChatRequest, reply: Reply) -> None:
        if request.streaming:
            await reply.start(SERVED)
        raise ZeroDivisionError("secret detail")

    house.flow.script = script
    with caplog.at_level(logging.ERROR):
        answer = await house.chat(chat_body(stream=streaming))
    error = answer.chunks[-1]["error"] if streaming else answer.error
    assert answer.status == (200 if streaming else 500)
    assert error["code"] == "internal_error"
    assert b"secret detail" not in answer.body
    assert answer.headers["x-request-id"] in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_a_flow_that_says_nothing_is_a_500(house: House) -> None:
    async def script(_request: ChatRequest, _reply: Reply) -> None:
        pass

    house.flow.script = script
    assert (await house.chat(chat_body())).error["code"] == "internal_error"


async def test_many_vectors_do_not_stop_the_others(house: House) -> None:
    house.flow.vectors = [[0.123456789] * 1000] * 200
    answer = await house.call("POST", "/v1/embeddings", {"model": "m", "input": "x"})
    assert len(answer.json["data"]) == 200
