"""The simulated Mistral over raw HTTP: its closed schema, its order of roles, its streams."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import struct
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from tests.sandbox.spoilt import JSON, spoilt

from xrouter.sandbox.kit import Charge, SandboxRequest
from xrouter.sandbox.mistral.simulator import KEY_PREFIX, MistralSimulator

CHAT = "/mistral/v1/chat/completions"
KEY = {"authorization": "Bearer mistral-sandbox"}
LARGE, SMALL, OLD = "mistral-large-latest", "mistral-medium-2508", "open-mistral-nemo"
USER = {"role": "user", "content": "Hi"}
FUNCTION = {"name": "get_time", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {"id": "D681PevKs", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "D681PevKs", "name": "get_time", "content": "12:00"}


def asked(text: str = "Привет, мир", model: str = LARGE, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]} | more


def turns(*messages: dict[str, Any], model: str = LARGE) -> dict[str, Any]:
    return {"model": model, "messages": list(messages)}


async def post(
    http: aiohttp.ClientSession, body: Any, path: str = CHAT, key: dict[str, str] = KEY
) -> tuple[int, Any]:
    async with http.post(path, json=body, headers=key) as reply:
        return reply.status, await reply.json()


async def answer_of(http: aiohttp.ClientSession, body: Any, path: str = CHAT) -> Any:
    status, answer = await post(http, body, path)
    assert status == 200, answer
    return answer


async def streamed(http: aiohttp.ClientSession, body: dict[str, Any]) -> list[dict[str, Any]]:
    async with http.post(CHAT, json=body | {"stream": True}, headers=KEY) as reply:
        assert reply.status == 200, await reply.text()
        assert reply.headers["content-type"] == "text/event-stream"
        text = await reply.text()
    *frames, done, nothing = text.split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


async def test_answer(http: aiohttp.ClientSession) -> None:
    answer = await answer_of(http, asked("Привет [[cached:1]]"))
    (choice,) = answer["choices"]
    assert answer["object"] == "chat.completion"
    assert answer["model"] == LARGE
    assert choice["message"]["content"] == "This is mistral-large-4-0. You said: Привет"
    assert choice["message"]["tool_calls"] is None
    assert choice["finish_reason"] == "stop"
    usage = answer["usage"]
    assert usage["num_cached_tokens"] == 1
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert "system_fingerprint" not in answer


async def test_headers(http: aiohttp.ClientSession) -> None:
    async with http.post(CHAT, json=asked(), headers=KEY) as reply:
        headers = reply.headers
    assert headers["mistral-correlation-id"] == headers["x-kong-request-id"]
    assert int(headers["x-ratelimit-limit-req-minute"]) > 0
    assert int(headers["x-ratelimit-tokens-query-cost"]) > 0
    assert "retry-after" not in headers


async def test_stream_ends_with_reason_and_usage_in_one(http: aiohttp.ClientSession) -> None:
    whole = await answer_of(http, asked())
    first, *rest, last = await streamed(http, asked())
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in rest)
    assert text == whole["choices"][0]["message"]["content"]
    assert all("usage" not in chunk for chunk in rest)
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["usage"] == whole["usage"]


async def test_alternatives_of_a_stream(http: aiohttp.ClientSession) -> None:
    chunks = await streamed(http, asked(n=2))
    assert {chunk["choices"][0]["index"] for chunk in chunks} == {0, 1}
    assert [bool(chunk.get("usage")) for chunk in chunks].count(True) == 1
    assert "usage" in chunks[-1]


async def test_a_call_comes_whole(http: aiohttp.ClientSession) -> None:
    body = asked("What says get_time?", tools=[TOOL])
    message = (await answer_of(http, body))["choices"][0]["message"]
    assert message["content"] == ""
    assert re.fullmatch("[a-zA-Z0-9]{9}", message["tool_calls"][0]["id"])
    *_, last = await streamed(http, body)
    (call,) = last["choices"][0]["delta"]["tool_calls"]
    assert call["function"] == {"name": "get_time", "arguments": "{}"}
    assert call["index"] == 0
    assert last["choices"][0]["finish_reason"] == "tool_calls"
    odd = await answer_of(http, asked("get_time [[odd_call]]", tools=[TOOL]))
    (call,) = odd["choices"][0]["message"]["tool_calls"]
    assert (call["id"], call["function"]["arguments"]) == ("null", {})


@pytest.mark.parametrize(
    "choice, called",
    [
        ("none", False),
        ("auto", False),
        ("any", True),
        ("required", True),
        ({"type": "function", "function": {"name": "get_time"}}, True),
    ],
)
async def test_tool_choice(http: aiohttp.ClientSession, choice: Any, called: bool) -> None:
    answer = await answer_of(http, asked("Hi", tools=[TOOL], tool_choice=choice))
    assert bool(answer["choices"][0]["message"]["tool_calls"]) is called


async def test_results_and_prefixes_are_heard(http: aiohttp.ClientSession) -> None:
    answer = await answer_of(http, turns(USER, CALLED, RESULT))
    assert "The tool said: 12:00" in answer["choices"][0]["message"]["content"]
    begun = {"role": "assistant", "content": "Well: ", "prefix": True}
    answer = await answer_of(http, turns(USER, begun))
    assert answer["choices"][0]["message"]["content"].startswith("Well: This is")


@pytest.mark.parametrize(
    "model, more",
    [(LARGE, {"reasoning_effort": "high"}), ("magistral-medium-2509", {})],
)
async def test_thinking(http: aiohttp.ClientSession, model: str, more: dict[str, Any]) -> None:
    body = asked("Hi [[think:3]] [[signed]]", model, **more)
    thinking, text = (await answer_of(http, body))["choices"][0]["message"]["content"]
    assert thinking["type"] == "thinking"
    assert thinking["closed"] is True
    assert thinking["signature"]
    assert len(thinking["thinking"][0]["text"].split()) == 3
    assert text["type"] == "text"
    parts = [chunk["choices"][0]["delta"]["content"] for chunk in await streamed(http, body)]
    lists = [part[0] for part in parts if isinstance(part, list)]
    assert [chunk.get("closed", False) for chunk in lists] == [False, False, False, True]


async def test_thinking_can_be_off(http: aiohttp.ClientSession) -> None:
    for body in (
        asked("Hi", reasoning_effort="none"),
        asked("Hi", "magistral-medium-2509", prompt_mode=None),
    ):
        answer = await answer_of(http, body)
        assert isinstance(answer["choices"][0]["message"]["content"], str)


@pytest.mark.parametrize("mark, whole, stream", [
    ("model_length", "model_length", "length"), ("error", "error", "error"),
])  # fmt: skip
async def test_finishes(http: aiohttp.ClientSession, mark: str, whole: str, stream: str) -> None:
    answer = await answer_of(http, asked(f"Hi [[{mark}]]"))
    assert answer["choices"][0]["finish_reason"] == whole
    chunks = await streamed(http, asked(f"Hi [[{mark}]]"))
    assert chunks[-1]["choices"][0]["finish_reason"] == stream


async def test_references_and_formats(http: aiohttp.ClientSession) -> None:
    answer = await answer_of(http, asked("Hi [[reference]]"))
    assert answer["choices"][0]["message"]["content"][1]["type"] == "reference"
    schema = {"type": "object", "properties": {"a": {"const": 5}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    answer = await answer_of(http, asked(response_format=wanted))
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"a": 5}
    answer = await answer_of(http, asked(response_format={"type": "json_object"}, logprobs=True))
    assert json.loads(answer["choices"][0]["message"]["content"])["said"]
    assert answer["choices"][0]["logprobs"]["content"]


EXTRA = ("extra_forbidden", "Extra inputs are not permitted")


@pytest.mark.parametrize(
    "name, value",
    [
        ("stream_options", {"include_usage": True}),
        ("max_completion_tokens", 5),
        ("seed", 1),
        ("user", "u"),
        ("store", False),
        ("logit_bias", {}),
        ("modalities", ["text"]),
        ("functions", []),
        ("verbosity", "low"),
    ],
)
async def test_the_schema_is_closed(http: aiohttp.ClientSession, name: str, value: Any) -> None:
    status, error = await post(http, asked(**{name: value}))
    assert status == 422
    assert error["object"] == "error"
    assert error["type"] == "invalid_request_error"
    (detail,) = error["message"]["detail"]
    assert (detail["type"], detail["msg"]) == EXTRA
    assert detail["loc"] == ["body", name]
    assert detail["input"] == value


@pytest.mark.parametrize(
    "message, loc",
    [
        (USER | {"name": "bob"}, ["user", "name"]),
        ({"role": "assistant", "content": "a", "reasoning_content": "b"},
         ["assistant", "reasoning_content"]),
        ({"role": "assistant", "content": "a", "refusal": None}, ["assistant", "refusal"]),
        ({"role": "system", "content": "a", "cache_control": {}}, ["system", "cache_control"]),
        ({"role": "developer", "content": "a"}, []),
        ({"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]},
         ["user", "content", 0, "text", "x"]),
        ({"role": "user", "content": [{"type": "thinking", "thinking": []}]},
         ["user", "content", 0]),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "a"}}]},
         ["user", "content", 0, "input_audio", "input_audio"]),
        (CALLED | {"tool_calls": [CALL | {"extra_content": {}}]},
         ["assistant", "tool_calls", 0, "extra_content"]),
    ],
)  # fmt: skip
async def test_messages_are_closed(
    http: aiohttp.ClientSession, message: dict[str, Any], loc: list[Any]
) -> None:
    status, error = await post(http, turns(message, USER))
    assert status == 422
    assert error["message"]["detail"][0]["loc"] == ["body", "messages", 0, *loc]


@pytest.mark.parametrize(
    "more, loc",
    [
        ({"temperature": 2}, ["temperature"]),
        ({"temperature": "hot"}, ["temperature"]),
        ({"top_p": 1.5}, ["top_p"]),
        ({"max_tokens": 1.5}, ["max_tokens"]),
        ({"n": 0}, ["n"]),
        ({"stop": [1]}, ["stop", 0]),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]},
         ["tools", 0, "function", "parameters"]),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, ["tools", 0, "type"]),
        ({"tool_choice": "some"}, ["tool_choice"]),
        ({"response_format": {"type": "json_schema"}}, ["response_format", "json_schema"]),
        ({"prediction": {"type": "content", "content": []}}, ["prediction", "content"]),
        ({"service_tier": "flex"}, ["service_tier"]),
        ({"prompt_cache_key": "ключ"}, ["prompt_cache_key"]),
        ({"reasoning_effort": "x"}, ["reasoning_effort"]),
        ({"messages": []}, ["messages"]),
    ],
)  # fmt: skip
async def test_values_are_checked(
    http: aiohttp.ClientSession, more: dict[str, Any], loc: list[Any]
) -> None:
    status, error = await post(http, asked() | more)
    assert status == 422
    assert ["body", *loc] in [detail["loc"] for detail in error["message"]["detail"]]


SYSTEM = {"role": "system", "content": "s"}
SAID = {"role": "assistant", "content": "a"}
ORDER = ("invalid_request_message_order", "3230")
PLAIN = ("invalid_request_error", None)
CALLS = ("invalid_function_call", "3280")


@pytest.mark.parametrize(
    "messages, sign, told",
    [
        ([USER, CALLED, RESULT, USER], ORDER, "Unexpected role 'user' after role 'tool'"),
        ([USER, RESULT], ORDER, "Unexpected role 'tool' after role 'user'"),
        ([USER, CALLED, RESULT, SYSTEM, USER], ORDER, "Unexpected role 'system' after role 'tool'"),
        ([USER, SAID, SAID, USER], ORDER, "Unexpected role 'assistant' after role 'assistant'"),
        ([USER, SAID], ORDER, "Expected last role User or Tool"),
        ([SYSTEM], ORDER, "but got system"),
        ([USER, SAID | {"prefix": True}, USER], ORDER, "Only the last message"),
        ([USER, CALLED, USER], CALLS, "Not the same number"),
        ([USER, CALLED], CALLS, "Not the same number"),
        ([USER, CALLED, RESULT, RESULT], CALLS, "Not the same number"),
        ([USER, SAID, RESULT], CALLS, "Not the same number"),
        (
            [USER, CALLED | {"tool_calls": [CALL | {"id": "turn1_0"}]}, RESULT],
            CALLS,
            "Tool call id was turn1_0 but must be a-z, A-Z, 0-9, with a length of 9.",
        ),
        ([USER, CALLED, RESULT | {"tool_call_id": "call_12345"}], CALLS, "Tool call id was"),
        ([USER, {"role": "assistant", "content": ""}, USER], PLAIN, "either content or tool_calls"),
    ],
)
async def test_order(
    http: aiohttp.ClientSession,
    messages: list[dict[str, Any]],
    sign: tuple[str, str | None],
    told: str,
) -> None:
    status, error = await post(http, turns(*messages))
    assert status == 400
    assert told in error["message"]
    assert error["raw_status_code"] == 400
    assert (error["type"], error["code"]) == sign


async def test_older_models_take_less(http: aiohttp.ClientSession) -> None:
    reference = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {}}}
    named = {"type": "function", "function": {"name": "get_time"}}
    for more in (
        {"tools": [TOOL], "tool_choice": named},
        {"n": 2},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": reference}}]},
    ):
        status, error = await post(http, asked(model=OLD, **more))
        assert status == 400, error
        await answer_of(http, asked(**more))
    status, error = await post(http, turns(USER, SYSTEM, USER, model=OLD))
    assert error["code"] == "3230"


@pytest.mark.parametrize(
    "body",
    [
        asked(model=SMALL, reasoning_effort="low"),
        asked(prompt_mode="reasoning"),
        turns({"role": "user", "content": [{"type": "input_audio", "input_audio": "QQ=="}]}),
        turns(
            {"role": "user", "content": [{"type": "image_url", "image_url": "https://x"}]},
            model="magistral-medium-2509",
        ),
    ],
)
async def test_what_a_model_cannot_do(http: aiohttp.ClientSession, body: dict[str, Any]) -> None:
    status, error = await post(http, body)
    assert (status, error["type"]) == (400, "invalid_request_error")


async def test_other_errors(http: aiohttp.ClientSession) -> None:
    assert await post(http, asked(), key={}) == (401, {"detail": "Unauthorized"})
    wrong = {"authorization": "Bearer wrong"}
    assert await post(http, asked(), key=wrong) == (401, {"detail": "Unauthorized"})
    status, error = await post(http, asked(model="x"))
    assert (status, error["type"], error["code"]) == (400, "invalid_model", "1500")
    status, error = await post(http, asked(model="mistral-embed"))
    assert (status, error["code"]) == (400, "1500")
    status, error = await post(http, asked("word " * 9000, OLD))
    assert (status, error["code"]) == (400, "3051")
    assert "maximum context length" in error["message"]
    status, error = await post(http, asked("Hi [[capacity]]"))
    assert (status, error["code"]) == (429, "3505")
    assert (await post(http, asked(), "/mistral/v1/nothing"))[0] == 404
    assert (await post(http, [], CHAT))[0] == 422
    async with http.post(CHAT, data=b"{", headers=KEY) as reply:
        assert reply.status == 422
    async with http.get(CHAT, headers=KEY) as reply:
        assert reply.status == 405


async def test_a_key_without_allowance(http: aiohttp.ClientSession) -> None:
    key = {"authorization": "Bearer mistral-sandbox-no-allowance"}
    async with http.post(CHAT, json=asked(), headers=key) as reply:
        assert reply.status == 429
        assert reply.headers["x-ratelimit-limit-req-minute"] == "0"
        assert reply.headers["x-ratelimit-limit-tokens-minute"] == "0"
        assert (await reply.json())["code"] == "1300"
    async with http.get("/mistral/v1/models", headers=key) as reply:
        assert reply.status == 200


async def test_models(http: aiohttp.ClientSession) -> None:
    async with http.get("/mistral/v1/models", headers=KEY) as reply:
        entries = (await reply.json())["data"]
    by_id = {entry["id"]: entry for entry in entries}
    assert len(by_id) == len(entries)
    assert by_id[LARGE]["name"] == "mistral-large-4-0"
    assert by_id[LARGE]["aliases"] == ["mistral-large-4-0"]
    assert by_id[LARGE]["capabilities"]["reasoning"] is True
    assert by_id[OLD]["deprecation_replacement_model"] == "mistral-small-latest"
    async with http.get(f"/mistral/v1/models/{LARGE}", headers=KEY) as reply:
        assert await reply.json() == by_id[LARGE]
    async with http.get("/mistral/v1/models/x", headers=KEY) as reply:
        assert reply.status == 400


async def test_embeddings(http: aiohttp.ClientSession) -> None:
    path = "/mistral/v1/embeddings"
    answer = await answer_of(http, {"model": "mistral-embed", "input": ["a", "b"]}, path)
    assert [len(item["embedding"]) for item in answer["data"]] == [1024, 1024]
    body = {"model": "codestral-embed", "input": "a", "output_dimension": 8}
    short = await answer_of(http, body, path)
    coded = await answer_of(http, body | {"encoding_format": "base64"}, path)
    raw = base64.b64decode(coded["data"][0]["embedding"])
    assert list(struct.unpack("<8f", raw)) == pytest.approx(short["data"][0]["embedding"])
    for wrong, status in (({"dimensions": 8}, 422), ({"user": "u"}, 422), ({"input": []}, 400)):
        assert (await post(http, body | wrong, path))[0] == status
    assert (await post(http, body | {"model": "mistral-embed"}, path))[0] == 400


async def test_moderations_and_transcriptions(http: aiohttp.ClientSession) -> None:
    body = {"model": "mistral-moderation-latest", "input": ["selfharm", "x"]}
    answer = await answer_of(http, body, "/mistral/v1/moderations")
    assert [result["categories"]["selfharm"] for result in answer["results"]] == [True, False]
    path = "/mistral/v1/audio/transcriptions"
    form = aiohttp.FormData({"model": "voxtral-mini-2602", "language": "ru"})
    form.add_field("file", b"heard", filename="a.wav", content_type="audio/wav")
    async with http.post(path, data=form, headers=KEY) as reply:
        heard = await reply.json()
        assert reply.status == 200, heard
    assert heard["text"] == "You said: heard"
    form = aiohttp.FormData({"model": "voxtral-mini-2602"}, default_to_multipart=True)
    async with http.post(path, data=form, headers=KEY) as reply:
        assert reply.status == 422
    assert (await post(http, body, path))[0] == 422


async def test_the_bill(http: aiohttp.ClientSession) -> None:
    await answer_of(http, asked("load [[words:50]]"))
    await streamed(http, asked("load [[words:50]]"))
    async with http.get("/_sandbox/bill") as reply:
        charges = (await reply.json())["charges"]
    assert [(c["model"], c["tokens_out"], c["streamed"]) for c in charges] == [
        ("mistral-large-4-0", 50, False),
        ("mistral-large-4-0", 50, True),
    ]


async def test_faults_speak_its_language(http: aiohttp.ClientSession) -> None:
    for status in (400, 401, 404, 422, 429, 500, 503):
        fault = {"provider": "mistral", "kind": "server_error", "status": status, "times": 1}
        async with http.post("/_sandbox/faults", json=fault) as reply:
            assert reply.status < 300
        found, error = await post(http, asked())
        assert found == status
        assert error.get("object") == "error" or "detail" in error


RICH: list[dict[str, Any]] = [
    {
        "model": LARGE,
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "be"}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]},
            CALLED,
            RESULT,
            {"role": "assistant", "content": [{"type": "thinking", "thinking": []}]},
            {"role": "user", "content": "get_time [[signed]] [[odd_call]]"},
        ],
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "get_time"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}},
        "prediction": {"type": "content", "content": "x"},
        "reasoning_effort": "low",
        "stop": ["x"],
        "n": 2,
        "logprobs": True,
        "stream": True,
    },
    {"model": LARGE, "messages": [USER], "response_format": {"type": "json_object"}},
    {"model": "codestral-embed", "input": ["a"], "output_dimension": 8},
    {"model": "mistral-moderation-latest", "input": ["a"]},
]
PATHS = ("/v1/chat/completions", "/v1/embeddings", "/v1/moderations", "/v1/audio/transcriptions")


@given(body=spoilt(RICH) | JSON)
@settings(deadline=None)
def test_strange_bodies_never_break_it(body: Any) -> None:
    bill: list[Charge] = []
    for path in PATHS:
        request = SandboxRequest(
            method="POST",
            path=path,
            query={},
            headers={"authorization": f"Bearer {KEY_PREFIX}"},
            body=json.dumps(body).encode(),
            origin="http://h",
        )
        response = asyncio.run(MistralSimulator(bill).handle(request))
        assert response.status < 500
        assert response.frames or json.loads(response.body)
