"""The simulated llama.cpp server over raw HTTP, with the habits of the real one."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import aiohttp
import pytest
from tests.sandbox.llamacpp_caller import (
    BARE_TOOL,
    CHAT,
    ROOT,
    TOOL,
    ask,
    asked,
    frames,
    get,
    parsed,
)

from xrouter.sandbox.llamacpp_model import ALIAS, CONTEXT, SLOTS


async def test_chat(http: aiohttp.ClientSession) -> None:
    answer = await ask(http, CHAT, asked(model="whatever"))
    assert answer["model"] == ALIAS
    assert len(answer["id"].removeprefix("chatcmpl-")) == 32
    (choice,) = answer["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": f"This is {ALIAS}. You said: привет 👋",
    }
    assert choice["finish_reason"] == "stop"
    usage = answer["usage"]
    assert "completion_tokens_details" not in usage
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    numbers = answer["timings"]
    assert numbers["cache_n"] + numbers["prompt_n"] == usage["prompt_tokens"]
    assert numbers["predicted_n"] == usage["completion_tokens"]


async def test_prompt_tokens_are_those_of_the_template(http: aiohttp.ClientSession) -> None:
    body = asked("one two three", tools=[TOOL])
    answer = await ask(http, CHAT, body)
    template = (await ask(http, "/apply-template", body))["prompt"]
    assert template.endswith("<|im_start|>assistant\n")
    tokens = (await ask(http, "/tokenize", {"content": template, "add_special": True}))["tokens"]
    counted = await ask(http, f"{CHAT}/input_tokens", body)
    assert answer["usage"]["prompt_tokens"] == len(tokens) == counted["input_tokens"]


async def test_stream(http: aiohttp.ClientSession) -> None:
    *data, done = await frames(http, CHAT, asked())
    assert done == "data: [DONE]"
    chunks = parsed(data)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": None}
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert text.endswith("You said: привет 👋")
    assert chunks[-1]["choices"][0] == {"finish_reason": "stop", "index": 0, "delta": {}}
    assert ["timings" in chunk for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert all("usage" not in chunk for chunk in chunks)


async def test_alternatives_of_a_stream_take_turns(http: aiohttp.ClientSession) -> None:
    """Begin and end of each are told together with a token, and each has a usage of its own."""
    body = asked("[[words:2]]", n=3, stream_options={"include_usage": True})
    chunks = parsed(await frames(http, CHAT, body))
    speakers = [chunk["choices"][0]["index"] if chunk["choices"] else None for chunk in chunks]
    first_turn = [1, 1, 2, 2, 0, 0]
    assert speakers == [*first_turn, 1, 1, None, 2, 2, None, 0, 0, None]
    ends = [chunk for chunk in chunks if chunk["choices"] == []]
    assert [end["usage"]["completion_tokens"] for end in ends] == [2, 2, 2]
    assert all("timings" in end for end in ends)
    assert sum("timings" in chunk for chunk in chunks) == 3


async def test_a_whole_answer_counts_its_first_alternative(http: aiohttp.ClientSession) -> None:
    alone = await ask(http, CHAT, asked())
    three = await ask(http, CHAT, asked(n=3))
    assert len(three["choices"]) == 3
    assert three["usage"] == alone["usage"]
    assert three["timings"] == alone["timings"]
    async with http.get("/_sandbox/bill") as reply:
        charges = (await reply.json())["charges"]
    assert charges[-1]["tokens_out"] > 3 * alone["usage"]["completion_tokens"]


@pytest.mark.parametrize(
    "given,told",
    [
        ({"logprobs": True}, 20),
        ({"logprobs": True, "top_logprobs": 2}, 2),
        ({"logprobs": True, "top_logprobs": 0}, None),
        ({"logprobs": True, "top_logprobs": -1}, None),
        ({"logprobs": True, "top_logprobs": "x"}, 20),
        ({"logprobs": 3}, 3),
        ({"n_probs": 4}, 4),
        ({"logprobs": False}, None),
    ],
)
async def test_likelihoods(
    http: aiohttp.ClientSession, given: dict[str, Any], told: int | None
) -> None:
    (choice,) = (await ask(http, CHAT, asked(**given)))["choices"]
    found = {len(token["top_logprobs"]) for token in choice.get("logprobs", {}).get("content", ())}
    assert found == (set() if told is None else {told})


async def test_created_moves_and_pings_fill_silence(http: aiohttp.ClientSession) -> None:
    body = asked("[[words:2]] [[pause:0.12]]", sse_ping_interval=0.05)
    all_frames = await frames(http, CHAT, body)
    assert all_frames.count(":") == 2 * (len(parsed(all_frames)) - 1)
    moments = [chunk["created"] for chunk in parsed(all_frames)]
    assert moments[-1] > moments[0]
    quiet = await frames(http, CHAT, asked("[[words:2]] [[pause:0.01]]"))
    assert ":" not in quiet


async def test_tools(http: aiohttp.ClientSession) -> None:
    answer = await ask(http, CHAT, asked("look and ping", tools=[TOOL, BARE_TOOL]))
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == ""
    calls = choice["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["look", "ping"]
    assert all(len(call["id"]) == 32 for call in calls)
    assert json.loads(calls[0]["function"]["arguments"]) == {"at": "sample"}


async def test_streamed_tools(http: aiohttp.ClientSession) -> None:
    chunks = parsed(await frames(http, CHAT, asked("look, ping", tools=[TOOL, BARE_TOOL])))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    pieces = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    look = [piece for piece in pieces if piece["index"] == 0]
    assert look[0]["function"] == {"name": "look"}
    given = "".join(piece["function"]["arguments"] for piece in look[1:])
    assert json.loads(given) == {"at": "sample"}
    (ping,) = [piece for piece in pieces if piece["index"] == 1]
    assert ping["function"] == {"name": "ping"}


async def test_tool_choice_object_is_auto(http: aiohttp.ClientSession) -> None:
    named = {"type": "function", "function": {"name": "look"}}
    answer = await ask(http, CHAT, asked("nothing named", tools=[TOOL], tool_choice=named))
    assert answer["choices"][0]["finish_reason"] == "stop"
    forced = await ask(http, CHAT, asked("nothing named", tools=[TOOL], tool_choice="required"))
    assert forced["choices"][0]["finish_reason"] == "tool_calls"
    none = await ask(http, CHAT, asked("look", tools=[TOOL], tool_choice="none"))
    assert none["choices"][0]["finish_reason"] == "stop"


async def test_reasoning(http: aiohttp.ClientSession) -> None:
    body = asked("ok [[think:5]]")
    message = (await ask(http, CHAT, body))["choices"][0]["message"]
    assert len(message["reasoning_content"].split()) == 5
    off = body | {"chat_template_kwargs": {"enable_thinking": False}}
    assert "reasoning_content" not in (await ask(http, CHAT, off))["choices"][0]["message"]
    inline = (await ask(http, CHAT, body | {"reasoning_format": "none"}))["choices"][0]["message"]
    assert inline["content"].startswith("<think>\n")
    chunks = parsed(await frames(http, CHAT, body))
    thoughts = [chunk["choices"][0]["delta"].get("reasoning_content") for chunk in chunks]
    assert "".join(filter(None, thoughts)) == message["reasoning_content"]


async def test_json_schema_logprobs_and_length(http: aiohttp.ClientSession) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}}
    ways: tuple[dict[str, Any], ...] = (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
        {"response_format": {"type": "json_object", "schema": schema}},
        {"json_schema": schema},
    )
    for wanted in ways:
        answer = await ask(http, CHAT, asked(**wanted))
        assert json.loads(answer["choices"][0]["message"]["content"]) == {"a": True}
    told = await ask(http, CHAT, asked("x", logprobs=True))
    token = told["choices"][0]["logprobs"]["content"][0]
    assert set(token) == {"id", "token", "bytes", "logprob", "top_logprobs"}
    assert len(token["top_logprobs"]) == 20
    cut = await ask(http, CHAT, asked("[[words:9]]", max_tokens=4))
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 4


async def test_context(http: aiohttp.ClientSession) -> None:
    error = (await ask(http, CHAT, asked("a " * (CONTEXT + 1)), 400))["error"]
    assert error["type"] == "exceed_context_size_error"
    assert error["n_ctx"] == CONTEXT
    assert error["n_prompt_tokens"] > CONTEXT
    assert "exceeds the available context size" in error["message"]
    nearly = await ask(http, CHAT, asked("a " * (CONTEXT - 50) + "[[words:500]]"))
    assert nearly["choices"][0]["finish_reason"] == "length"
    assert nearly["usage"]["total_tokens"] == CONTEXT


async def test_native_completion(http: aiohttp.ClientSession) -> None:
    body = {"prompt": "once upon", "n_predict": 4}
    whole = await ask(http, "/completion", body)
    assert (whole["stop"], whole["stop_type"]) == (True, "limit")
    assert whole["tokens_predicted"] == 4
    chunks = parsed(await frames(http, "/completion", body))
    assert [chunk["stop"] for chunk in chunks] == [False] * 4 + [True]
    assert "".join(chunk["content"] for chunk in chunks) == whole["content"]
    assert chunks[-1]["content"] == ""
    assert "[DONE]" not in "".join(await frames(http, "/completions", body))
    stopped = await ask(http, "/completion", {"prompt": "a STOP b", "stop": ["STOP"]})
    assert (stopped["stop_type"], stopped["stopping_word"]) == ("word", "STOP")
    many = await ask(http, "/completion", {"prompt": ["a", "b"]})
    assert [one["prompt"] for one in many] == ["a", "b"]
    assert "prompt" in (await ask(http, "/completion", {}, 400))["error"]["message"]


@pytest.mark.parametrize("text", ["Hello, мир! 👩‍👩‍👧 \n end ", "   ", "", "x" * 100])
async def test_tokens_there_and_back(http: aiohttp.ClientSession, text: str) -> None:
    tokens = (await ask(http, "/tokenize", {"content": text}))["tokens"]
    assert (await ask(http, "/detokenize", {"tokens": tokens}))["content"] == text
    again = await ask(http, "/tokenize", {"content": text, "with_pieces": True})
    assert [piece["id"] for piece in again["tokens"]] == tokens
    assert "".join(piece["piece"] for piece in again["tokens"]) == text


async def test_facts_of_the_server(http: aiohttp.ClientSession) -> None:
    assert await get(http, "/health") == {"status": "ok"}
    models = await get(http, "/v1/models")
    assert models["data"][0]["id"] == models["models"][0]["name"] == ALIAS
    props = await get(http, "/props")
    assert props["default_generation_settings"]["n_ctx"] == CONTEXT
    assert props["total_slots"] == len(await get(http, "/slots")) == SLOTS
    async with http.get(f"{ROOT}/nothing") as reply:
        assert reply.status == 404
        assert await reply.json() == {
            "error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}
        }


async def test_slots_are_busy_while_streaming(http: aiohttp.ClientSession) -> None:
    body = asked("[[words:100]] [[pause:1]]", stream=True)
    replies = []
    for busy in range(1, SLOTS + 1):
        replies.append(await http.post(ROOT + CHAT, json=body))
        states = [slot["is_processing"] for slot in await get(http, "/slots")]
        assert states.count(True) == busy
    async with http.get(f"{ROOT}/slots?fail_on_no_slot=1") as reply:
        assert reply.status == 503
        assert (await reply.json())["error"]["message"] == "no slot available"
    for one in replies:
        one.close()
    while any(slot["is_processing"] for slot in await get(http, "/slots")):
        pass


async def test_the_key_when_one_is_set(http: aiohttp.ClientSession) -> None:
    locked = "/llamacpp-locked"
    async with http.get(f"{locked}/health") as reply:
        assert reply.status == 200
    for headers, status in (
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer sk-sandbox"}, 200),
        ({"x-api-key": "sk-sandbox"}, 200),
    ):
        async with http.post(locked + CHAT, json=asked(), headers=headers) as reply:
            assert reply.status == status
            if status == 401:
                assert await reply.json() == {
                    "error": {
                        "code": 401,
                        "message": "Invalid API Key",
                        "type": "authentication_error",
                    }
                }


async def test_embeddings(http: aiohttp.ClientSession) -> None:
    error = (await ask(http, "/v1/embeddings", {"input": "a", "model": ALIAS}, 501))["error"]
    assert error["type"] == "not_supported_error"
    body = {"model": "nomic-embed-text-v1.5", "input": ["a b", "c"]}
    answer = await ask(http, "/v1/embeddings", body)
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    coded = await ask(http, "/v1/embeddings", body | {"encoding_format": "base64"})
    assert coded["data"][0]["encoding_format"] == "base64"
    vector = answer["data"][0]["embedding"]
    packed = base64.b64decode(coded["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(vector)}f", packed)) == vector
    native = await ask(http, "/embedding", body)
    assert native[0] == {"index": 0, "embedding": [vector]}
    error = (await ask(http, "/v1/embeddings", body | {"input": "a " * 600}, 500))["error"]
    assert "too large to process" in error["message"]


async def test_bill(http: aiohttp.ClientSession) -> None:
    answer = await ask(http, CHAT, asked())
    await frames(http, CHAT, asked())
    await ask(http, "/completion", {"prompt": "a", "n_predict": 2})
    await frames(http, "/completion", {"prompt": ["a", "b"], "n_predict": 2})
    async with http.get("/_sandbox/bill") as reply:
        charges = (await reply.json())["charges"]
    usage = answer["usage"]
    numbers = [(charge["tokens_in"], charge["tokens_out"]) for charge in charges]
    chat = (usage["prompt_tokens"], usage["completion_tokens"])
    assert numbers == [chat, chat, (1, 2), (2, 4)]
    assert [charge["streamed"] for charge in charges] == [False, True, False, True]
