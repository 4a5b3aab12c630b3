"""The simulated OpenAI over raw HTTP: envelopes, headers, answers and streams as on the wire."""

from __future__ import annotations

import base64
import json
import math
import re
import struct
from typing import Any

import aiohttp
import pytest

CHAT = "/openai/v1/chat/completions"
KEY = {"authorization": "Bearer sk-sandbox-1"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "enum": ["Казань", "Omsk"]},
                "days": {"type": "integer", "minimum": 3},
            },
            "required": ["city", "days"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time"}}
ARGUMENTS = {"city": "Казань", "days": 3}


def asked(text: str = "Привет 👋 мир", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]} | more


async def ask(http: aiohttp.ClientSession, body: Any, path: str = CHAT) -> dict[str, Any]:
    async with http.post(path, json=body, headers=KEY) as reply:
        answer: dict[str, Any] = await reply.json()
        assert reply.status == 200, answer
        return answer


async def streamed(http: aiohttp.ClientSession, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunks of a stream; the ending is checked here."""
    async with http.post(CHAT, json=body | {"stream": True}, headers=KEY) as reply:
        assert reply.status == 200, await reply.text()
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        text = await reply.text()
    *frames, done, nothing = text.split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames]
    assert len({(chunk["id"], chunk["created"], chunk["object"]) for chunk in chunks}) == 1
    return chunks


def said(answer: dict[str, Any], index: int = 0) -> str:
    content: str = answer["choices"][index]["message"]["content"]
    return content


async def test_answer_says_the_model_and_echoes(http: aiohttp.ClientSession) -> None:
    answer = await ask(http, asked())
    assert list(answer) == [
        *("id", "object", "created", "model", "service_tier", "system_fingerprint"),
        *("choices", "usage"),
    ]
    assert answer["id"].startswith("chatcmpl-")
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "gpt-4o-2024-08-06"
    assert answer["service_tier"] == "default"
    assert said(answer) == "This is gpt-4o. You said: Привет 👋 мир"
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "stop"
    assert "tool_calls" not in choice["message"]
    usage = answer["usage"]
    assert usage["prompt_tokens"] == 4
    assert usage["total_tokens"] == 4 + usage["completion_tokens"]


async def test_answer_is_the_same_each_time(http: aiohttp.ClientSession) -> None:
    one, two = await ask(http, asked()), await ask(http, asked())
    assert one["id"] != two["id"]
    assert (one["choices"], one["usage"]) == (two["choices"], two["usage"])


async def test_headers(http: aiohttp.ClientSession) -> None:
    async with http.post(CHAT, json=asked(), headers=KEY) as reply:
        headers = reply.headers
    assert headers["x-request-id"].startswith("req_")
    assert headers["openai-processing-ms"].isdigit()
    assert headers["openai-version"] == "2020-10-01"
    for kind in ("requests", "tokens"):
        limit = int(headers[f"x-ratelimit-limit-{kind}"])
        assert 0 < int(headers[f"x-ratelimit-remaining-{kind}"]) <= limit
        assert re.fullmatch(r"(\d+h)?(\d+m)?(\d+(\.\d+)?m?s)", headers[f"x-ratelimit-reset-{kind}"])


async def test_stream_order(http: aiohttp.ClientSession) -> None:
    whole = await ask(http, asked())
    chunks = await streamed(http, asked())
    deltas = [chunk["choices"][0] for chunk in chunks]
    assert deltas[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert all(list(delta["delta"]) == ["content"] for delta in deltas[1:-1])
    assert "".join(delta["delta"]["content"] for delta in deltas[1:-1]) == said(whole)
    assert deltas[-1]["delta"] == {}
    assert [delta["finish_reason"] for delta in deltas] == [None] * (len(deltas) - 1) + ["stop"]
    assert all("usage" not in chunk for chunk in chunks)
    assert all(chunk["obfuscation"] for chunk in chunks)


async def test_stream_usage_only_when_asked(http: aiohttp.ClientSession) -> None:
    options = {"include_usage": True, "include_obfuscation": False}
    whole = await ask(http, asked())
    *chunks, last = await streamed(http, asked(stream_options=options))
    assert all(chunk["usage"] is None for chunk in chunks)
    assert all("obfuscation" not in chunk for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"] == whole["usage"]


@pytest.mark.parametrize("stream", [False, True])
async def test_words_wished_are_counted_and_charged(
    http: aiohttp.ClientSession, stream: bool
) -> None:
    body = asked("load [[words:50]]")
    if stream:
        chunks = await streamed(http, body)
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    else:
        text = said(await ask(http, body))
    assert len(text.split()) == 50
    async with http.get("/_sandbox/bill") as reply:
        (charge,) = (await reply.json())["charges"]
    assert charge == {
        "provider": "openai",
        "model": "gpt-4o",
        "operation": "chat",
        "tokens_in": 4,
        "tokens_out": 50,
        "streamed": stream,
        "key": "sk-sandbox-1",
    }


async def test_limits_and_stops(http: aiohttp.ClientSession) -> None:
    cut = await ask(http, asked("[[words:50]]", max_tokens=7))
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 7
    assert len(said(cut).split()) == 7
    stopped = await ask(http, asked("alpha STOP beta", stop=["STOP", "never"]))
    assert said(stopped) == "This is gpt-4o. You said: alpha "
    assert stopped["choices"][0]["finish_reason"] == "stop"
    *_, last = await streamed(http, asked("[[words:50]]", max_completion_tokens=3))
    assert last["choices"][0]["finish_reason"] == "length"


async def test_several_alternatives(http: aiohttp.ClientSession) -> None:
    answer = await ask(http, asked(n=3))
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert len({said(answer, index) for index in range(3)}) == 3
    chunks = await streamed(http, asked(n=3))
    assert [chunk["choices"][0]["index"] for chunk in chunks[:3]] == [0, 1, 2]
    for index in range(3):
        own = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        text = "".join(choice["delta"].get("content", "") for choice in own)
        assert text == said(answer, index)
        assert own[-1]["finish_reason"] == "stop"


async def test_a_mentioned_tool_is_called(http: aiohttp.ClientSession) -> None:
    answer = await ask(http, asked("use get_weather please", tools=[WEATHER, CLOCK]))
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["id"].startswith("call_")
    assert call["type"] == "function"
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == ARGUMENTS
    plain = await ask(http, asked("no tool is named", tools=[WEATHER, CLOCK]))
    assert plain["choices"][0]["finish_reason"] == "stop"


async def test_parallel_calls_are_streamed_in_pieces(http: aiohttp.ClientSession) -> None:
    body = asked("get_time and get_weather", tools=[WEATHER, CLOCK])
    chunks = await streamed(http, body)
    first = chunks[0]["choices"][0]["delta"]
    assert first == {"role": "assistant", "content": None, "refusal": None}
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks[1:-1]:
        (piece,) = chunk["choices"][0]["delta"]["tool_calls"]
        if "id" in piece:
            assert piece["function"]["arguments"] == ""
            calls[piece["index"]] = {"name": piece["function"]["name"], "pieces": []}
        else:
            assert set(piece) == {"index", "function"}
            calls[piece["index"]]["pieces"].append(piece["function"]["arguments"])
    assert [calls[index]["name"] for index in range(2)] == ["get_time", "get_weather"]
    assert "".join(calls[0]["pieces"]) == "{}"
    assert len(calls[1]["pieces"]) > 1
    assert json.loads("".join(calls[1]["pieces"])) == ARGUMENTS
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    "choice,names",
    [
        ("none", []),
        ("required", ["get_weather"]),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"]),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "get_time"}}],
                },
            },
            ["get_time"],
        ),
    ],
)
async def test_tool_choice(http: aiohttp.ClientSession, choice: Any, names: list[str]) -> None:
    answer = await ask(http, asked("hi", tools=[WEATHER, CLOCK], tool_choice=choice))
    calls = answer["choices"][0]["message"].get("tool_calls", [])
    assert [call["function"]["name"] for call in calls] == names


async def test_no_parallel_calls_when_forbidden(http: aiohttp.ClientSession) -> None:
    body = asked("get_time get_weather", tools=[WEATHER, CLOCK], parallel_tool_calls=False)
    answer = await ask(http, body)
    assert len(answer["choices"][0]["message"]["tool_calls"]) == 1


async def test_tool_results_come_back_as_text(http: aiohttp.ClientSession) -> None:
    body = asked("get_weather now", tools=[WEATHER])
    message = (await ask(http, body))["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "снег"}
    body["messages"] += [message, result]
    assert "The tool said: снег" in said(await ask(http, body))


async def test_custom_tools_and_legacy_functions(http: aiohttp.ClientSession) -> None:
    custom = {"type": "custom", "custom": {"name": "shell"}}
    answer = await ask(http, asked("shell ls", tools=[custom]))
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["custom"] == {"name": "shell", "input": "shell ls"}
    legacy = asked("get_weather", functions=[WEATHER["function"]])
    (choice,) = (await ask(http, legacy))["choices"]
    assert choice["finish_reason"] == "function_call"
    assert json.loads(choice["message"]["function_call"]["arguments"]) == ARGUMENTS
    chunks = await streamed(http, legacy)
    pieces = [c["choices"][0]["delta"].get("function_call") or {} for c in chunks]
    assert json.loads("".join(piece.get("arguments", "") for piece in pieces)) == ARGUMENTS
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"


async def test_json_formats(http: aiohttp.ClientSession) -> None:
    schema = {"name": "w", "schema": WEATHER["function"]["parameters"]}  # type: ignore[index]
    shaped = await ask(http, asked(response_format={"type": "json_schema", "json_schema": schema}))
    assert json.loads(said(shaped)) == ARGUMENTS
    free = await ask(http, asked("JSON, please", response_format={"type": "json_object"}))
    assert json.loads(said(free))["said"] == "JSON, please"


async def test_logprobs(http: aiohttp.ClientSession) -> None:
    answer = await ask(http, asked("ok", logprobs=True, top_logprobs=2))
    tokens = answer["choices"][0]["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == said(answer)
    for token in tokens:
        assert token["logprob"] <= 0
        assert bytes(token["bytes"]).decode() == token["token"]
        assert len(token["top_logprobs"]) == 2
        assert token["top_logprobs"][0]["logprob"] > token["top_logprobs"][1]["logprob"]
    chunks = await streamed(http, asked("ok", logprobs=True))
    (token,) = chunks[1]["choices"][0]["logprobs"]["content"]
    assert token["token"] == chunks[1]["choices"][0]["delta"]["content"]
    assert token["top_logprobs"] == []


async def test_reasoning_models(http: aiohttp.ClientSession) -> None:
    answer = await ask(http, asked(model="o3"))
    details = answer["usage"]["completion_tokens_details"]
    assert details["reasoning_tokens"] == 16
    assert answer["usage"]["completion_tokens"] > 16
    starved = await ask(http, asked(model="o3", max_completion_tokens=10))
    assert said(starved) == ""
    assert starved["choices"][0]["finish_reason"] == "length"
    assert starved["usage"]["completion_tokens"] == 10


async def test_cached_tokens_and_tiers(http: aiohttp.ClientSession) -> None:
    answer = await ask(http, asked("a b c d [[cached:3]]", service_tier="fast"))
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 3
    assert answer["service_tier"] == "priority"


async def test_nulls_are_absent(http: aiohttp.ClientSession) -> None:
    nulls = ("temperature", "tools", "tool_choice", "stop", "stream_options", "max_tokens")
    answer = await ask(http, asked() | dict.fromkeys(nulls))
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_models(http: aiohttp.ClientSession) -> None:
    async with http.get("/openai/v1/models", headers=KEY) as reply:
        listed = await reply.json()
    assert listed["object"] == "list"
    for entry in listed["data"][:3]:
        async with http.get(f"/openai/v1/models/{entry['id']}", headers=KEY) as reply:
            assert await reply.json() == entry
    async with http.get("/openai/v1/models/a/b", headers=KEY) as reply:
        assert reply.status == 404
        assert (await reply.json())["error"]["code"] == "model_not_found"


EMBEDDINGS = "/openai/v1/embeddings"
SMALL = "text-embedding-3-small"


async def test_embeddings(http: aiohttp.ClientSession) -> None:
    body = {"model": SMALL, "input": ["кот", "dog", [1, 2, 3]]}
    floats = await ask(http, body, EMBEDDINGS)
    coded = await ask(http, body | {"encoding_format": "base64"}, EMBEDDINGS)
    assert floats["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert [entry["index"] for entry in floats["data"]] == [0, 1, 2]
    for plain, packed in zip(floats["data"], coded["data"], strict=True):
        vector = plain["embedding"]
        assert len(vector) == 1536
        assert math.isclose(math.hypot(*vector), 1, rel_tol=1e-5)
        raw = base64.b64decode(packed["embedding"])
        assert list(struct.unpack("<1536f", raw)) == vector
    one, two, _ = (entry["embedding"] for entry in floats["data"])
    assert one != two
    flat = await ask(http, {"model": SMALL, "input": [1, 2, 3]}, EMBEDDINGS)
    assert flat["data"][0]["embedding"] == floats["data"][2]["embedding"]
    short = await ask(http, {"model": SMALL, "input": "кот", "dimensions": 8}, EMBEDDINGS)
    vector = short["data"][0]["embedding"]
    assert math.isclose(math.hypot(*vector), 1, rel_tol=1e-5)
    assert math.isclose(vector[0] / vector[1], one[0] / one[1], rel_tol=1e-4)
