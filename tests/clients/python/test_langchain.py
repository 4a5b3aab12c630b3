"""LangChain's OpenAI classes: chat by both APIs, tools, structured output, batches, embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, Literal

import httpx
import openai
import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field, SecretStr
from tests.clients.served import Product, SandboxControl
from tests.clients.upstreams import (
    ALL,
    EMBEDDERS,
    EXACT,
    OPENAI,
    REASONING,
    YANDEX,
    Upstream,
    each,
    everywhere,
)

Method = Literal["json_schema", "function_calling", "json_mode"]
Make = Callable[..., ChatOpenAI]

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg"
    "=="
)
ASKED = "First get_weather, then get_time, please"

by_both_apis = pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])


@tool
def get_weather(town: str, days: int = 1) -> str:
    """The weather of a town."""
    return f"{town}, {days} days: ясно ☀️"


@tool
def get_time(zone: Literal["Europe/Moscow", "UTC"]) -> str:
    """The time in a zone."""
    return f"17:00 in {zone}"


TOOLS = {one.name: one for one in (get_weather, get_time)}


class Town(BaseModel):
    """A town."""

    name: str = Field(description="Its name")
    people: int | None
    rivers: list[str]


class Said(BaseModel):
    """What a simulated model says in JSON without a schema."""

    said: str


@pytest.fixture(autouse=True)
def no_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes to anybody but the server."""
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "false")


@pytest.fixture
def make(product: Product, key: str) -> Iterator[Make]:
    """ChatOpenAI as its users make it: the model, the base URL, the key."""
    with httpx.Client() as lines:
        yield partial(
            ChatOpenAI,
            base_url=f"{product.url}/v1",
            api_key=SecretStr(key),
            max_retries=0,
            http_client=lines,
        )


@pytest.fixture
async def making(make: Make) -> AsyncIterator[Make]:
    """The same with a client of its own for each test's loop."""
    async with httpx.AsyncClient() as lines:
        yield partial(make, http_async_client=lines)


def said(text: str) -> str:
    return text.rpartition("You said: ")[2]


@everywhere
@by_both_apis
def test_a_conversation(make: Make, upstream: Upstream, responses: bool) -> None:
    history: list[BaseMessage] = [
        SystemMessage("Be brief."),
        HumanMessage("First"),
        AIMessage("Yes."),
        HumanMessage([{"type": "text", "text": EXACT}]),
    ]
    answer = make(model=upstream.model, use_responses_api=responses).invoke(history)
    assert said(str(answer.text)) == EXACT
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["model_name"] == upstream.model
    again = [*history, answer, HumanMessage("And now?")]
    more = make(model=upstream.model, use_responses_api=responses).invoke(again)
    assert said(str(more.text)) == "And now?"


@everywhere
@by_both_apis
def test_a_stream(make: Make, upstream: Upstream, responses: bool) -> None:
    chat = make(model=upstream.model, use_responses_api=responses, stream_usage=True)
    whole: AIMessageChunk | None = None
    pieces = 0
    for chunk in chat.stream(EXACT):
        assert isinstance(chunk, AIMessageChunk)
        pieces += bool(chunk.text)
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert pieces > 1
    assert said(str(whole.text)) == EXACT
    usage = whole.usage_metadata
    assert usage is not None
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


@everywhere
@by_both_apis
async def test_a_stream_without_blocking(making: Make, upstream: Upstream, responses: bool) -> None:
    chat = making(model=upstream.model, use_responses_api=responses)
    assert said("".join([str(chunk.text) async for chunk in chat.astream(EXACT)])) == EXACT


@everywhere
@pytest.mark.parametrize("choice", ["any", "required", "get_time", True], ids=str)
@by_both_apis
def test_a_call_that_is_demanded(
    make: Make, upstream: Upstream, choice: str | bool, responses: bool
) -> None:
    tools = [get_weather, get_time] if choice == "get_time" else [get_time]
    chat = make(model=upstream.model, use_responses_api=responses)
    answer = chat.bind_tools(tools, tool_choice=choice).invoke("Hello")
    [call] = answer.tool_calls
    assert (call["name"], call["args"]) == ("get_time", {"zone": "Europe/Moscow"})
    assert answer.invalid_tool_calls == []


@everywhere
@by_both_apis
def test_a_call_that_is_forbidden(make: Make, upstream: Upstream, responses: bool) -> None:
    chat = make(model=upstream.model, use_responses_api=responses)
    answer = chat.bind_tools([get_time], tool_choice="none").invoke("Hello get_time")
    assert answer.tool_calls == []
    assert answer.text


@everywhere
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@by_both_apis
def test_the_loop_of_an_agent(
    make: Make, upstream: Upstream, streamed: bool, responses: bool
) -> None:
    chat = make(model=upstream.model, use_responses_api=responses).bind_tools([*TOOLS.values()])
    messages: list[BaseMessage] = [HumanMessage(ASKED)]
    turns: list[list[str]] = []
    for _ in range(5):
        answer = joined(chat.stream(messages)) if streamed else chat.invoke(messages)
        messages.append(answer)
        if not answer.tool_calls:
            break
        turns.append([call["name"] for call in answer.tool_calls])
        for call in answer.tool_calls:
            result = TOOLS[call["name"]].invoke(call)
            assert isinstance(result, ToolMessage)
            messages.append(result)
    assert turns == upstream.turns
    assert "ясно ☀️" in str(messages[-1].text)


def joined(chunks: Iterator[AIMessage]) -> AIMessageChunk:
    whole: AIMessageChunk | None = None
    for chunk in chunks:
        assert isinstance(chunk, AIMessageChunk)
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    return whole


@everywhere
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@by_both_apis
def test_structured_output(make: Make, upstream: Upstream, method: Method, responses: bool) -> None:
    chat = make(model=upstream.model, use_responses_api=responses)
    town = chat.with_structured_output(Town, method=method).invoke("A town, please")
    assert isinstance(town, Town)
    assert town.rivers == ["sample"]


@everywhere
@by_both_apis
def test_strict_structured_output(make: Make, upstream: Upstream, responses: bool) -> None:
    chat = make(model=upstream.model, use_responses_api=responses)
    told = chat.with_structured_output(
        Town, method="json_schema", strict=True, include_raw=True
    ).invoke("A town, please")
    assert isinstance(told, dict)
    assert told["parsing_error"] is None
    assert isinstance(told["parsed"], Town)
    assert Town.model_validate_json(str(told["raw"].text)) == told["parsed"]


@everywhere
@by_both_apis
def test_json_without_a_schema(make: Make, upstream: Upstream, responses: bool) -> None:
    chat = make(model=upstream.model, use_responses_api=responses)
    answer = chat.with_structured_output(Said, method="json_mode").invoke("Say it in JSON")
    assert isinstance(answer, Said)
    assert answer.said.endswith("Say it in JSON")


@everywhere
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # LangChain's own
def test_a_streamed_structured_output(make: Make, upstream: Upstream) -> None:
    chat = make(model=upstream.model).with_structured_output(Town, method="json_schema")
    *_, last = chat.stream("A town, please")
    assert isinstance(last, Town)


async def test_a_batch_over_all_providers(making: Make) -> None:
    async def five(model: str) -> list[str]:
        texts = [f"{model} {number}" for number in range(5)]
        answers = await making(model=model).abatch([[HumanMessage(text)] for text in texts])
        assert [said(str(answer.text)) for answer in answers] == texts
        return texts

    done = await asyncio.gather(*(five(one.model) for one in ALL))
    assert len({text for texts in done for text in texts}) == 5 * len(ALL)


@each(EMBEDDERS)
def test_embeddings(product: Product, key: str, upstream: Upstream) -> None:
    """The length check needs a tokenizer of OpenAI's; its tokens say nothing to others."""
    maker = OpenAIEmbeddings(
        model=upstream.embedder,
        openai_api_base=f"{product.url}/v1",
        openai_api_key=SecretStr(key),
        check_embedding_ctx_length=False,
    )
    vectors = maker.embed_documents([EXACT, "second"])
    assert [len(vector) for vector in vectors] == [upstream.size] * 2
    assert vectors[0] != vectors[1]
    assert maker.embed_query("second") == pytest.approx(vectors[1])


@everywhere
def test_parameters_that_langchain_knows(make: Make, upstream: Upstream) -> None:
    chat = make(
        model=upstream.model, temperature=0, max_completion_tokens=7, top_p=0.9, seed=1, stop=["no"]
    )
    answer = chat.invoke("[[words:50]]")
    assert answer.text == "one step more on the long road"
    assert answer.response_metadata["finish_reason"] == "length"


@by_both_apis
def test_a_limit_of_the_answer(make: Make, responses: bool) -> None:
    chat = make(model=YANDEX.model, use_responses_api=responses, max_completion_tokens=20)
    answer = chat.invoke("[[words:50]]")
    assert len(str(answer.text).split()) == 20
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 20


def test_thoughts_come_as_reasoning(make: Make) -> None:
    chat = make(
        model=REASONING,
        use_responses_api=True,
        output_version="responses/v1",
        reasoning={"effort": "low", "summary": "auto"},
    )
    answer = chat.invoke("[[think:3]] Hello")
    kinds = [block["type"] for block in answer.content_blocks]
    assert kinds == ["reasoning", "text"]
    assert said(str(answer.text)) == "Hello"
    more = chat.invoke([HumanMessage("[[think:3]] Hello"), answer, HumanMessage("Again")])
    assert said(str(more.text)) == "Again"


def test_a_conversation_by_its_id(make: Make, sandbox: SandboxControl) -> None:
    chat = make(model=OPENAI.model, use_responses_api=True, use_previous_response_id=True)
    first = chat.invoke("One.")
    second = chat.invoke([HumanMessage("One."), first, HumanMessage("Two.")])
    assert said(str(second.text)) == "Two."
    sent = sandbox.seen("ompletion")[-1]["body"]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]


@by_both_apis
def test_errors_are_the_clients_exceptions(
    make: Make, sandbox: SandboxControl, responses: bool
) -> None:
    with pytest.raises(openai.NotFoundError):
        make(model="no/such", use_responses_api=responses).invoke("Hello")
    sandbox.fault("rate_limited", OPENAI.simulator, retry_after=7)
    with pytest.raises(openai.RateLimitError):
        make(model=OPENAI.model, use_responses_api=responses).invoke("Hello")
    sandbox.fault("server_error", OPENAI.simulator, times=None)
    with pytest.raises(openai.InternalServerError):
        list(make(model=OPENAI.model, use_responses_api=responses).stream("Hello"))


def test_a_picture(make: Make, sandbox: SandboxControl) -> None:
    block: dict[str, Any] = {"type": "image", "base64": PIXEL, "mime_type": "image/png"}
    question = HumanMessage(content=[{"type": "text", "text": "What is it?"}, block])
    for responses in (False, True):
        answer = make(model=OPENAI.model, use_responses_api=responses).invoke([question])
        assert answer.text
        [sent] = sandbox.seen("ompletion")[-1]["body"]["messages"]
        assert sent["content"][1]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
