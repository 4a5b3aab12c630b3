from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tests.edge.harness import KEY, SERVED, Answer, House

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
from xrouter.domain.ports import Reply

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


async def test_the_document_has_the_operations(house: House) -> None:
    paths = (await house.call("GET", "/openapi.json")).json["paths"]
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        operation = paths[path]["post"]
        assert operation["requestBody"]["content"]["application/json"]["example"]["messages"]
