"""The rows that ship: each loads, registers, does what it says and speaks with the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import msgspec
import pytest

from xrouter.domain.abilities import Feature
from xrouter.domain.answer import ChatDelta
from xrouter.domain.catalog import Endpoint, Model
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.errors import InvalidRequest, ModelNotFound, UpstreamFailed, XRouterError
from xrouter.domain.plan import Target
from xrouter.domain.secret import Secret
from xrouter.flow.lanes import Lanes
from xrouter.flow.upstreams import Means, Upstream
from xrouter.providers import factory
from xrouter.providers.base import BaseAPIAdapter, ChatExchange, from_environment
from xrouter.providers.rows import FOLDER, Row, RowError, read_rows, rows
from xrouter.providers.shapes.openai_models import only_version
from xrouter.sandbox.application import Sandbox
from xrouter.sandbox.server import running
from xrouter.wire.client import Client
from xrouter.wire.framing import parser_for
from xrouter.wire.tokens import TokenBook
from xrouter.wire.types import WireReply, WireRequest

NAMES = sorted(rows())
LOCAL = {"ollama", "vllm"}
MODEL = "gpt-4o-mini"
TOOL = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
}
OTHER = {"type": "function", "function": {"name": "other"}}

ASKS: dict[Feature, dict[str, Any]] = {
    "n": {"n": 2},
    "seed": {"seed": 1},
    "logit_bias": {"logit_bias": {"1": 1}},
    "logprobs": {"logprobs": True},
    "parallel_tools_off": {"tools": [TOOL], "parallel_tool_calls": False},
    "tool_choice_none": {"tools": [TOOL], "tool_choice": "none"},
    "tool_choice_required": {"tools": [TOOL], "tool_choice": "required"},
    "tool_choice_named": {
        "tools": [TOOL, OTHER],
        "tool_choice": {"type": "function", "function": {"name": "get_time"}},
    },
    "json_schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
}
"""What asks for a feature; its last parameter is the one that is given up where it is dropped."""


def endpoint_of(row: Row, base_url: str | None = None, key: str = "key") -> Endpoint:
    return Endpoint(
        id=1,
        provider=row.provider,
        name="primary",
        adapter_class=row.adapter_class,
        base_url=base_url or row.base_url,
        credential={"api_key": Secret(key)},
    )


def asked(adapter: BaseAPIAdapter, text: str = "Hi", **more: Any) -> ChatExchange:
    raw = msgspec.json.encode(
        {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    )
    request = msgspec.json.decode(raw, type=ChatRequest)
    request.fields = msgspec.json.decode(raw, type=Fields)
    model = Model(
        model_id=f"{adapter.endpoint.provider}/{MODEL}",
        provider=adapter.endpoint.provider,
        adapter_class=adapter.endpoint.adapter_class,
        display_name=MODEL,
        versions=only_version(MODEL),
    )
    return adapter.encode_chat(request, Target(adapter.endpoint, model, model.versions[0]))


def test_every_file_is_a_row() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_a_provider(name: str) -> None:
    row, known = rows()[name], factory.providers()[name]
    assert (known.adapter_class, known.options) == (row.adapter_class, row.options)
    assert known.display_name
    address = urlsplit(known.default_base_url)
    assert address.scheme == ("http" if name in LOCAL else "https")
    assert address.path.endswith("/v1")
    assert (address.hostname == "127.0.0.1") is (name in LOCAL)


@pytest.mark.parametrize("name", NAMES)
def test_it_registers_by_its_variables(name: str) -> None:
    spec = factory.providers()[name].environment
    assert spec is not None
    upper = name.upper()
    needed = f"{upper}_BASE_URL" if name in LOCAL else f"{upper}_API_KEY"
    assert spec.required == ((needed,),)
    assert from_environment(spec, {}) is None
    whole = {f"{upper}_API_KEY": "key", f"{upper}_BASE_URL": "https://h/v1"}
    fields = from_environment(spec, whole)
    assert fields is not None
    assert fields.base_url == "https://h/v1"
    assert fields.credential["api_key"].reveal() == "key"


def test_no_two_rows_take_the_same_variable() -> None:
    taken = [
        variable
        for known in factory.providers().values()
        if known.environment is not None
        for group in known.environment.required
        for variable in group
    ]
    assert len(taken) == len(set(taken))


@pytest.mark.parametrize("name", NAMES)
def test_it_does_what_it_says_of_features(name: str) -> None:
    row = rows()[name]
    adapter = factory.build(endpoint_of(row))
    for feature, degree in row.features.items():
        if feature not in ASKS:
            assert (feature, degree) == ("embeddings", "refused")
            continue
        exchange = asked(adapter, **ASKS[feature])
        param = list(ASKS[feature])[-1]
        body = msgspec.json.decode(exchange.wire.body)
        assert (param in exchange.dropped) is (degree == "dropped"), feature
        assert (param in body) is (degree == "refused"), feature
    hushed = set(row.options.get("ignored", "").split())
    said = {list(ASKS[f])[-1] for f, degree in row.features.items() if degree == "dropped"}
    assert hushed - {"user"} <= said


@pytest.mark.parametrize("name", NAMES)
def test_the_limit_has_the_name_that_the_service_knows(name: str) -> None:
    row = rows()[name]
    adapter = factory.build(endpoint_of(row))
    known = row.options.get("limit_field")
    for given in ("max_tokens", "max_completion_tokens"):
        body = msgspec.json.decode(asked(adapter, "Hi", **{given: 5}).wire.body)
        assert body[known or given] == 5
        assert len(body.keys() & {"max_tokens", "max_completion_tokens"}) == 1


@pytest.mark.parametrize("wrong", ['n = "never"', 'beauty = "native"', "n = 1"])
def test_features_that_do_not_exist(tmp_path: Path, wrong: str) -> None:
    head = 'provider = "x"\ndisplay_name = "X"\nbase_url = "http://h/v1"\nadapter_class = "a.B"\n'
    (tmp_path / "x.toml").write_text(f"{head}[features]\n{wrong}\n")
    with pytest.raises(RowError, match="features"):
        read_rows(tmp_path)


def test_all_features_may_be_named(tmp_path: Path) -> None:
    head = 'provider = "x"\ndisplay_name = "X"\nbase_url = "http://h/v1"\nadapter_class = "a.B"\n'
    lines = "\n".join(f'{feature} = "native"' for feature in get_args(Feature))
    (tmp_path / "x.toml").write_text(f"{head}[features]\n{lines}\n")
    assert set(read_rows(tmp_path)["x"].features) == set(get_args(Feature))


NINE = "Tool call IDs should be alphanumeric strings with length 9!"
ORDER = "System message must be at the beginning."
NO_TOOLS = "registry.ollama.ai/library/gemma3:4b does not support tools"


@pytest.mark.parametrize("name,text", [("vllm", NINE), ("vllm", ORDER), ("ollama", NO_TOOLS)])
def test_what_a_template_does_not_take_is_told_in_the_server_s_own_words(
    name: str, text: str
) -> None:
    """It is the request's fault: no other server is asked the same."""
    error = refusal(name, 400, text)
    assert isinstance(error, InvalidRequest)
    assert (error.message, error.fallback) == (text, False)


@pytest.mark.parametrize("text", [NINE, ORDER, "Conversation roles must alternate user/assistant"])
def test_a_template_s_complaint_with_a_404_is_no_missing_model(text: str) -> None:
    """Else the target would be held back for everybody."""
    error = refusal("vllm", 404, text)
    assert isinstance(error, InvalidRequest)
    assert (error.status, error.message, error.fallback) == (400, text, False)


def test_a_404_about_a_model_is_a_missing_model() -> None:
    assert isinstance(refusal("vllm", 404, "The model `x` does not exist."), ModelNotFound)


def test_a_question_that_was_cut_away_is_the_server_s_fault() -> None:
    error = refusal("ollama", 500, "no user query found in messages")
    assert isinstance(error, UpstreamFailed)
    assert error.fallback
    assert "no user query found" in error.message


def test_ids_of_calls_go_out_and_come_back_as_they_are() -> None:
    adapter = factory.build(endpoint_of(rows()["vllm"]))
    call = {
        "id": "chatcmpl-tool-0123456789abcdef",
        "type": "function",
        "function": {"name": "get_time", "arguments": "{}"},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    whole = asked(adapter, tools=[TOOL]).answer(WireReply(200, {}, msgspec.json.encode(body)))
    assert [one.id for one in whole.choices[0].message.tool_calls or []] == [call["id"]]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "noon"}
    history = [{"role": "user", "content": "Hi"}, message, result]
    sent = msgspec.json.decode(asked(adapter, messages=history, tools=[TOOL]).wire.body)
    assert sent["messages"] == history


def refusal(name: str, status: int, text: str) -> XRouterError:
    """What becomes of an error of a row's server."""
    error = {"message": text, "type": "invalid_request_error", "param": None, "code": None}
    body = msgspec.json.encode({"error": error})
    return factory.build(endpoint_of(rows()[name])).decode_error(WireReply(status, {}, body))


class Caller:
    """A row's endpoint, at the sandbox's OpenAI."""

    def __init__(self, name: str, origin: str) -> None:
        endpoint = endpoint_of(rows()[name], f"{origin}/openai/v1", "sk-sandbox")
        self.client = Client()
        self.adapter = factory.build(endpoint)
        self.upstream = Upstream(
            self.adapter.endpoint, self.adapter, Means(self.client, TokenBook(), Lanes())
        )

    async def ask(self, wire: WireRequest) -> WireReply:
        exchange = await self.upstream.open(wire)
        try:
            reply = WireReply(exchange.status, exchange.headers, await exchange.read())
        finally:
            exchange.close()
        assert reply.status == 200, reply.body
        return reply

    async def stream(self, text: str) -> list[ChatDelta]:
        exchange = asked(self.adapter, text, stream=True)
        reply = await self.ask(exchange.wire)
        parser = parser_for(exchange.framing)
        events = [*parser.feed(reply.body), *parser.end()]
        deltas = [delta for name, data in events for delta in exchange.feed(name, data)]
        return deltas + exchange.end()


@pytest.fixture(params=NAMES)
async def caller(request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    async with running(app=Sandbox()) as url:
        caller = Caller(request.param, url)
        yield caller
        await caller.client.close()


async def test_it_is_probed_and_lists_its_models(caller: Caller) -> None:
    await caller.ask(caller.adapter.probe())
    wire = caller.adapter.discover()
    assert wire is not None
    assert MODEL in {model.name for model in caller.adapter.decode_models(await caller.ask(wire))}


async def test_it_answers(caller: Caller) -> None:
    everything = {"max_tokens": 50, "n": 1, "seed": 1, "user": "u", "temperature": 0}
    exchange = asked(caller.adapter, "Tell me of rivers", **everything)
    whole = exchange.answer(await caller.ask(exchange.wire))
    deltas = await caller.stream("Tell me of rivers")
    assert whole.choices[0].message.content
    assert "".join(delta.text or "" for delta in deltas) == whole.choices[0].message.content
    assert whole.usage is not None
    assert any(delta.usage for delta in deltas)


async def test_it_calls_tools(caller: Caller) -> None:
    exchange = asked(caller.adapter, "What says get_time?", tools=[TOOL, OTHER])
    whole = exchange.answer(await caller.ask(exchange.wire))
    calls = whole.choices[0].message.tool_calls or []
    assert [call.function and call.function.name for call in calls] == ["get_time"]
