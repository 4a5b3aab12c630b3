"""What OpenRouter tells of a generation when it is over."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.providers.openrouter.test_adapter import endpoint

from xrouter.domain.answer import Usage
from xrouter.domain.errors import UpstreamDenied, UpstreamMalformed, UpstreamRateLimited
from xrouter.providers.openrouter.adapter import OpenRouterAdapter
from xrouter.wire.types import WireReply

TOLD = {
    "id": "gen-1",
    "tokens_prompt": 9,
    "tokens_completion": 4,
    "native_tokens_prompt": 10,
    "native_tokens_completion": 5,
    "native_tokens_cached": 3,
    "native_tokens_reasoning": 2,
    "total_cost": 1.4e-05,
    "usage": 9.9,
    "cancelled": True,
}


def told(status: int = 200, body: Any = None, name: str = "gen-1") -> Usage | None:
    errand = OpenRouterAdapter(endpoint()).afterwards(name)
    assert errand is not None
    wire = next(errand)
    assert (wire.method, wire.url) == ("GET", f"https://openrouter.ai/api/v1/generation?id={name}")
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    with pytest.raises(StopIteration) as done:
        errand.send(WireReply(status, {}, data))
    found: Usage | None = done.value.value
    return found


def test_the_partys_own_tokens_are_those_that_are_paid_for() -> None:
    usage = told(body={"data": TOLD})
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (10, 5)
    assert (usage.cached_tokens, usage.reasoning_tokens) == (3, 2)
    assert usage.cost == "0.000014"
    assert not usage.estimated


def test_where_the_party_counts_nothing_the_router_does() -> None:
    native = {name: None for name in TOLD if name.startswith("native")}
    usage = told(body={"data": TOLD | native | {"total_cost": None, "usage": 0.5}})
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cost) == (9, 4, "0.5")


def test_one_that_was_cancelled_before_it_began_costs_nothing() -> None:
    tokens = {name: 0 for name in TOLD if "tokens" in name}
    assert told(body={"data": TOLD | tokens | {"total_cost": 0}}) == Usage(cost="0")


@pytest.mark.parametrize(
    "status, body",
    [
        (404, {"error": {"code": 404, "message": "Generation gen-1 not found"}}),
        (200, {"data": None}),
        (200, {}),
        (200, {"data": TOLD | {"total_cost": None, "usage": None}}),
    ],
)
def test_what_is_not_written_yet_is_not_known(status: int, body: Any) -> None:
    assert told(status, body) is None


@pytest.mark.parametrize(
    "status, kind", [(401, UpstreamDenied), (429, UpstreamRateLimited), (200, UpstreamMalformed)]
)
def test_what_fails_is_an_error(status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        told(status, b"<html>")


@pytest.mark.parametrize("name", ["", "req_1", "0b6f8e8a-3f1c-4d5e"])
def test_other_names_are_no_generations(name: str) -> None:
    assert OpenRouterAdapter(endpoint()).afterwards(name) is None


def test_a_strange_name_stays_in_its_place() -> None:
    errand = OpenRouterAdapter(endpoint()).afterwards("gen-1&id=x/../y")
    assert errand is not None
    assert next(errand).url.endswith("/generation?id=gen-1%26id%3Dx%2F..%2Fy")
