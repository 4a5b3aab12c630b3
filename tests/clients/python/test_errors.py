from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from tests.clients.served import Product, SandboxControl, eventually
from tests.clients.upstreams import GIGACHAT, OPENAI, OPENROUTER, Upstream, everywhere

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


def chat(client: OpenAI, model: str = OPENAI.model, **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=HELLO, **more)


def check_fields(error: openai.APIStatusError, kind: str, code: str | None) -> None:
    assert (error.type, error.code) == (kind, code)
    assert error.request_id is not None
    assert error.request_id.startswith("req_")
    assert isinstance(error.body, dict)
    assert {"message", "type", "param", "code"} <= error.body.keys()
    assert error.body["message"]
    assert error.body["message"] in str(error)


@pytest.mark.parametrize("bad", ["sk-wrong", "sk-xr-" + "A" * 43 + "xxxx", "ollama"])
def test_a_wrong_key(product: Product, sandbox: SandboxControl, bad: str) -> None:
    with OpenAI(base_url=f"{product.url}/v1", api_key=bad) as client:
        calls: list[Callable[[], Any]] = [
            partial(chat, client),
            partial(chat, client, stream=True),
            client.models.list,
            partial(client.models.retrieve, OPENAI.model),
            partial(client.embeddings.create, model=OPENAI.embedder, input="Hello"),
        ]
        for call in calls:
            with pytest.raises(openai.AuthenticationError) as caught:
                call()
            check_fields(caught.value, "invalid_request_error", "invalid_api_key")
            assert bad not in str(caught.value.body)
    assert sandbox.seen() == []


def test_a_revoked_key(product: Product) -> None:
    made = product.new_key("short-lived")
    with OpenAI(base_url=f"{product.url}/v1", api_key=made["key"]) as client:
        assert chat(client).choices
        assert product.control(f"/keys/{made['key_id']}/revoke", "POST").status == 200

        def is_dead() -> bool:
            try:
                client.models.list()
            except openai.AuthenticationError:
                return True
            return False

        eventually(is_dead, "a revoked key is refused")
        with pytest.raises(openai.AuthenticationError):
            chat(client)


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model(client: OpenAI, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        chat(client, "openai/gpt-99", stream=stream)
    check_fields(caught.value, "invalid_request_error", "model_not_found")
    assert caught.value.param == "model"


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"temperature": 3}, "temperature", "decimal_above_max_value"),
    ({"top_p": -0.1}, "top_p", "decimal_below_min_value"),
    ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
    ({"n": 129}, "n", "integer_above_max_value"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "array_above_max_length"),
    ({"temperature": "hot"}, "temperature", "invalid_type"),
    ({"extra_body": {"messages": []}}, "messages", "empty_array"),
    ({"extra_body": {"messages": "Hello"}}, "messages", "invalid_type"),
    ({"extra_body": {"messages": [{"role": "robot"}]}}, "messages[0].role", "invalid_value"),
    ({"extra_body": {"messages": [{}]}}, "messages[0].role", "missing_required_parameter"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
    ({"extra_body": {"model": None}}, "model", "invalid_type"),
]


@pytest.mark.parametrize("how, param, code", WRONG, ids=[param for _, param, _ in WRONG])
def test_a_wrong_parameter(client: OpenAI, how: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, **how)
    check_fields(caught.value, "invalid_request_error", code)
    assert caught.value.param == param


def test_an_unknown_url(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.fine_tuning.jobs.list()
    check_fields(caught.value, "invalid_request_error", "unknown_url")


def test_the_keys_own_limit(product: Product) -> None:
    made = product.new_key("slow", rpm=2)
    with OpenAI(base_url=f"{product.url}/v1", api_key=made["key"], max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(model=OPENAI.model, messages=HELLO)
        assert raw.headers["x-ratelimit-limit-requests"] == "2"
        assert raw.headers["x-ratelimit-remaining-requests"] == "1"
        assert raw.headers["x-ratelimit-reset-requests"].endswith("s")
        with client.chat.completions.with_streaming_response.create(
            model=OPENAI.model, messages=HELLO, stream=True
        ) as streamed:
            assert streamed.headers["x-ratelimit-remaining-requests"] == "0"
            list(streamed.iter_lines())
        with pytest.raises(openai.RateLimitError) as caught:
            chat(client)
    check_fields(caught.value, "requests", "rate_limit_exceeded")
    headers = caught.value.response.headers
    assert 0 < int(headers["retry-after"]) <= 60
    assert 0 < int(headers["retry-after-ms"]) <= 60_000


def test_a_refusal_by_the_limit_says_what_the_limit_is(product: Product) -> None:
    made = product.new_key("slower", rpm=1)
    with OpenAI(base_url=f"{product.url}/v1", api_key=made["key"], max_retries=0) as client:
        assert chat(client).choices
        with pytest.raises(openai.RateLimitError) as caught:
            chat(client)
    headers = caught.value.response.headers
    assert headers["x-ratelimit-limit-requests"] == "1"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"].endswith("s")


FAILURES: list[tuple[dict[str, Any], int, str]] = [
    ({"kind": "refuse"}, 502, "upstream_unreachable"),
    ({"kind": "reset"}, 502, "upstream_unreachable"),
    ({"kind": "server_error"}, 502, "upstream_error"),
    ({"kind": "server_error", "status": 503}, 503, "server_is_overloaded"),
    ({"kind": "html_error"}, 502, "upstream_error"),
    ({"kind": "html_error", "status": 200}, 502, "upstream_malformed"),
    ({"kind": "truncated_json"}, 502, "upstream_malformed"),
    ({"kind": "malformed_chunk"}, 502, "upstream_malformed"),
    ({"kind": "cut"}, 502, "upstream_malformed"),
    ({"kind": "rate_limited"}, 429, "rate_limit_exceeded"),
    ({"kind": "unauthorized_once"}, 502, "upstream_auth_failed"),
]


@everywhere
@pytest.mark.parametrize(
    "fault, status, code", FAILURES, ids=["-".join(map(str, f.values())) for f, _, _ in FAILURES]
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_failing_provider(
    once: OpenAI,
    upstream: Upstream,
    sandbox: SandboxControl,
    fault: dict[str, Any],
    status: int,
    code: str,
    stream: bool,
) -> None:
    """Before the first delta a failure is a real status, in streams too; never the caller's 401."""
    if upstream is OPENROUTER and stream and fault["kind"] == "malformed_chunk":
        pytest.skip("its first frame is a comment, which is read by nobody")
    sandbox.fault(**fault, provider=upstream.simulator, times=None, match={"path": upstream.path})
    with pytest.raises(openai.APIStatusError) as caught:
        chat(once, upstream.model, stream=stream)
    error = caught.value
    assert (error.status_code, error.code) == (status, code)
    assert error.request_id
    assert isinstance(error, openai.RateLimitError if status == 429 else openai.InternalServerError)


@everywhere
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_error_with_status_200_is_an_error(
    once: OpenAI, upstream: Upstream, sandbox: SandboxControl, stream: bool
) -> None:
    sandbox.fault("error_in_200", upstream.simulator, times=None, match={"path": upstream.path})
    with pytest.raises(openai.InternalServerError) as caught:
        chat(once, upstream.model, stream=stream)
    assert caught.value.code in BROKEN


@everywhere
def test_the_providers_own_wait_is_passed_on(
    once: OpenAI, upstream: Upstream, sandbox: SandboxControl
) -> None:
    sandbox.fault("rate_limited", upstream.simulator, retry_after=7, match={"path": upstream.path})
    with pytest.raises(openai.RateLimitError) as caught:
        chat(once, upstream.model)
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.response.headers["retry-after-ms"] == "7000"


@everywhere
def test_the_client_tries_again_by_itself(
    client: OpenAI, upstream: Upstream, sandbox: SandboxControl
) -> None:
    sandbox.fault("server_error", upstream.simulator, match={"path": upstream.path})
    answer = chat(client, upstream.model)
    assert answer.choices[0].message.content.endswith("Hello")
    assert [seen["status"] for seen in sandbox.seen(upstream.path)] == [500, 200]


def test_a_token_that_died_early_is_renewed(client: OpenAI, sandbox: SandboxControl) -> None:
    assert chat(client, GIGACHAT.model).choices
    sandbox.fault("unauthorized_once", GIGACHAT.simulator, match={"path": "/chat/completions"})
    raw = client.with_options(max_retries=0).chat.completions.with_raw_response.create(
        model=GIGACHAT.model, messages=HELLO
    )
    assert raw.headers["x-xrouter-attempts"] == "1"
    assert [seen["status"] for seen in sandbox.seen("/chat/completions")] == [200, 401, 200]


BROKEN = ("upstream_malformed", "upstream_error", "upstream_unreachable", "server_is_overloaded")
BREAKS = [
    "cut",
    "reset",
    "malformed_chunk",
    "early_error_frame",
    "truncated_json",
]


@everywhere
@pytest.mark.parametrize("kind", BREAKS)
def test_a_stream_that_breaks(
    client: OpenAI, upstream: Upstream, sandbox: SandboxControl, kind: str
) -> None:
    """What was said stays, the error is raised, and nobody tries again."""
    sandbox.fault(kind, upstream.simulator, after=upstream.early, match={"path": upstream.path})
    told: list[str] = []
    stream = client.chat.completions.create(
        model=upstream.model,
        messages=[{"role": "user", "content": "[[words:60]]"}],
        stream=True,
    )
    with stream, pytest.raises(openai.APIError) as caught:
        told.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert type(caught.value) is openai.APIError
    said = "".join(told)
    assert said.startswith("one")
    assert len(said.split()) < 60
    assert isinstance(caught.value.body, dict)
    assert {"message", "type", "param", "code"} <= caught.value.body.keys()
    assert caught.value.code in BROKEN
    assert len(sandbox.seen(upstream.path)) == 1


@everywhere
async def test_a_stream_that_breaks_in_the_helper(
    asking: AsyncOpenAI, upstream: Upstream, sandbox: SandboxControl
) -> None:
    sandbox.fault("cut", upstream.simulator, after=upstream.early, match={"path": upstream.path})
    told: list[str] = []

    async def listen() -> None:
        async with asking.chat.completions.stream(
            model=upstream.model, messages=[{"role": "user", "content": "[[words:60]]"}]
        ) as stream:
            async for event in stream:
                if event.type == "content.delta":
                    told.append(event.delta)  # noqa: PERF401 - what comes before the error stays

    with pytest.raises(openai.APIError):
        await listen()
    assert "".join(told).startswith("one")


def test_embeddings_that_fail(once: OpenAI, sandbox: SandboxControl) -> None:
    sandbox.fault("server_error", OPENAI.simulator, times=None)
    with pytest.raises(openai.InternalServerError) as caught:
        once.embeddings.create(model=OPENAI.embedder, input="Hello")
    assert caught.value.status_code == 502


def test_a_prompt_that_is_too_long(once: OpenAI) -> None:
    """Tools look for the phrase, whoever refused."""
    with pytest.raises(openai.BadRequestError, match="maximum context length") as caught:
        once.chat.completions.create(
            model="openai/gpt-4", messages=[{"role": "user", "content": "word " * 9000}]
        )
    assert caught.value.code == "context_length_exceeded"
