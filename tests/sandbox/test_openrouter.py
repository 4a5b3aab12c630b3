"""The simulated OpenRouter: what it insists on, and what it says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from xrouter.sandbox.kit import Charge, SandboxRequest, SandboxResponse
from xrouter.sandbox.openrouter import OpenRouterSimulator
from xrouter.sandbox.openrouter_chat import PROCESSING

MODEL = "openai/gpt-4o-mini"
KEY = "sk-or-v1-sandbox"
MANAGEMENT = "sk-or-v1-sandbox-management"
CLAUDE = "anthropic/claude-sonnet-4.5"
FREE = "deepseek/deepseek-chat-v3.1:free"
STRICT = "cognitivecomputations/dolphin-mixtral-8x22b"


class Caller:
    def __init__(self) -> None:
        self.bill: list[Charge] = []
        self.simulator = OpenRouterSimulator(self.bill)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        key: str | None = KEY,
        query: dict[str, str] | None = None,
    ) -> SandboxResponse:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        request = SandboxRequest(method, "/api/v1" + path, query or {}, headers, raw, "http://x")
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
    spent = read(await caller.call("GET", "/credits", key=MANAGEMENT))["data"]["total_usage"]
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
        {"provider": {"order": "openai"}},
        {"provider": {"allow_fallbacks": "no"}},
        {"provider": {"data_collection": "maybe"}},
        {"provider": {"quantizations": ["int3"]}},
        {"provider": {"sort": "beauty"}},
        {"provider": {"sort": {"by": "price", "partition": "x"}}},
        {"provider": {"max_price": {"prompt": "cheap"}}},
        {"provider": {"max_price": {"beauty": 1}}},
        {"provider": {"preferred_max_latency": {"p1": 1}}},
        {"plugins": [{"enabled": True}]},
        {"route": "other"},
        {"session_id": "x" * 257},
        {"reasoning": {"effort": "huge"}},
        {"reasoning": {"effort": "low", "max_tokens": 5}},
        {"reasoning": {"max_tokens": -1}},
        {"reasoning_effort": "huge"},
        {"verbosity": "loud"},
        {"top_k": "1"},
        {"model": None},
        {"model": "bytedance-seed/seedream-4.5"},
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


async def test_errors_have_their_type(caller: Caller) -> None:
    long = await caller.chat("word " * 130_000)
    assert (long.status, kind_of(long)) == (400, "context_length_exceeded")
    assert kind_of(await caller.chat(temperature=3)) == "invalid_request"
    assert kind_of(caller.simulator.failure(503)) == "provider_overloaded"
    busy = await caller.chat(key="sk-or-v1-sandbox-busy")
    assert (busy.status, busy.headers["retry-after"]) == (402, "2")
    assert kind_of(busy) == "payment_required"


def kind_of(response: SandboxResponse) -> Any:
    return read(response)["error"]["metadata"]["error_type"]


@pytest.mark.parametrize(
    "model, wanted, excluded",
    [
        (MODEL, {"only": ["azure"]}, "allowed_providers"),
        (MODEL, {"ignore": ["openai"]}, "allowed_providers"),
        (MODEL, {"order": ["azure"], "allow_fallbacks": False}, "allowed_providers"),
        (FREE, {"data_collection": "deny"}, "data_policy:training"),
        (FREE, {"quantizations": ["bf16"]}, "quantization"),
        (FREE, {"require_parameters": True}, "require_parameters"),
        (MODEL, {"max_price": {"prompt": 0.1}}, "max_price"),
        (MODEL, {"max_price": {"completion": "0.5"}}, "max_price"),
        (MODEL, {"order": ["azure"]}, None),
        (MODEL, {"only": ["openai"], "max_price": {"prompt": 0.15}, "sort": "price"}, None),
        (FREE, {"only": ["deepinfra"], "quantizations": ["fp8"]}, None),
        (FREE, {"only": ["deepinfra/fp8"]}, None),
    ],
)
async def test_preferences(
    caller: Caller, model: str, wanted: dict[str, Any], excluded: str | None
) -> None:
    response = await caller.chat(model=model, provider=wanted, seed=1)
    assert response.status == (404 if excluded else 200)
    if excluded:
        told = read(response)["error"]["availability"]
        assert told["excluded_by"] == [excluded]


async def test_another_model_serves_what_the_first_may_not(caller: Caller) -> None:
    wanted = {"ignore": ["openai"]}
    assert read(await caller.chat(models=[CLAUDE], provider=wanted))["model"] == CLAUDE


def called(name: str) -> list[dict[str, Any]]:
    call = {"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": name, "content": "1"},
    ]


USER = {"role": "user", "content": "And?"}


@pytest.mark.parametrize(
    "messages, code",
    [
        (called("D681PevKs"), None),
        ([*called("D681PevKs"), {"role": "assistant", "content": "Done."}, USER], None),
        (called("call_1"), "3280"),
        ([*called("D681PevKs"), USER], "3230"),
    ],
)
async def test_a_strict_party_behind(
    caller: Caller, messages: list[dict[str, Any]], code: str | None
) -> None:
    response = await caller.chat(model=STRICT, messages=messages)
    assert (await caller.chat(messages=messages)).status == 200
    if code is None:
        assert response.status == 200
        return
    told = read(response)["error"]
    assert (response.status, told["message"]) == (400, "Provider returned error")
    assert msgspec.json.decode(told["metadata"]["raw"])["code"] == code


async def test_what_a_model_lacks_and_n_go_without_a_word(caller: Caller) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    told = read(await caller.chat("call f", model=FREE, tools=[tool], tool_choice="required", n=3))
    (choice,) = told["choices"]
    assert "tool_calls" not in choice["message"]


@pytest.mark.parametrize(
    "more, shown",
    [
        ({"reasoning": {"effort": "low"}}, True),
        ({"reasoning": {"max_tokens": 2000}}, True),
        ({"reasoning_effort": "low"}, True),
        ({"include_reasoning": True}, True),
        ({"reasoning": {"effort": "low", "exclude": True}}, False),
    ],
)
async def test_thoughts(caller: Caller, more: dict[str, Any], shown: bool) -> None:
    told = read(await caller.chat(model=CLAUDE, **more))
    message = told["choices"][0]["message"]
    assert told["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    assert ("reasoning" in message) is ("reasoning_details" in message) is shown
    streamed = await caller.chat(model=CLAUDE, stream=True, **more)
    assert streamed.frames is not None
    assert (b"reasoning_details" in b"".join(streamed.frames)) is shown
    assert streamed.on_close is not None
    streamed.on_close(len(streamed.frames))
    assert caller.bill[0].tokens_out == caller.bill[1].tokens_out


@pytest.mark.parametrize(
    "model, more",
    [
        (CLAUDE, {"reasoning": {"enabled": False}}),
        (CLAUDE, {"reasoning": {"effort": "none"}}),
        (CLAUDE, {}),
        (MODEL, {"reasoning": {"effort": "high"}}),
    ],
)
async def test_no_thoughts(caller: Caller, model: str, more: dict[str, Any]) -> None:
    told = read(await caller.chat(model=model, **more))
    assert told["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0
    assert "reasoning" not in told["choices"][0]["message"]


async def test_a_failure_in_the_middle_of_a_stream(caller: Caller) -> None:
    response = await caller.chat("[[fail:429]]", stream=True)
    assert response.frames is not None
    last = msgspec.json.decode(response.frames[-1].removeprefix(b"data: "))
    assert last["error"]["code"] == 429
    assert last["choices"][0]["finish_reason"] == "error"


async def test_pages_and_filters_of_the_list(caller: Caller) -> None:
    async def ids(**query: str) -> list[str]:
        told = read(await caller.call("GET", "/models", key=None, query=query))
        return [entry["id"] for entry in told["data"]]

    assert await ids() == [MODEL, CLAUDE, FREE, STRICT]
    assert len(await ids(output_modalities="all")) == 7
    assert await ids(output_modalities="image") == ["bytedance-seed/seedream-4.5"]
    assert await ids(supported_parameters="tools,reasoning") == [CLAUDE]
    assert await ids(offset="1", limit="1") == [CLAUDE]
    first = read(await caller.call("GET", "/models", query={"limit": "1"}))
    assert first["links"]["next"] == "/api/v1/models?limit=1&offset=1"
    for query in ({"limit": "0"}, {"limit": "1001"}, {"offset": "x"}):
        assert (await caller.call("GET", "/models", query=query)).status == 400


async def test_who_a_key_is(caller: Caller) -> None:
    for path in ("/key", "/auth/key"):
        assert read(await caller.call("GET", path))["data"]["is_management_key"] is False
    assert (await caller.call("GET", "/credits")).status == 403
    assert (await caller.chat(key=MANAGEMENT)).status == 403
    assert (await caller.call("DELETE", "/key")).status == 405
    assert (await caller.call("GET", "/chat/completions")).status == 405


async def looked_up(caller: Caller, name: str, **more: Any) -> Any:
    return await caller.call("GET", "/generation", query={"id": name}, **more)


async def test_a_generation_can_be_looked_up_when_it_is_written(caller: Caller) -> None:
    told = read(await caller.chat())
    assert (await looked_up(caller, told["id"])).status == 404
    found = read(await looked_up(caller, told["id"]))["data"]
    assert found["total_cost"] == told["usage"]["cost"]
    assert found["native_tokens_prompt"] == told["usage"]["prompt_tokens"]
    assert (found["streamed"], found["cancelled"]) == (False, False)
    assert (await looked_up(caller, "gen-x")).status == 404
    assert (await looked_up(caller, "")).status == 400


async def test_a_generation_is_told_to_who_has_asked_for_it(caller: Caller) -> None:
    told = read(await caller.chat())
    for _ in range(2):
        assert (await looked_up(caller, told["id"], key=MANAGEMENT)).status == 404


async def test_a_cancelled_generation_costs_what_was_said(caller: Caller) -> None:
    response = await caller.chat(stream=True)
    name = response.headers["x-generation-id"]
    assert (await looked_up(caller, name)).status == 404
    assert response.on_close is not None
    response.on_close(3)
    (charge,) = caller.bill
    assert (await looked_up(caller, name)).status == 404
    found = read(await looked_up(caller, name))["data"]
    assert (found["streamed"], found["cancelled"]) == (True, True)
    assert found["native_tokens_completion"] == charge.tokens_out < 10
    assert found["total_cost"] == pytest.approx(charge.tokens_in * 15e-8 + charge.tokens_out * 6e-7)


async def test_vectors(caller: Caller) -> None:
    body = {"model": "openai/text-embedding-3-small", "input": ["a", "b"], "dimensions": 4}
    told = read(await caller.call("POST", "/embeddings", body))
    assert [len(one["embedding"]) for one in told["data"]] == [4, 4]
    assert told["usage"]["cost"] > 0
    wrong = await caller.call("POST", "/embeddings", body | {"model": MODEL})
    assert read(wrong)["error"]["availability"]["code"] == "wrong_endpoint"
    assert (await caller.call("POST", "/embeddings", body | {"input": None})).status == 400


async def test_pictures(caller: Caller) -> None:
    body = {"model": "bytedance-seed/seedream-4.5", "prompt": "a panda", "n": 2}
    told = read(await caller.call("POST", "/images", body))
    assert len(told["data"]) == 2
    assert told["usage"]["cost"] > 0
    for wrong in ({"n": 11}, {"n": True}, {"prompt": ""}, {"model": MODEL}):
        assert (await caller.call("POST", "/images", body | wrong)).status == 400


async def test_speech(caller: Caller) -> None:
    body = {"model": "openai/gpt-4o-mini-tts", "input": "Hi", "voice": "alloy"}
    response = await caller.call("POST", "/audio/speech", body)
    assert response.headers["content-type"].startswith("audio/pcm")
    assert response.headers["x-generation-id"].startswith("gen-tts-")
    assert caller.bill[0].operation == "speech"
    mp3 = await caller.call("POST", "/audio/speech", body | {"response_format": "mp3"})
    assert mp3.headers["content-type"] == "audio/mpeg"
    for wrong in ({"response_format": "wav"}, {"voice": None}, {"input": ""}, {"model": MODEL}):
        assert (await caller.call("POST", "/audio/speech", body | wrong)).status == 400


ODD: list[Any] = [
    None, True, 0, -1, 1.5, "", "x", "1.2.3", [], [1], [None], ["a"], [{}], {}, {"a": 1},
    {"by": []}, {"effort": []}, {"prompt": "."}, {"prompt": [1]},
]  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "f"}}]
BODIES: dict[str, dict[str, Any]] = {
    "/chat/completions": {
        "model": CLAUDE, "messages": [{"role": "user", "content": "Hi"}], "tools": TOOLS,
        "models": [MODEL], "reasoning": {}, "reasoning_effort": "low", "plugins": [], "n": 1,
        "usage": {}, "stream": True, "stream_options": {}, "tool_choice": "auto", "stop": "x",
        "response_format": {"type": "text"}, "logprobs": True, "top_logprobs": 1,
    },
    "/embeddings": {"model": "openai/text-embedding-3-small", "input": "a", "dimensions": 2},
    "/images": {"model": "bytedance-seed/seedream-4.5", "prompt": "a", "n": 1},
    "/audio/speech": {
        "model": "openai/gpt-4o-mini-tts", "input": "a", "voice": "b", "response_format": "mp3",
    },
}  # fmt: skip
PREFERENCES = (
    "order", "only", "ignore", "allow_fallbacks", "require_parameters", "data_collection", "zdr",
    "quantizations", "sort", "max_price", "preferred_max_latency", "options",
)  # fmt: skip


@pytest.mark.parametrize("path", BODIES)
async def test_odd_values_are_answered(caller: Caller, path: str) -> None:
    changes = [{name: odd} for name in BODIES[path] for odd in ODD]
    changes += [{"provider": {name: odd}} for name in PREFERENCES for odd in ODD]
    changes += [{"provider": odd} for odd in ODD]
    for change in changes:
        response = await caller.call("POST", path, BODIES[path] | change)
        assert response.status in (200, 400, 404), change
