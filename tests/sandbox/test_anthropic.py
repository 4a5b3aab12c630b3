"""The simulated Anthropic: what it insists on, and the order of what it says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from xrouter.sandbox.anthropic import BODY_MAX, AnthropicSimulator
from xrouter.sandbox.kit import Charge, SandboxRequest, SandboxResponse

MODEL = "claude-haiku-4-5"
MODERN = "claude-opus-5-5"
TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"}
TEXT = {"type": "text", "text": "Hi"}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "sig"}
PICTURE = {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}
SVG = {"type": "base64", "media_type": "image/svg+xml", "data": "AAAA"}
FORM = {"type": "json_schema", "schema": {"type": "object", "properties": {}}}
BUDGET = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}
LOOP = [
    {"role": "user", "content": [TEXT]},
    {"role": "assistant", "content": [CALL]},
    {"role": "user", "content": [RESULT]},
]


class Caller:
    def __init__(self) -> None:
        self.bill: list[Charge] = []
        self.simulator = AnthropicSimulator(self.bill)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: dict[str, str] | None = None,
        **headers: str,
    ) -> SandboxResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        usual = {"x-api-key": "sk-ant-sandbox", "anthropic-version": "2023-06-01"}
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        sent = {name: value for name, value in (usual | named).items() if value}
        return await self.simulator.handle(
            SandboxRequest(method, "/v1" + path, query or {}, sent, raw, "http://x")
        )

    async def ask(self, text: str = "Hi", **more: Any) -> SandboxResponse:
        named = more.keys() & {"x_api_key", "anthropic_version", "authorization"}
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
        ({"max_tokens": 65_000}, "maximum allowed number of output tokens"),
        ({"temperature": 0.5, "top_p": 0.5}, "cannot both be specified"),
        ({"cache_control": {"type": "forever"}}, "ephemeral"),
        ({"stream": 1}, "stream"),
        ({"messages": [user(TEXT) | {"name": "x"}]}, "messages.0.name: Extra inputs"),
        ({"messages": [user(TEXT | {"detail": 1})]}, "text.detail: Extra inputs"),
        ({"messages": [user({"type": "text", "text": " "})]}, "non-whitespace"),
        ({"messages": [user({"type": "text"})]}, "text.text: Field required"),
        ({"messages": [user(PICTURE | {"source": {"type": "url"}})]}, "url: Field required"),
        ({"messages": [user(PICTURE | {"source": SVG})]}, "not a permitted type"),
        ({"messages": [user(TEXT), told(CALL), user(RESULT)]}, "must define tools"),
        ({"messages": [user(TEXT), told(CALL, CALL), user(RESULT)]}, "must be unique"),
        ({"messages": [user(TEXT), told(CALL), user(RESULT, RESULT)]}, "single result"),
        ({"messages": [user(TEXT), told(THOUGHT | {"signature": ""})]}, "Invalid `signature`"),
        ({"messages": [user(TEXT), told({"type": "redacted_thinking"})]}, "data: Field required"),
        ({"system": [PICTURE]}, "system"),
        ({"tools": [TOOL | {"parameters": {}}]}, "parameters: Extra inputs"),
        ({"tools": [TOOL, TOOL]}, "unique"),
        ({"tools": [TOOL | {"strict": True}]}, "additionalProperties"),
        ({"tools": [TOOL], "tool_choice": {"type": "auto", "name": "f"}}, "name: Extra inputs"),
        ({"output_config": {"effort": "huge"}}, "effort"),
        ({"output_config": {"format": {"type": "json_object"}}}, "json_schema"),
        ({"output_config": {"format": FORM}}, "additionalProperties"),
        ({"thinking": {"type": "adaptive"}}, "adaptive thinking is not supported"),
        ({"thinking": {"type": "sometimes"}}, "does not match"),
        (BUDGET | {"temperature": 0.5}, "may only be set to 1"),
        (BUDGET | {"top_p": 0.5}, "0.95"),
        (BUDGET | {"top_k": 5}, "top_k"),
        (BUDGET | {"tools": [TOOL], "tool_choice": {"type": "any"}}, "forces tool use"),
        (BUDGET | {"tools": [TOOL], "messages": LOOP}, "Expected `thinking`"),
    ],
)
async def test_what_is_wrong_is_refused(caller: Caller, more: dict[str, Any], message: str) -> None:
    response = await caller.ask(**more)
    assert response.status == 400
    told_error = read(response)
    assert (told_error["type"], told_error["error"]["type"]) == ("error", "invalid_request_error")
    assert message in told_error["error"]["message"]
    assert caller.bill == []


@pytest.mark.parametrize(
    "more,message",
    [
        ({"temperature": 0.5}, "`temperature` is deprecated"),
        (BUDGET, '"thinking.type.enabled" is not supported'),
        ({"messages": [user(TEXT), told(TEXT)]}, "assistant message prefill"),
    ],
)
async def test_newer_models_take_less(caller: Caller, more: dict[str, Any], message: str) -> None:
    assert (await caller.ask(**more)).status == 200
    response = await caller.ask(**more, model=MODERN)
    assert message in read(response)["error"]["message"]


async def test_newer_models_think_as_they_see_fit(caller: Caller) -> None:
    more: dict[str, Any] = {"thinking": {"type": "adaptive"}, "tools": [TOOL]}
    more["output_config"] = {"effort": "low"}
    answer = read(await caller.ask(model=MODERN, messages=LOOP, **more))
    assert [block["type"] for block in answer["content"]] == ["thinking", "text"]


async def test_neighbours_of_one_role_are_one_message(caller: Caller) -> None:
    messages = [user(TEXT), user(TEXT), told(CALL), user(RESULT), user(TEXT)]
    assert (await caller.ask(messages=messages, tools=[TOOL])).status == 200


async def test_who_may_ask(caller: Caller) -> None:
    assert (await caller.ask(x_api_key="")).status == 401
    assert (await caller.ask(x_api_key="sk-other")).status == 401
    assert (await caller.ask(x_api_key="", authorization="Bearer sk-ant-sandbox")).status == 200
    assert "required" in read(await caller.ask(anthropic_version=""))["error"]["message"]
    assert (await caller.ask(anthropic_version="2020-01-01")).status == 400
    assert (await caller.ask(anthropic_version="2026-10-21", temperature=0.5)).status == 400
    assert (await caller.ask(anthropic_version="2026-10-21")).status == 200
    poor = await caller.ask(x_api_key="sk-ant-sandbox-empty")
    assert "credit balance" in read(poor)["error"]["message"]
    assert (await caller.ask(model="claude-none")).status == 404
    assert (await caller.call("GET", "/nowhere")).status == 404
    for body in (b"{", b"[]"):
        assert (await caller.call("POST", "/messages", body)).status == 400
    large = await caller.call("POST", "/messages", b" " * (BODY_MAX + 1))
    assert (large.status, read(large)["error"]["type"]) == (413, "request_too_large")


async def test_errors_name_their_request(caller: Caller) -> None:
    for response in (await caller.ask(max_tokens=0), caller.simulator.failure(500)):
        told_error = read(response)
        assert told_error["request_id"].startswith("req_")
        assert response.headers["request-id"] == told_error["request_id"]
    assert b'"request_id":"req_' in caller.simulator.error_frame()


async def test_the_list_has_pages(caller: Caller) -> None:
    whole = read(await caller.call("GET", "/models"))
    names = [model["id"] for model in whole["data"]]
    assert (whole["has_more"], whole["first_id"], whole["last_id"]) == (False, names[0], names[-1])
    first = read(await caller.call("GET", "/models", query={"limit": "2"}))
    assert ([model["id"] for model in first["data"]], first["has_more"]) == (names[:2], True)
    after = {"limit": "1000", "after_id": first["last_id"]}
    rest = read(await caller.call("GET", "/models", query=after))
    assert ([model["id"] for model in rest["data"]], rest["has_more"]) == (names[2:], False)
    before = {"limit": "1", "before_id": names[2]}
    one = read(await caller.call("GET", "/models", query=before))
    assert ([model["id"] for model in one["data"]], one["has_more"]) == ([names[1]], True)
    for wrong in ({"limit": "0"}, {"limit": "x"}, {"after_id": "claude-none"}):
        assert (await caller.call("GET", "/models", query=wrong)).status == 400
    single = read(await caller.call("GET", f"/models/{MODERN}"))
    assert (single["type"], single["id"], single["lifecycle"]) == ("model", MODERN, "active")
    assert (await caller.call("GET", "/models/claude-none")).status == 404


async def test_counting_takes_what_is_counted(caller: Caller) -> None:
    body = {"model": MODEL, "messages": [user(TEXT)], **BUDGET}
    response = await caller.call("POST", "/messages/count_tokens", body)
    assert "max_tokens: Extra inputs" in read(response)["error"]["message"]
    del body["max_tokens"]
    assert (await caller.call("POST", "/messages/count_tokens", body)).status == 200


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
    closed = schema | {"additionalProperties": False}
    config = {"format": {"type": "json_schema", "schema": closed}}
    formed = read(await caller.ask(output_config=config))
    assert "a" in msgspec.json.decode(formed["content"][0]["text"])
    assert caller.simulator.failure(529).status == 529
    assert b"overloaded_error" in caller.simulator.error_frame()
