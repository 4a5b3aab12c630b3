"""The simulated OpenRouter: what it insists on, and what it says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from xrouter.sandbox.kit import Charge, SandboxRequest, SandboxResponse
from xrouter.sandbox.openrouter import PROCESSING, OpenRouterSimulator

MODEL = "openai/gpt-4o-mini"
KEY = "sk-or-v1-sandbox"


class Caller:
    def __init__(self) -> None:
        self.bill: list[Charge] = []
        self.simulator = OpenRouterSimulator(self.bill)

    async def call(
        self, method: str, path: str, body: Any = None, key: str | None = KEY
    ) -> SandboxResponse:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        request = SandboxRequest(method, "/api/v1" + path, {}, headers, raw, "http://x")
        return await self.simulator.handle(request)

    async def chat(self, text: str = "Hi", key: str = KEY, **more: Any) -> SandboxResponse:
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}]} | more
        return await self.call("POST", "/chat/completions", body, key)


@pytest.fixture
def caller() -> Caller:
    return Caller()


def read(response: SandboxResponse) -> Any:
    return msgspec.json.decode(response.body)


async def test_the_list_is_public_and_has_prices(caller: Caller) -> None:
    listed = read(await caller.call("GET", "/models", key=None))["data"]
    mini = next(entry for entry in listed if entry["id"] == MODEL)
    assert mini["pricing"]["prompt"] == "0.00000015"
    assert "tools" in mini["supported_parameters"]


@pytest.mark.parametrize("key", [None, "sk-other"])
async def test_everything_else_needs_a_key(caller: Caller, key: str | None) -> None:
    for method, path in (("GET", "/key"), ("GET", "/credits"), ("POST", "/chat/completions")):
        response = await caller.call(method, path, {}, key)
        assert (response.status, read(response)["error"]["code"]) == (401, 401)


async def test_an_answer_has_its_price(caller: Caller) -> None:
    response = await caller.chat("[[words:10]]")
    told = read(response)
    assert told["id"] == response.headers["x-generation-id"]
    assert told["provider"] == "OpenAI"
    (charge,) = caller.bill
    cost = charge.tokens_in * 15e-8 + charge.tokens_out * 6e-7
    assert told["usage"]["cost"] == pytest.approx(cost)
    spent = read(await caller.call("GET", "/credits"))["data"]["total_usage"]
    assert spent == pytest.approx(cost)


async def test_a_stream_begins_with_comments_and_ends_with_the_usage(caller: Caller) -> None:
    response = await caller.chat(stream=True)
    assert response.frames is not None
    assert response.frames[0] == PROCESSING
    assert response.frames[-1] == b"data: [DONE]\n\n"
    last = msgspec.json.decode(response.frames[-2].removeprefix(b"data: "))
    assert last["choices"] == []
    assert last["usage"]["cost"] > 0
    assert response.on_close is not None
    response.on_close(len(response.frames))
    assert caller.bill[0].tokens_out == last["usage"]["completion_tokens"]
    caller.bill.clear()
    response.on_close(0)
    assert caller.bill[0].tokens_out == 0


async def test_the_first_model_that_there_is_answers(caller: Caller) -> None:
    more: dict[str, Any] = {
        "model": "a/none",
        "models": ["b/none", "anthropic/claude-sonnet-4.5:nitro"],
    }
    assert read(await caller.chat(**more))["model"] == "anthropic/claude-sonnet-4.5"
    refused = await caller.chat(model="a/none")
    assert refused.status == 400
    assert read(refused)["error"]["availability"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    "more",
    [
        {"provider": "deepinfra"},
        {"provider": {"unheard_of": 1}},
        {"models": "a"},
        {"models": [1]},
        {"messages": None},
        {"temperature": 3},
        {"tools": [{}]},
    ],
)
async def test_what_is_wrong_is_a_400(caller: Caller, more: dict[str, Any]) -> None:
    response = await caller.chat(**more)
    assert (response.status, read(response)["error"]["code"]) == (400, 400)


async def test_failures(caller: Caller) -> None:
    failed = await caller.chat("[[fail:502]]")
    assert (failed.status, read(failed)["error"]["code"]) == (200, 502)
    moderated = await caller.chat("[[moderated]]")
    assert read(moderated)["error"]["metadata"]["reasons"]
    poor = await caller.chat(key="sk-or-v1-sandbox-empty")
    assert (poor.status, caller.bill) == (402, [])
    for body in (b"{", b"[]"):
        assert (await caller.call("POST", "/chat/completions", body)).status == 400
    assert (await caller.call("GET", "/nowhere")).status == 404
    assert b'"finish_reason":"error"' in caller.simulator.error_frame()
    assert caller.simulator.failure(429).status == 429
