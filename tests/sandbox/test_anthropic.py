"""The simulated Anthropic: what it insists on, and the order of what it says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from xrouter.sandbox.anthropic import AnthropicSimulator
from xrouter.sandbox.kit import Charge, SandboxRequest, SandboxResponse

MODEL = "claude-sonnet-5-5"
TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"}
TEXT = {"type": "text", "text": "Hi"}


class Caller:
    def __init__(self) -> None:
        self.bill: list[Charge] = []
        self.simulator = AnthropicSimulator(self.bill)

    async def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> SandboxResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        usual = {"x-api-key": "sk-ant-sandbox", "anthropic-version": "2023-06-01"}
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        sent = {name: value for name, value in (usual | named).items() if value}
        return await self.simulator.handle(
            SandboxRequest(method, "/v1" + path, {}, sent, raw, "http://x")
        )

    async def ask(self, text: str = "Hi", **more: Any) -> SandboxResponse:
        named = more.keys() & {"x_api_key", "anthropic_version"}
        headers = {name: more.pop(name) for name in named}
        body = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": text}]}
        return await self.call("POST", "/messages", body | more, **headers)


@pytest.fixture
def caller() -> Caller:
    return Caller()


def read(response: SandboxResponse) -> Any:
    return msgspec.json.decode(response.body)


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def told(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


@pytest.mark.parametrize(
    "more,message",
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"unheard_of": 1}, "Extra inputs are not permitted"),
        ({"temperature": 1.1}, "temperature"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"stop_sequences": [" "]}, "non-whitespace"),
        ({"tool_choice": {"type": "auto"}}, "while providing tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "not found"),
        ({"tools": [TOOL], "tool_choice": {"type": "required"}}, "tool_choice"),
        ({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}, "name"),
        ({"tools": [{"name": "f", "input_schema": {}}]}, "input_schema"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "max_tokens"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "system", "content": "x"}]}, "Unexpected role"),
        ({"messages": [user()]}, "non-empty content"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty"),
        ({"messages": [user(CALL)]}, "Input tag"),
        ({"messages": [user(RESULT)]}, "unexpected `tool_use_id`"),
        ({"messages": [user(TEXT), told(CALL), user(TEXT)]}, "without `tool_result`"),
        ({"messages": [user(TEXT), told(CALL)]}, "without `tool_result`"),
        ({"messages": [user(TEXT), told(CALL), user(TEXT, RESULT)]}, "must come first"),
        ({"messages": [user(TEXT), told(CALL | {"id": "a.b"})]}, "id"),
        ({"messages": [user(TEXT), told({"type": "thinking", "thinking": "x"})]}, "signature"),
        ({"messages": [user(TEXT), told({"type": "text", "text": "x "})]}, "trailing whitespace"),
        ({"messages": [user({"type": "image"})]}, "source"),
    ],
)
async def test_what_is_wrong_is_refused(caller: Caller, more: dict[str, Any], message: str) -> None:
    response = await caller.ask(**more)
    assert response.status == 400
    told_error = read(response)
    assert (told_error["type"], told_error["error"]["type"]) == ("error", "invalid_request_error")
    assert message in told_error["error"]["message"]
    assert caller.bill == []


async def test_who_may_ask(caller: Caller) -> None:
    assert (await caller.ask(x_api_key="")).status == 401
    assert (await caller.ask(x_api_key="sk-other")).status == 401
    assert (await caller.ask(anthropic_version="")).status == 400
    assert (await caller.ask(anthropic_version="2026-10-21", temperature=0.5)).status == 400
    assert (await caller.ask(anthropic_version="2026-10-21")).status == 200
    poor = await caller.ask(x_api_key="sk-ant-sandbox-empty")
    assert "credit balance" in read(poor)["error"]["message"]
    assert (await caller.ask(model="claude-none")).status == 404
    assert (await caller.call("GET", "/nowhere")).status == 404
    for body in (b"{", b"[]"):
        assert (await caller.call("POST", "/messages", body)).status == 400


async def test_a_prompt_can_be_too_long(caller: Caller) -> None:
    response = await caller.ask("word " * 3000, model="claude-small")
    assert read(response)["error"]["message"].startswith("prompt is too long: ")


async def test_an_answer_and_its_charge(caller: Caller) -> None:
    answer = read(await caller.ask("[[words:7]] [[cached:2]]"))
    assert (answer["stop_reason"], len(answer["content"][0]["text"].split())) == ("end_turn", 7)
    (charge,) = caller.bill
    usage = answer["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == charge.tokens_in
    assert usage["output_tokens"] == charge.tokens_out
    counted = await caller.call(
        "POST",
        "/messages/count_tokens",
        {"model": MODEL, "messages": [{"role": "user", "content": "[[words:7]] [[cached:2]]"}]},
    )
    assert read(counted) == {"input_tokens": charge.tokens_in}


async def test_events_come_in_their_order(caller: Caller) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    more = {"thinking": thinking, "tools": [TOOL], "max_tokens": 2000, "stream": True}
    response = await caller.ask("Call f [[think:3]]", **more)
    assert response.frames is not None
    lines = [frame.decode().splitlines() for frame in response.frames]
    kinds = [line[0].removeprefix("event: ") for line in lines]
    data = [msgspec.json.decode(line[1].removeprefix("data: ")) for line in lines]
    assert [each["type"] for each in data] == kinds
    assert kinds[:3] == ["message_start", "ping", "content_block_start"]
    assert kinds[-2:] == ["message_delta", "message_stop"]
    starts = [each for each in data if each["type"] == "content_block_start"]
    assert [each["index"] for each in starts] == [0, 1]
    assert [each["content_block"]["type"] for each in starts] == ["thinking", "tool_use"]
    assert data[-2]["delta"]["stop_reason"] == "tool_use"
    assert response.on_close is not None
    response.on_close(len(response.frames))
    assert caller.bill[0].tokens_out == data[-2]["usage"]["output_tokens"]


async def test_ends(caller: Caller) -> None:
    stopped = read(await caller.ask("one STOP two", stop_sequences=["STOP"]))
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "STOP")
    short = read(await caller.ask("[[words:50]]", max_tokens=5))
    assert (short["stop_reason"], short["usage"]["output_tokens"]) == ("max_tokens", 5)
    assert read(await caller.ask("[[refuse]]"))["stop_reason"] == "refusal"
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    config = {"format": {"type": "json_schema", "schema": schema}}
    formed = read(await caller.ask(output_config=config))
    assert "a" in msgspec.json.decode(formed["content"][0]["text"])
    assert caller.simulator.failure(529).status == 529
    assert b"overloaded_error" in caller.simulator.error_frame()
