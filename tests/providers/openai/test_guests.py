"""Fields of the Messages API at services of this language: what they become, what is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from xrouter.domain.catalog import Endpoint
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest, UpstreamFailed
from xrouter.domain.plan import Target
from xrouter.providers.base import ChatExchange
from xrouter.providers.openai import GenericOpenAIAdapter
from xrouter.providers.shapes.messages_fields import at_home

Ask = Callable[..., ChatRequest]
Exchange = Callable[..., ChatExchange]
MARKED = [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]


@pytest.fixture
def ask(read_request: Callable[[bytes], ChatRequest]) -> Ask:
    def made(content: Any = "Hi", **fields: Any) -> ChatRequest:
        messages = [{"role": "user", "content": content}]
        return read_request(json.dumps({"model": "m", "messages": messages, **fields}).encode())

    return made


@pytest.fixture
def exchange(ask: Ask, make_endpoint: Callable[..., Endpoint], target: Target) -> Exchange:
    adapter = GenericOpenAIAdapter(make_endpoint({}))
    return lambda *content, **fields: adapter.encode_chat(ask(*content, **fields), target)


def sent(exchange: ChatExchange | None) -> Any:
    assert exchange is not None
    return json.loads(exchange.wire.body)


@pytest.mark.parametrize(
    "fields, effort, lost",
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low", []),
        ({"thinking": {"type": "enabled", "budget_tokens": 9000}}, "medium", []),
        ({"thinking": {"type": "enabled", "budget_tokens": 30_000}}, "high", []),
        ({"thinking": {"type": "adaptive"}}, None, ["thinking"]),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, "low", []),
        ({"output_config": {"effort": "max"}}, "high", ["output_config.effort"]),
        ({"output_config": {"effort": "huge"}}, None, ["output_config.effort"]),
        ({"output_config": {"format": {}, "x": 1}}, None, ["output_config.x"]),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}, "reasoning_effort": "low"},
            "low",
            ["thinking"],
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}},
            "low",
            ["thinking.display"],
        ),
        ({"betas": None, "inference_geo": "eu"}, None, ["inference_geo"]),
    ],
)
def test_how_much_to_think_is_an_effort(
    ask: Ask, fields: dict[str, Any], effort: str | None, lost: list[str]
) -> None:
    home, dropped = at_home(ask(**fields))
    assert (home.reasoning_effort, dropped) == (effort, lost)
    assert not {"thinking", "output_config", "betas", "inference_geo"} & home.fields.keys()
    assert ("reasoning_effort" in home.fields) is (effort is not None)


def test_nothing_of_the_kind_costs_nothing(ask: Ask) -> None:
    request = ask(top_k=3, thinking={"type": "disabled"}, speed="fast")
    home, dropped = at_home(request)
    assert home is request
    assert dropped == []


@pytest.mark.parametrize("odd", [True, "enabled", {}, [1]])
def test_strange_thinking_is_named(ask: Ask, odd: Any) -> None:
    home, dropped = at_home(ask(thinking=odd), strict=True)
    assert "thinking" not in home.fields
    assert dropped == ["thinking"]


def test_a_service_that_refuses_marks_is_asked_without_them(exchange: Exchange) -> None:
    tool = {"type": "function", "function": {"name": "f"}, "cache_control": {}}
    first = exchange(MARKED, tools=[tool], top_k=3)
    refusal = "'messages.0' : property 'cache_control' is unsupported"
    other = first.instead(InvalidRequest(refusal))
    assert "cache_control" in first.wire.body.decode()
    assert "cache_control" not in json.dumps(sent(other))
    assert sent(other)["messages"][0]["content"] == [{"type": "text", "text": "Hi"}]
    assert other is not None
    assert other.dropped == ("messages.cache_control", "tools.cache_control", "top_k")
    assert other.instead(InvalidRequest(refusal)) is None


def test_a_service_that_knows_no_thinking_is_asked_without_it(exchange: Exchange) -> None:
    other = exchange(thinking={"type": "disabled"}).instead(
        InvalidRequest("Unrecognized request argument supplied: thinking")
    )
    assert "thinking" not in sent(other)
    assert other is not None
    assert other.dropped == ("thinking",)


def test_an_effort_of_ours_may_be_one_too_much(exchange: Exchange) -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000}
    refusal = InvalidRequest("`reasoning_effort` is not supported with this model")
    first = exchange(thinking=thinking)
    assert sent(first)["reasoning_effort"] == "low"
    other = first.instead(refusal)
    assert "reasoning_effort" not in sent(other)
    assert other is not None
    assert other.dropped == ("thinking",)
    assert exchange(reasoning_effort="low").instead(refusal) is None


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("temperature must be positive"),
        InvalidRequest("The speedy one is top_kinetic"),
        UpstreamFailed("cache_control"),
    ],
)
def test_other_errors_are_what_they_are(exchange: Exchange, error: Any) -> None:
    assert exchange(MARKED).instead(error) is None
    assert exchange("Hi").instead(error) is None
