from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.edge.harness import KEY, MODELS, SERVED, Answer, House, text_answer

from xrouter.domain.answer import ChatDelta
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import TokenCount
from xrouter.domain.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelUnavailable,
    RateLimited,
    UpstreamFailed,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamTimeout,
    XRouterError,
)
from xrouter.domain.ports import Allowance, Reply

HELLO: dict[str, Any] = {
    "model": "acme/one",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Hi"}],
}
PATH = "/v1/messages"


def failing(error: XRouterError) -> Any:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        await reply.refuse(error)

    return script


def error_of(answer: Answer) -> dict[str, Any]:
    """The envelope, checked."""
    whole = answer.json
    assert whole["type"] == "error"
    assert whole["request_id"] == answer.headers["request-id"]
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    error: dict[str, Any] = whole["error"]
    assert {"type", "message", "param", "code"} <= error.keys()
    assert error.get("details", {}).get("error_code") == error["code"]
    return error


async def test_a_message(house: House) -> None:
    answer = await house.call("POST", PATH, HELLO)
    assert answer.status == 200
    assert answer.json["content"] == [{"type": "text", "text": "Hello"}]
    assert answer.headers["x-xrouter-model"] == "acme/one"
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    assert "x-xrouter-dropped" not in answer.headers
    assert house.flow.calls[0].operation == "messages"


async def test_a_stream(house: House) -> None:
    answer = await house.call("POST", PATH, {**HELLO, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    names = [frame.partition("\n")[0].removeprefix("event: ") for frame in answer.frames]
    assert names == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@pytest.mark.parametrize("path", ["/v1/messages?beta=true", "/api/v1/messages", "/messages"])
@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": KEY, "authorization": ""},
        {"anthropic-version": "2023-06-01"},
        {"anthropic-version": "2026-10-21", "anthropic-beta": "a,b"},
    ],
)
async def test_headers_and_paths(house: House, path: str, headers: dict[str, str]) -> None:
    assert (await house.call("POST", path, HELLO, headers)).status == 200
    assert house.flow.credentials == [KEY]


async def test_tokens_are_counted(house: House) -> None:
    house.flow.tokens = TokenCount((42,))
    body = {name: value for name, value in HELLO.items() if name != "max_tokens"}
    answer = await house.call("POST", PATH + "/count_tokens", {**body, "tools": []})
    assert answer.json == {"input_tokens": 42}
    [counted] = house.flow.counted
    assert counted.model == "acme/one"
    assert counted.chat is not None
    assert counted.chat.messages[0].content == "Hi"


async def test_what_is_wrong_is_told_in_the_envelope(house: House) -> None:
    for path in (PATH, PATH + "/count_tokens"):
        answer = await house.call("POST", path, {**HELLO, "messages": "x"})
        assert answer.status == 400
        error = error_of(answer)
        assert (error["type"], error["param"]) == ("invalid_request_error", "messages")


@pytest.mark.parametrize(
    "error,status,kind",
    [
        (UpstreamOverloaded("Busy.", retry_after=3), 529, "overloaded_error"),
        (RateLimited("Slow.", retry_after=3), 429, "rate_limit_error"),
        (UpstreamQuotaExhausted("Empty."), 429, "rate_limit_error"),
        (ModelUnavailable("Off."), 503, "overloaded_error"),
        (UpstreamFailed("Broke."), 502, "api_error"),
        (UpstreamTimeout("Late."), 504, "timeout_error"),
        (InvalidRequest("No."), 400, "invalid_request_error"),
    ],
)
async def test_errors_by_status(house: House, error: XRouterError, status: int, kind: str) -> None:
    house.flow.script = failing(error)
    answer = await house.call("POST", PATH, HELLO)
    assert answer.status == status
    assert error_of(answer)["type"] == kind
    assert answer.headers.get("retry-after") == ("3" if error.retry_after else None)


@pytest.mark.parametrize(
    "message,told",
    [
        (
            "This model's maximum context length is 100 tokens. You sent 250 tokens.",
            "prompt is too long: 250 tokens > 100 maximum",
        ),
        ("Too long.", "prompt is too long: Too long."),
        (
            "This model's maximum context length is 100 tokens.",
            "prompt is too long: This model's maximum context length is 100 tokens.",
        ),
        ("It said: prompt is too long: 9 > 5", "It said: prompt is too long: 9 > 5"),
    ],
)
async def test_a_prompt_that_is_too_long(house: House, message: str, told: str) -> None:
    house.flow.script = failing(ContextLengthExceeded(message, param="messages"))
    answer = await house.call("POST", PATH, HELLO)
    assert (answer.status, error_of(answer)["message"]) == (400, told)


async def test_errors_of_the_flow_name_the_callers_parameters(house: House) -> None:
    house.flow.script = failing(InvalidRequest("Invalid 'stop'.", param="stop"))
    error = error_of(await house.call("POST", PATH, HELLO))
    assert (error["param"], error["message"]) == ("stop_sequences", "Invalid 'stop_sequences'.")


async def test_what_is_given_up_is_in_one_header(house: House) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        served = msgspec.structs.replace(SERVED, dropped=("user", "reasoning_effort", "seed"))
        await reply.start(served)
        await reply.deltas([ChatDelta(text="Hi", finish_reason="stop")])
        await reply.end(None)

    house.flow.script = script
    answer = await house.call("POST", PATH, {**HELLO, "stream": True, "container": "c"})
    assert answer.headers["x-xrouter-dropped"] == "container, metadata.user_id, thinking, seed"


async def test_a_stream_that_breaks_at_an_overload(house: House) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        await reply.start(SERVED)
        await reply.fail(UpstreamOverloaded("Busy."))

    house.flow.script = script
    answer = await house.call("POST", PATH, {**HELLO, "stream": True})
    name, _, data = answer.frames[-1].partition("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"]["type"] == "overloaded_error"


async def test_a_model_of_the_catalog_that_speaks_the_language_is_known(house: House) -> None:
    """None does here: what is only for Anthropic is not passed on."""
    await house.call("POST", PATH, {**HELLO, "thinking": {"type": "adaptive"}})
    await house.call("POST", PATH, {**HELLO, "model": "acme/one:latest"})
    assert ["thinking" in request.fields for request in house.flow.requests] == [False, False]


def a_claude(monkeypatch: pytest.MonkeyPatch) -> str:
    """A model in the catalog whose adapter speaks this language."""
    name = "acme/claude"
    adapter = "xrouter.providers.anthropic.adapter.AnthropicAdapter"
    model = msgspec.structs.replace(MODELS["acme/one"], model_id=name, adapter_class=adapter)
    monkeypatch.setitem(MODELS, name, model)
    return name


async def test_flags_reach_who_speaks_the_language(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header may be there more than once."""
    flags = {"anthropic-beta": "a-1, b-2,,", "Anthropic-Beta": "c-3"}
    body = {**HELLO, "model": a_claude(monkeypatch)}
    answer = await house.call("POST", PATH, body, flags)
    assert "x-xrouter-dropped" not in answer.headers
    [request] = house.flow.requests
    assert msgspec.json.decode(request.fields["betas"]) == ["a-1", "b-2", "c-3"]
    await house.call("POST", PATH + "/count_tokens", body, flags)
    [counted] = house.flow.counted
    assert counted.chat is not None
    assert counted.chat.fields["betas"] == request.fields["betas"]


async def test_flags_that_are_refused_are_those_of_the_header(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.flow.script = failing(InvalidRequest("Not 'betas'.", param="betas"))
    body = {**HELLO, "model": a_claude(monkeypatch)}
    error = error_of(await house.call("POST", PATH, body, {"anthropic-beta": "?"}))
    assert (error["param"], error["message"]) == ("anthropic-beta", "Not 'anthropic-beta'.")


async def test_flags_that_nobody_reads_are_named(house: House) -> None:
    for path in (PATH, PATH + "/count_tokens"):
        answer = await house.call("POST", path, HELLO, {"anthropic-beta": "a-1,b-2"})
        assert answer.status == 200
        assert answer.headers["x-xrouter-dropped"] == "anthropic-beta"
    assert "betas" not in house.flow.requests[0].fields


@pytest.mark.parametrize("refused", [False, True])
async def test_the_limit_is_told_in_headers(house: House, refused: bool) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        reply.allow(Allowance(10, -1 if refused else 9, 90.5))
        if refused:
            await reply.refuse(RateLimited("Slow.", retry_after=3))
        else:
            await reply.answer(text_answer(), SERVED)

    house.flow.script = script
    before = datetime.now(UTC) + timedelta(seconds=90)
    told = (await house.call("POST", PATH, HELLO)).headers
    assert told["anthropic-ratelimit-requests-limit"] == "10"
    assert told["anthropic-ratelimit-requests-remaining"] == ("0" if refused else "9")
    reset = told["anthropic-ratelimit-requests-reset"]
    assert reset.endswith("Z")
    assert before <= datetime.fromisoformat(reset)
    assert told["x-ratelimit-limit-requests"] == "10"


async def test_answers_at_the_same_time_have_ids_of_their_own(house: House) -> None:
    """A provider may repeat its own."""
    bodies = [{**HELLO, "stream": number % 2 == 0} for number in range(20)]
    answers = await asyncio.gather(*(house.call("POST", PATH, body) for body in bodies))
    ids = [re.findall(rb'"id":"(msg_[^"]+)"', answer.body) for answer in answers]
    assert [len(found) for found in ids] == [1] * 20
    assert len({found[0] for found in ids}) == 20


async def test_a_name_without_a_slash_goes_on_as_it_stands(house: House) -> None:
    """Claude Code cannot say others everywhere; routes have such names as aliases."""
    assert (await house.call("POST", PATH, {**HELLO, "model": "claude-fast"})).status == 200
    assert house.flow.requests[0].model == "claude-fast"


async def test_models_are_one_object_for_both_languages(house: House) -> None:
    listed = (await house.call("GET", "/v1/models")).json
    assert (listed["object"], listed["has_more"]) == ("list", False)
    assert listed["first_id"] == listed["data"][0]["id"]
    assert listed["last_id"] == listed["data"][-1]["id"]
    model = (await house.call("GET", "/v1/models/acme/one")).json
    assert model == listed["data"][0]
    both = {
        "id": "acme/one",
        "object": "model",
        "created": 1700000000,
        "owned_by": "acme",
        "type": "model",
        "display_name": "One",
        "created_at": "2023-11-14T22:13:20Z",
        "max_input_tokens": 8000,
        "max_tokens": None,
        "lifecycle": "active",
    }
    assert both.items() <= model.items()


@pytest.mark.parametrize(
    "query,ids,more",
    [
        ("", ["acme/one", "acme/deep/two:free"], False),
        ("?lifecycle=active", ["acme/one", "acme/deep/two:free"], False),
        ("?limit=1", ["acme/one"], True),
        ("?limit=2", ["acme/one", "acme/deep/two:free"], False),
        ("?after_id=acme%2Fone", ["acme/deep/two:free"], False),
        ("?after_id=acme/deep/two:free&limit=1", [], False),
        ("?before_id=acme/deep/two:free&limit=1", ["acme/one"], False),
        ("?before_id=acme/one", [], False),
        ("?after_id=acme/one&before_id=acme/deep/two:free", [], False),
    ],
)
async def test_pages_of_models(house: House, query: str, ids: list[str], more: bool) -> None:
    headers = {"anthropic-version": "2023-06-01"}
    page = (await house.call("GET", "/v1/models" + query, headers=headers)).json
    assert [model["id"] for model in page["data"]] == ids
    assert page["has_more"] is more
    assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))


@pytest.mark.parametrize(
    "query,param",
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("after_id=nobody", "after_id"),
        ("before_id=nobody&limit=3", "before_id"),
    ],
)
async def test_pages_that_there_are_not(house: House, query: str, param: str) -> None:
    answer = await house.call("GET", "/v1/models?" + query)
    assert (answer.status, answer.error["param"]) == (400, param)


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1", ""])
@pytest.mark.parametrize(
    "method,path,status,kind",
    [
        ("POST", "/messages/batches", 404, "not_found_error"),
        ("GET", "/messages/batches/b_1/results", 404, "not_found_error"),
        ("POST", "/messages/count_tokens/x", 404, "not_found_error"),
        ("GET", "/messages" + "/x" * 500, 404, "not_found_error"),
        ("GET", "/messages", 405, "invalid_request_error"),
        ("PUT", "/messages/count_tokens", 405, "invalid_request_error"),
    ],
)
async def test_what_there_is_not_is_told_in_the_envelope(
    house: House, prefix: str, method: str, path: str, status: int, kind: str
) -> None:
    answer = await house.call(method, prefix + path)
    assert answer.status == status
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == kind
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert answer.headers.get("allow") == ("POST" if status == 405 else None)


async def test_other_languages_tell_it_in_theirs(house: House) -> None:
    for method, path in (("GET", "/v1/messagesx"), ("GET", "/v1/chat/completions")):
        assert "type" not in (await house.call(method, path)).json


async def test_the_document_has_the_operations(house: House) -> None:
    paths = (await house.call("GET", "/openapi.json")).json["paths"]
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        operation = paths[path]["post"]
        assert operation["requestBody"]["content"]["application/json"]["example"]["messages"]
