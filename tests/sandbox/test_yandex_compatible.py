"""The OpenAI-compatible API of the simulated Yandex Cloud, with the habits of each family."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.sandbox.yandex_caller import Caller, close, uri

from xrouter.sandbox.kit import Charge, SandboxResponse
from xrouter.sandbox.yandex.models import FOLDER

CHAT = "/v1/chat/completions"
YANDEX, ALICE = uri("yandexgpt/rc"), uri("aliceai-llm/latest")
QWEN, GEMMA = uri("qwen3-235b-a22b-fp8/latest"), uri("gemma-3-27b-it/latest")
OSS = uri("gpt-oss-120b/latest")
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"e": {"type": "string"}}},
        },
    }
    for name in ("calc", "clock")
]
ARGUMENTS = '{"e":"sample"}'


@pytest.fixture
def caller() -> Caller:
    return Caller()


def error(response: SandboxResponse) -> tuple[int, str, str]:
    """Shape (c): status, message, type."""
    body = json.loads(response.body)
    assert list(body["error"]) == ["message", "type"]
    return response.status, body["error"]["message"], body["error"]["type"]


def asked(text: str = "Hello there", model: str = YANDEX, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]} | more


async def ask(caller: Caller, body: Any) -> dict[str, Any]:
    response = await caller.compatible("POST", CHAT, body)
    assert response.status == 200, response.body
    close(response)
    answer: dict[str, Any] = json.loads(response.body)
    return answer


async def chunks(caller: Caller, body: dict[str, Any]) -> list[dict[str, Any]]:
    response = await caller.compatible("POST", CHAT, body | {"stream": True})
    assert response.headers["content-type"] == "text/event-stream"
    frames = close(response)
    assert frames[-1] == b"data: [DONE]\n\n"
    found = [json.loads(frame.removeprefix(b"data: ")) for frame in frames[:-1]]
    assert {chunk["object"] for chunk in found} == {"chat.completion.chunk"}
    return found


def choices(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [choice for chunk in found for choice in chunk["choices"]]


def told(found: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content", "") for choice in choices(found))


async def test_credentials(caller: Caller) -> None:
    for good in ("Bearer AQVN-sandbox-1", "Api-Key AQVN-sandbox-1"):
        response = await caller.compatible("GET", "/v1/models", authorization=good)
        assert response.status == 200
    for bad in (None, "Bearer AQVNother", "Api-Key sk-1", "Bearer t1.other"):
        refused = await caller.compatible("POST", CHAT, asked(), authorization=bad)
        assert error(refused)[0] == 401
    mine = await caller.compatible("GET", "/v1/models", openai_project=FOLDER)
    assert mine.status == 200
    foreign = await caller.compatible("GET", "/v1/models", openai_project="b1gother")
    assert error(foreign) == (403, "Forbidden", "forbidden")


async def test_models_are_full_uris(caller: Caller) -> None:
    listed = json.loads((await caller.compatible("GET", "/v1/models")).body)
    ids = [row["id"] for row in listed["data"]]
    assert {uri("yandexgpt/latest"), uri("yandexgpt/rc"), uri("yandexgpt/deprecated")} <= set(ids)
    assert uri("text-search-doc/latest", "emb") in ids
    assert listed["data"][0] == {
        "id": uri("aliceai-llm/latest"),
        "object": "model",
        "owned_by": "Yandex",
        "created": 0,
    }


async def test_yandex_answer(caller: Caller) -> None:
    answer = await ask(caller, asked())
    assert list(answer) == ["id", "object", "created", "model", "choices", "usage"]
    assert re.fullmatch(UUID, answer["id"])
    assert answer["model"] == YANDEX
    text = "This is yandexgpt/rc. You said: Hello there"
    assert answer["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    ]
    assert list(answer["usage"]) == ["prompt_tokens", "total_tokens", "completion_tokens"]
    tokens = answer["usage"]["completion_tokens"]
    assert caller.bill == [
        Charge("yandex", "yandexgpt/rc", "chat", 18, tokens, False, "AQVN-sandbox-1")
    ]


async def test_open_answer_hides_the_folder(caller: Caller) -> None:
    response = await caller.compatible("POST", CHAT, asked(model=QWEN))
    answer = json.loads(response.body)
    assert re.fullmatch(f"chatcmpl-{UUID}", answer["id"])
    assert answer["model"] == "gpt://qwen3-235b-a22b-fp8/latest"
    assert "x-request-id" not in response.headers
    assert response.headers["x-server-trace-id"]
    assert (await caller.compatible("POST", CHAT, asked())).headers["x-request-id"]


async def test_yandex_stream(caller: Caller) -> None:
    found = await chunks(caller, asked("a b c d e f g", stream_options={"include_usage": True}))
    first, *_, last = choices(found)
    assert list(first["delta"]) == ["role", "content"]
    assert last["finish_reason"] == "stop"
    assert last["delta"]["content"]
    assert not any("finish_reason" in choice for choice in choices(found)[:-1])
    assert not any("usage" in chunk for chunk in found)
    assert told(found) == "This is yandexgpt/rc. You said: a b c d e f g"
    assert len(found) == 2
    assert caller.bill[0].streamed


async def test_open_stream(caller: Caller) -> None:
    found = await chunks(caller, asked("a b c", model=QWEN))
    first, *middle, last = choices(found)
    assert first["delta"] == {"role": "assistant"}
    assert len(middle) > 6
    assert all(list(choice["delta"]) == ["content"] for choice in middle)
    assert last == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert found[-1]["choices"] == []
    assert found[-1]["usage"]["completion_tokens"] == len(middle)
    assert {chunk["model"] for chunk in found} == {"gpt://qwen3-235b-a22b-fp8/latest"}


async def test_alice_stream_is_fine_grained_and_forgets_to_finish_with_tools(
    caller: Caller,
) -> None:
    plain = await chunks(caller, asked("a b c", model=ALICE))
    assert len(plain) > 6
    assert choices(plain)[-1]["finish_reason"] == "stop"
    texts = choices(await chunks(caller, asked("a b c", model=ALICE, tools=TOOLS)))
    calls = choices(await chunks(caller, asked("use calc", model=ALICE, tools=TOOLS)))
    assert not any("finish_reason" in choice for choice in [*texts, *calls])
    assert calls[0]["delta"]["tool_calls"][0]["id"] == "calc"


async def test_alice_leaks_a_marker_when_a_tool_is_required(caller: Caller) -> None:
    body = asked("hello", model=ALICE, tools=TOOLS, tool_choice="required")
    found = await chunks(caller, body)
    assert told(found) == "[TOOL_CALL_END]"
    assert choices(found)[-1]["finish_reason"] == "tool_calls"
    message = (await ask(caller, body))["choices"][0]["message"]
    assert message["content"] == "[TOOL_CALL_END]"
    assert message["tool_calls"][0]["function"]["name"] == "calc"


async def test_yandex_calls_have_the_names_as_ids_and_are_always_parallel(caller: Caller) -> None:
    body = asked("use clock and calc", tools=TOOLS, parallel_tool_calls=False)
    answer = await ask(caller, body)
    message = answer["choices"][0]["message"]
    assert message["content"] == ""
    assert message["tool_calls"] == [
        {
            "index": place,
            "id": name,
            "type": "function",
            "function": {"name": name, "arguments": ARGUMENTS},
        }
        for place, name in enumerate(["clock", "calc"])
    ]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    (chunk,) = await chunks(caller, body)
    assert chunk["choices"][0]["delta"] == {
        "role": "assistant",
        "tool_calls": message["tool_calls"],
    }
    assert chunk["choices"][0]["finish_reason"] == "tool_calls"


async def test_open_calls_come_in_pieces_with_empty_strings(caller: Caller) -> None:
    body = asked("use clock and calc", model=QWEN, tools=TOOLS, parallel_tool_calls=False)
    found = choices(await chunks(caller, body))
    assert not any("content" in choice["delta"] for choice in found)
    start, *rest = [
        choice["delta"]["tool_calls"][0] for choice in found if "tool_calls" in choice["delta"]
    ]
    assert re.fullmatch("chatcmpl-tool-[0-9a-f]{32}", start["id"])
    assert (start["type"], start["function"]) == ("function", {"name": "clock", "arguments": ""})
    assert {(piece["id"], piece["type"], piece["function"]["name"]) for piece in rest} == {
        ("", "", "")
    }
    assert "".join(piece["function"]["arguments"] for piece in rest) == ARGUMENTS
    assert found[-1] == {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
    early = choices(await chunks(caller, body | {"model": GEMMA}))[1]["delta"]["tool_calls"][0]
    assert early["type"] == ""
    assert early["function"]["arguments"]
    both = await ask(caller, body | {"parallel_tool_calls": True})
    assert len(both["choices"][0]["message"]["tool_calls"]) == 2


@pytest.mark.parametrize(
    "choice, called",
    [
        ("none", None),
        ("auto", None),
        ("required", "calc"),
        ({"type": "function", "function": {"name": "clock"}}, "clock"),
    ],
)
async def test_tool_choice(caller: Caller, choice: Any, called: str | None) -> None:
    answer = await ask(caller, asked("hello", tools=TOOLS, tool_choice=choice))
    calls = answer["choices"][0]["message"].get("tool_calls", [{}])
    assert calls[0].get("id") == called


async def test_results_are_quoted(caller: Caller) -> None:
    body = asked("use calc", tools=TOOLS)
    message = (await ask(caller, body))["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": "calc", "content": "it is 5"}
    body["messages"] = [*body["messages"], message, result]
    answer = await ask(caller, body)
    assert "The tool said: it is 5" in answer["choices"][0]["message"]["content"]


async def test_reasoning_is_shown_and_eats_the_limit(caller: Caller) -> None:
    body = asked("go [[words:5]] [[think:7]]", model=OSS)
    message = (await ask(caller, body))["choices"][0]["message"]
    assert len(message["reasoning_content"].split()) == 7
    found = await chunks(caller, body)
    deltas = [choice["delta"] for choice in choices(found)]
    assert (
        "".join(delta.get("reasoning_content", "") for delta in deltas)
        == (message["reasoning_content"])
    )
    assert found[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 7}
    short = (await ask(caller, body | {"max_tokens": 7}))["choices"][0]
    assert (short["message"]["content"], short["finish_reason"]) == ("", "length")
    silent = await ask(caller, body | {"reasoning_effort": "none"})
    assert "reasoning_content" not in silent["choices"][0]["message"]


async def test_structured_output(caller: Caller) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    answer = await ask(caller, asked(response_format=wanted))
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"n": 1}
    answer = await ask(caller, asked(response_format={"type": "json_object"}))
    assert json.loads(answer["choices"][0]["message"]["content"])["said"] == "Hello there"


async def test_content_filter(caller: Caller) -> None:
    assert (await ask(caller, asked("[[filter]]")))["choices"][0]["finish_reason"] == (
        "content_filter"
    )


async def test_images_for_models_that_see(caller: Caller) -> None:
    parts = [
        {"type": "text", "text": "what is it"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    body = {"model": GEMMA, "messages": [{"role": "user", "content": parts}]}
    answer = await ask(caller, body)
    assert answer["usage"]["prompt_tokens"] == 17 + 256
    assert error(await caller.compatible("POST", CHAT, body | {"model": YANDEX}))[0] == 400
    parts[1] = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert error(await caller.compatible("POST", CHAT, body))[0] == 400


async def test_what_is_not_supported_is_ignored(caller: Caller) -> None:
    more: dict[str, Any] = {
        "stop": ["You"],
        "seed": 1,
        "n": 3,
        "logprobs": True,
        "top_k": 5,
        "store": True,
    }
    answer = await ask(caller, asked(**more))
    assert len(answer["choices"]) == 1
    assert "You said" in answer["choices"][0]["message"]["content"]


OTHER = f"Specified folder ID 'b1gother' does not match with service account folder ID '{FOLDER}'"
USER = {"role": "user", "content": "x"}
RESULT = {"role": "tool", "tool_call_id": "f", "content": "x"}


def called(arguments: Any) -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    return {"role": "assistant", "tool_calls": [{"id": "f", "function": function}]}


@pytest.mark.parametrize(
    "more, message",
    [
        ({"model": "yandexgpt"}, "Failed to parse model URI"),
        ({"model": None}, "Failed to parse model URI"),
        ({"model": uri("yandexgpt/beta")}, "Failed to get model"),
        ({"model": uri("speech-realtime-250923")}, "Failed to get model"),
        ({"model": uri("text-search-doc", "emb")}, "Failed to get model"),
        ({"model": "gpt://b1gother/yandexgpt/latest"}, OTHER),
        ({"messages": []}, None),
        ({"messages": [USER | {"role": "developer"}]}, None),
        ({"messages": [USER | {"content": None}]}, None),
        ({"messages": [USER, RESULT]}, None),
        ({"messages": [USER, called("{}"), RESULT | {"tool_call_id": "g"}]}, None),
        ({"messages": [USER, called({}), RESULT]}, None),
        ({"messages": [USER, called("[]"), RESULT]}, None),
        ({"temperature": 1.5}, None),
        ({"max_tokens": 0}, None),
        ({"tools": [{"type": "custom", "custom": {}}]}, None),
        ({"tools": TOOLS, "tool_choice": "any"}, None),
        ({"tools": TOOLS, "tool_choice": {"function": {"name": "g"}}}, None),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}, None),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "имя"}}},
            None,
        ),
        ({"messages": [USER | {"content": "a " * 40_000}]}, None),
    ],
)
async def test_chat_refuses(caller: Caller, more: Any, message: str | None) -> None:
    refused = error(await caller.compatible("POST", CHAT, asked() | more))
    assert refused[0] == 400
    assert message in (None, refused[1])
    assert (refused[2] == "server_error") == (refused[1] == "Failed to get model")
    assert caller.bill == []


async def test_some_models_take_more(caller: Caller) -> None:
    await ask(caller, asked(model=QWEN, temperature=1.5))
    developer = {"role": "developer", "content": "be"}
    await ask(caller, {"model": OSS, "messages": [developer, USER]})


async def test_ten_generations_at_once(caller: Caller) -> None:
    running = [await caller.compatible("POST", CHAT, asked(stream=True)) for _ in range(10)]
    status, message, kind = error(await caller.compatible("POST", CHAT, asked()))
    assert (status, kind) == (429, "too_many_requests")
    assert "gauge quota limit exceed: allowed 10 requests" in message
    close(running[0])
    await ask(caller, asked())


async def test_embeddings(caller: Caller) -> None:
    model = uri("text-search-doc/latest", "emb")
    for given in ("one two", ["one two"]):
        body = {"model": model, "input": given, "encoding_format": "float"}
        response = await caller.compatible("POST", "/v1/embeddings", body)
        answer = json.loads(response.body)
        assert list(answer) == ["object", "model", "data", "usage"]
        assert list(answer["data"][0]) == ["index", "embedding", "object"]
        assert len(answer["data"][0]["embedding"]) == 256
        assert answer["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    assert [charge.operation for charge in caller.bill] == ["embeddings"] * 2
    strange: list[dict[str, Any]] = [
        {"input": ["a", "b"]},
        {"input": [[1, 2]]},
        {"input": ""},
        {"encoding_format": "base64"},
        {"dimensions": 64},
        {"input": "a " * 2049},
        {"model": YANDEX},
    ]
    for bad in strange:
        wrong = {"model": model, "input": "a"} | bad
        assert error(await caller.compatible("POST", "/v1/embeddings", wrong))[0] == 400
