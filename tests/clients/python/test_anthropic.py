"""Anthropic's official client against the whole product, in front of every provider."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from anthropic.types import Message
from pydantic import BaseModel
from tests.clients.served import Answer, Product, SandboxControl, ask, eventually
from tests.clients.upstreams import ALL, EXACT, GIGACHAT, OPENAI, REASONING, Upstream, each

CLAUDE = Upstream("anthropic/claude-sonnet-5-5", "anthropic")
PEERS = tuple(one for one in ALL if one.provider != CLAUDE.provider)
everywhere = each((*PEERS, CLAUDE))

WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather in a town.",
    "input_schema": {
        "type": "object",
        "properties": {"town": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["town", "days"],
    },
}
CLOCK: Any = {
    "name": "get_time",
    "description": "The time in a zone.",
    "input_schema": {
        "type": "object",
        "properties": {"zone": {"type": "string", "enum": ["Europe/Moscow", "UTC"]}},
        "required": ["zone"],
    },
}
ASKED = "Первым делом get_weather, then get_time, please"
RESULTS = {"get_weather": '{"sky": "ясно ☀️"}', "get_time": '{"hour": 17}'}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
MARK = {"type": "ephemeral"}


@pytest.fixture
def claude(product: Product, key: str) -> Iterator[Anthropic]:
    """The official client: the base URL without /v1 and the key, nothing else."""
    with Anthropic(base_url=product.url, api_key=key, max_retries=0) as made:
        yield made


@pytest.fixture
async def asking(product: Product, key: str) -> AsyncIterator[AsyncAnthropic]:
    """The official asynchronous client."""
    async with AsyncAnthropic(base_url=product.url, api_key=key, max_retries=0) as made:
        yield made


def create(client: Anthropic, model: str, text: Any, **more: Any) -> Any:
    made: Any = client.messages.create
    messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
    return made(**{"model": model, "max_tokens": 4000, "messages": messages} | more)


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def raw(
    product: Product, key: str, body: Any, path: str = "/v1/messages", **headers: str
) -> Answer:
    sent = {"x-api-key": key, "content-type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(product.url + path, "POST", json.dumps(body).encode(), sent)


@everywhere
def test_a_message(claude: Anthropic, upstream: Upstream) -> None:
    message = create(claude, upstream.model, f"Repeat: {EXACT}", system="Be kind.")
    assert EXACT in text_of(message)
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
    assert message.id.startswith("msg_")
    assert message.model == upstream.model
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0
    assert message._request_id.startswith("req_")


@everywhere
async def test_a_message_without_blocking(asking: AsyncAnthropic, upstream: Upstream) -> None:
    message = await asking.messages.create(
        model=upstream.model,
        max_tokens=4000,
        messages=[{"role": "user", "content": [{"type": "text", "text": f"Repeat: {EXACT}"}]}],
    )
    assert EXACT in text_of(message)


@everywhere
def test_the_streaming_helper(claude: Anthropic, upstream: Upstream) -> None:
    messages: Any = [{"role": "user", "content": f"Repeat: {EXACT}"}]
    with claude.messages.stream(model=upstream.model, max_tokens=4000, messages=messages) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
        assert stream.request_id is not None
    assert EXACT in text
    assert text_of(final) == text
    assert final.stop_reason == "end_turn"
    assert final.usage.input_tokens + (final.usage.cache_read_input_tokens or 0) > 0
    assert final.usage.output_tokens > 0


@everywhere
async def test_the_streaming_helper_without_blocking(
    asking: AsyncAnthropic, upstream: Upstream
) -> None:
    messages: Any = [{"role": "user", "content": f"Repeat: {EXACT}"}]
    async with asking.messages.stream(
        model=upstream.model, max_tokens=4000, messages=messages
    ) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_message()
    assert EXACT in text_of(final)
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"


def answered(client: Anthropic, model: str, messages: list[Any], *, streamed: bool) -> Message:
    tools = [WEATHER, CLOCK]
    if not streamed:
        return create(client, model, messages, tools=tools)  # type: ignore[no-any-return] # of Any
    with client.messages.stream(
        model=model, max_tokens=4000, messages=messages, tools=tools
    ) as stream:
        return stream.get_final_message()


@everywhere
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_calls_results_answer(claude: Anthropic, upstream: Upstream, streamed: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": ASKED}]
    turns: list[list[str]] = []
    ids: list[str] = []
    message: Any = None
    for _ in range(5):
        message = answered(claude, upstream.model, messages, streamed=streamed)
        messages.append({"role": "assistant", "content": message.content})
        calls = [block for block in message.content if block.type == "tool_use"]
        if not calls:
            break
        assert message.stop_reason == "tool_use"
        turns.append([call.name for call in calls])
        ids += [call.id for call in calls]
        results: list[Any] = []
        for call in calls:
            wanted = {"town", "days"} if call.name == "get_weather" else {"zone"}
            assert set(call.input) == wanted
            results.append(
                {"type": "tool_result", "tool_use_id": call.id, "content": RESULTS[call.name]}
            )
        messages.append({"role": "user", "content": results})
    assert turns == upstream.turns
    assert len(set(ids)) == len(ids) > 0
    assert "ясно ☀️" in text_of(message)
    assert message.stop_reason == "end_turn"


@everywhere
@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_time"}], ids=str)
def test_a_call_that_is_demanded(claude: Anthropic, upstream: Upstream, choice: Any) -> None:
    tools = [CLOCK] if choice["type"] == "any" else [WEATHER, CLOCK]
    message = create(claude, upstream.model, "Hello", tools=tools, tool_choice=choice)
    assert message.stop_reason == "tool_use"
    [call] = [block for block in message.content if block.type == "tool_use"]
    assert (call.name, call.input) == ("get_time", {"zone": "Europe/Moscow"})


@everywhere
def test_a_call_that_is_forbidden(claude: Anthropic, upstream: Upstream) -> None:
    message = create(
        claude, upstream.model, "Hello get_time", tools=[CLOCK], tool_choice={"type": "none"}
    )
    assert message.stop_reason == "end_turn"
    assert [block.type for block in message.content] == ["text"]


@each(tuple(one for one in (*PEERS, CLAUDE) if one.can("parallel_tools_off")))
def test_one_call_at_a_time(claude: Anthropic, upstream: Upstream) -> None:
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    message = create(claude, upstream.model, ASKED, tools=[WEATHER, CLOCK], tool_choice=choice)
    assert len([block for block in message.content if block.type == "tool_use"]) == 1


@beta_tool
def get_weather(town: str, days: int) -> str:
    """The weather in a town.

    Args:
        town: Which.
        days: How many.
    """
    return f"{town}, {days}: ясно ☀️"


@everywhere
def test_the_tool_runner(claude: Anthropic, upstream: Upstream) -> None:
    runner = claude.beta.messages.tool_runner(
        model=upstream.model,
        max_tokens=4000,
        messages=[{"role": "user", "content": "get_weather please"}],
        tools=[get_weather],
    )
    assert "ясно ☀️" in text_of(runner.until_done())


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", [REASONING, CLAUDE.model])
def test_thinking_is_told_and_can_come_back(
    claude: Anthropic, model: str, streamed: bool, sandbox: SandboxControl
) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 2000}
    messages: Any = [{"role": "user", "content": "[[think:5]] get_weather"}]
    more: Any = {"model": model, "max_tokens": 4000, "thinking": thinking, "tools": [WEATHER]}
    if streamed:
        with claude.messages.stream(messages=messages, **more) as stream:
            first: Any = stream.get_final_message()
    else:
        first = claude.messages.create(messages=messages, **more)
    kinds = [block.type for block in first.content]
    assert (kinds[0], kinds[-1]) == ("thinking", "tool_use")
    thought = first.content[0]
    assert thought.thinking
    assert bool(thought.signature) == (model == CLAUDE.model)
    messages += [
        {"role": "assistant", "content": first.content},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": first.content[-1].id, "content": "ясно"}
            ],
        },
    ]
    second: Any = claude.messages.create(messages=messages, **more)
    assert "ясно" in text_of(second)
    if model == CLAUDE.model:
        sent = sandbox.seen("/messages")[-1]["body"]
        assert sent["thinking"] == thinking
        back = sent["messages"][1]["content"][0]
        assert (back["thinking"], back["signature"]) == (thought.thinking, thought.signature)


@each((OPENAI, CLAUDE))
def test_images(claude: Anthropic, upstream: Upstream, sandbox: SandboxControl) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    create(claude, upstream.model, [{"role": "user", "content": content}])
    sent = sandbox.seen("/messages" if upstream is CLAUDE else "/chat/completions")[-1]["body"]
    part = sent["messages"][0]["content"][0]
    if upstream is CLAUDE:
        assert part["source"] == source
    else:
        assert part["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"


def test_an_image_that_a_model_cannot_see(claude: Anthropic) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [{"type": "text", "text": "What?"}, {"type": "image", "source": source}]
    with pytest.raises(anthropic.BadRequestError) as caught:
        create(claude, "yandex/yandexgpt", [{"role": "user", "content": content}])
    assert "messages[0].content[1]" in str(caught.value)


class Person(BaseModel):
    name: str
    age: int


@each(tuple(one for one in (*PEERS, CLAUDE) if one.can("json_schema")))
def test_structured_output_is_parsed(claude: Anthropic, upstream: Upstream) -> None:
    messages: Any = [{"role": "user", "content": "Ada, 36 years old"}]
    message = claude.messages.parse(
        model=upstream.model, max_tokens=4000, messages=messages, output_format=Person
    )
    assert isinstance(message.parsed_output, Person)


@everywhere
def test_tokens_are_counted(claude: Anthropic, upstream: Upstream) -> None:
    counted = claude.messages.count_tokens(
        model=upstream.model,
        system="Be kind.",
        messages=[{"role": "user", "content": "One two three"}],
        tools=[WEATHER],
    )
    assert counted.input_tokens > 0


def test_models(claude: Anthropic) -> None:
    models = {model.id: model for model in claude.models.list()}
    assert {one.model for one in (*PEERS, CLAUDE)} <= models.keys()
    one = claude.models.retrieve(GIGACHAT.model)
    assert one == models[GIGACHAT.model]
    assert (one.type, one.lifecycle) == ("model", "active")
    assert one.created_at.year >= 2020
    assert one.display_name
    with pytest.raises(anthropic.NotFoundError):
        claude.models.retrieve("no/such-model")


async def test_models_without_blocking(asking: AsyncAnthropic) -> None:
    found = [model.id async for model in asking.models.list()]
    assert len(found) == len(set(found)) > 0


@everywhere
def test_stop_sequences(claude: Anthropic, upstream: Upstream) -> None:
    message = create(
        claude, upstream.model, "Repeat: one two STOP three", stop_sequences=["STOP", "nowhere"]
    )
    assert "two" in text_of(message)
    assert "STOP" not in text_of(message)
    assert message.stop_reason in ("end_turn", "stop_sequence")


@everywhere
def test_a_limit_is_reached(claude: Anthropic, upstream: Upstream) -> None:
    message = create(claude, upstream.model, "[[words:200]]", max_tokens=20)
    assert message.stop_reason == "max_tokens"


def check(caught: pytest.ExceptionInfo[Any], kind: str) -> None:
    error = caught.value
    assert error.type == kind
    assert error.request_id.startswith("req_")
    assert error.body["type"] == "error"
    assert error.body["request_id"] == error.request_id
    assert error.body["error"]["message"] in str(error)


def test_errors_are_the_clients_exceptions(
    claude: Anthropic, product: Product, sandbox: SandboxControl
) -> None:
    with (
        Anthropic(base_url=product.url, api_key="sk-wrong", max_retries=0) as stranger,
        pytest.raises(anthropic.AuthenticationError) as unknown,
    ):
        create(stranger, OPENAI.model, "Hi")
    check(unknown, "authentication_error")
    with pytest.raises(anthropic.NotFoundError) as nowhere:
        create(claude, "openai/nothing", "Hi")
    check(nowhere, "not_found_error")
    with pytest.raises(anthropic.BadRequestError) as wrong:
        create(claude, OPENAI.model, "Hi", max_tokens=0)
    check(wrong, "invalid_request_error")
    assert "'max_tokens'" in str(wrong.value)
    faults: list[tuple[str, dict[str, Any], type[anthropic.APIStatusError], int, str]] = [
        ("rate_limited", {}, anthropic.RateLimitError, 429, "rate_limit_error"),
        ("server_error", {}, anthropic.InternalServerError, 502, "api_error"),
        ("server_error", {"status": 503}, anthropic.OverloadedError, 529, "overloaded_error"),
    ]
    for kind, how, expected, status, name in faults:
        sandbox.fault(kind, "openai", times=5, **how)
        with pytest.raises(expected) as failed:
            create(claude, OPENAI.model, "Hi")
        check(failed, name)
        assert failed.value.status_code == status
        sandbox.clear()


def test_a_prompt_that_is_too_long(claude: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        create(claude, OPENAI.model, "слово " * 140_000)
    assert "prompt is too long: " in str(caught.value)
    assert " maximum" in str(caught.value)


@pytest.mark.parametrize("stream", [False, True])
def test_a_stream_that_breaks(claude: Anthropic, sandbox: SandboxControl, stream: bool) -> None:
    sandbox.fault("cut", "openai", after=3)
    if not stream:
        with pytest.raises(anthropic.InternalServerError):
            create(claude, OPENAI.model, "Hi")
        return
    with pytest.raises(anthropic.APIStatusError) as caught:
        list(create(claude, OPENAI.model, "Hi", stream=True))
    assert caught.value.type == "api_error"


@everywhere
def test_leaving_ends_the_call(
    claude: Anthropic, upstream: Upstream, sandbox: SandboxControl
) -> None:
    messages: Any = [{"role": "user", "content": "[[words:1000]] [[pause:0.05]]"}]
    with claude.messages.stream(model=upstream.model, max_tokens=4000, messages=messages) as stream:
        next(iter(stream.text_stream))
    sandbox.saw_a_client_leave()


async def test_cancelling_a_task(asking: AsyncAnthropic, sandbox: SandboxControl) -> None:
    sandbox.fault("hang_before_headers", "openai", match={"path": "ompletion"})
    task = asyncio.create_task(
        asking.messages.create(
            model=OPENAI.model, max_tokens=10, messages=[{"role": "user", "content": "Hi"}]
        )
    )
    await asyncio.to_thread(eventually, lambda: sandbox.running() == 1, "it was asked")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(sandbox.saw_a_client_leave)


HELLO: Any = {"max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21", None])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages?beta=true", "/api/v1/messages"])
def test_all_versions_are_taken(product: Product, key: str, version: str | None, path: str) -> None:
    more = {} if version is None else {"anthropic_version": version}
    body = {"model": OPENAI.model, "temperature": 0.5, **HELLO}
    answer = raw(product, key, body, path, anthropic_beta="a-1,b-2", **more)
    assert answer.status == 200
    assert answer.json()["type"] == "message"
    assert answer.headers["request-id"] == answer.headers["x-request-id"]


def test_flags_reach_anthropic_and_are_named_elsewhere(
    product: Product, key: str, sandbox: SandboxControl
) -> None:
    flags = "interleaved-thinking-2025-05-14,context-1m-2025-08-07"
    answer = raw(product, key, {"model": CLAUDE.model, **HELLO}, anthropic_beta=flags)
    assert answer.status == 200
    assert "x-xrouter-dropped" not in answer.headers
    assert sandbox.seen("/messages")[-1]["headers"]["anthropic-beta"] == flags
    answer = raw(product, key, {"model": OPENAI.model, **HELLO}, anthropic_beta=flags)
    assert answer.headers["x-xrouter-dropped"] == "anthropic-beta"


def test_the_request_limit_is_told_as_anthropic_does(product: Product) -> None:
    key = product.new_key("limited for anthropic", rpm=1000)["key"]
    told = raw(product, key, {"model": OPENAI.model, **HELLO}).headers
    assert told["anthropic-ratelimit-requests-limit"] == told["x-ratelimit-limit-requests"]
    assert int(told["anthropic-ratelimit-requests-remaining"]) < 1000
    assert told["anthropic-ratelimit-requests-reset"].endswith("Z")


def test_what_is_given_up_is_told_in_one_header(product: Product, key: str) -> None:
    body = {
        "model": "yandex/yandexgpt",
        "metadata": {"user_id": "u"},
        "container": "c",
        "tools": [{"type": "web_search_20260318", "name": "web_search"}],
        **HELLO,
    }
    answer = raw(product, key, body)
    assert answer.status == 200
    told = answer.headers["x-xrouter-dropped"].split(", ")
    assert told == ["tools[0].web_search_20260318", "container", "metadata.user_id"]


@everywhere
def test_what_a_coding_agent_sends(claude: Anthropic, upstream: Upstream) -> None:
    """Claude Code: marks of the cache everywhere, thinking, an effort, a billing line."""
    billing = "x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli; cch=a1b2c;"
    thought = {"type": "thinking", "thinking": "Let me look.", "signature": ""}
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_time", "input": {"zone": "UTC"}}
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "is_error": True,
        "content": [{"type": "text", "text": "17:00"}],
        "cache_control": MARK,
    }
    message = create(
        claude,
        upstream.model,
        [
            {
                "role": "user",
                "content": [{"type": "text", "text": "get_time", "cache_control": MARK}],
            },
            {"role": "assistant", "content": [thought, {"type": "text", "text": "Yes."}, call]},
            {"role": "user", "content": [result]},
        ],
        system=[
            {"type": "text", "text": billing},
            {"type": "text", "text": "You are an agent.", "cache_control": MARK},
        ],
        tools=[CLOCK, {**WEATHER, "cache_control": MARK}],
        thinking={"type": "adaptive"},
        metadata={"user_id": "user_" + "a" * 64 + "_account__session_" + "b" * 36},
        extra_headers={"x-claude-code-session-id": "b" * 36, "x-app": "cli"},
        extra_body={"context_management": {"edits": []}},
        stream=False,
    )
    assert "17:00" in text_of(message)


def test_a_billing_line_does_not_spoil_the_cache(
    claude: Anthropic, sandbox: SandboxControl
) -> None:
    for number in ("a1b2c", "d3e4f"):
        line = f"x-anthropic-billing-header: cc_version=2.1; cch={number};"
        create(claude, OPENAI.model, "Hi", system=line)
    first, second = sandbox.seen("/chat/completions")
    assert first["body"] == second["body"]
