"""The second chat contract of the simulated GigaChat."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from tests.sandbox.test_gigachat import CLOCK, SCOPES, WEATHER, Caller, close, error, is_uuid
from tests.sandbox.test_gigachat_files import get, is_jpeg, upload

CHAT = "/v2/chat/completions"
ULTRA = "GigaChat-3-Ultra"
STATE = "019e8373-dc9a-7883-af60-ebb20b79e1e1"
TOOLS = [{"functions": {"specifications": [CLOCK, WEATHER]}}]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"text": text}]}


def asked(text: str = "Hello there", **more: Any) -> dict[str, Any]:
    return {"model": ULTRA, "messages": [user(text)]} | more


def called(*ids: str, name: str = "get_time") -> dict[str, Any]:
    """A message with a call for each id, or one without."""
    call = {"name": name, "arguments": {}}
    calls = [{"id": one} | call for one in ids] or [call]
    parts = [{"function_call": one} for one in calls]
    return {"role": "assistant", "tools_state_id": STATE, "content": parts}


def result(*ids: str, name: str = "get_time", value: Any = "noon") -> dict[str, Any]:
    one = {"name": name, "result": value}
    results = [{"id": each} | one for each in ids] or [one]
    parts = [{"function_result": each} for each in results]
    return {"role": "tool", "tools_state_id": STATE, "content": parts}


async def ask(caller: Caller, body: Any, **headers: str) -> dict[str, Any]:
    response = await caller.call(CHAT, body, **headers)
    assert response.status == 200, response.body
    close(response)
    answer: dict[str, Any] = json.loads(response.body)
    return answer


async def events(caller: Caller, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    response = await caller.call(CHAT, body | {"stream": True})
    assert response.headers["content-type"] == "text/event-stream"
    found = []
    for frame in close(response):
        event, data, *rest = frame.decode().split("\n")
        assert rest == ["", ""]
        found.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@pytest.fixture
async def caller() -> Caller:
    caller = Caller()
    await caller.login()
    return caller


async def test_answer(caller: Caller) -> None:
    answer = await ask(caller, asked())
    assert list(answer) == ["model", "created_at", "messages", "finish_reason", "usage"]
    text = "This is GigaChat-3-Ultra:32.3.18.5. You said: Hello there"
    assert answer["messages"] == [{"role": "assistant", "content": [{"text": text}]}]
    assert answer["finish_reason"] == "stop"
    spoken = caller.bill[0].tokens_out
    assert answer["usage"] == {
        "input_tokens": 4,
        "input_tokens_details": {"prompt_tokens": 4, "cached_tokens": 0},
        "output_tokens": spoken,
        "total_tokens": 4 + spoken,
    }


async def test_the_cache_is_counted_in_the_input(caller: Caller) -> None:
    usage = (await ask(caller, asked("a b c [[cached:2]]")))["usage"]
    assert usage["input_tokens"] == usage["total_tokens"] - usage["output_tokens"]
    assert usage["input_tokens_details"] == {
        "prompt_tokens": usage["input_tokens"],
        "cached_tokens": 2,
    }
    session = str(uuid4())
    await ask(caller, asked("a b"), x_session_id=session)
    usage = (await ask(caller, asked("a b"), x_session_id=session))["usage"]
    assert usage["input_tokens_details"]["cached_tokens"] == usage["input_tokens"]


async def test_stream(caller: Caller) -> None:
    whole = await ask(caller, asked("one two three four five"))
    *said, (event, done) = await events(caller, asked("one two three four five"))
    assert {name for name, _ in said} == {"response.message.delta"}
    assert event == "response.message.done"
    assert not any({"finish_reason", "usage"} & data.keys() for _, data in said)
    parts = [data["messages"][0]["content"][0]["text"] for _, data in said]
    assert "".join(parts) == whole["messages"][0]["content"][0]["text"]
    assert len(parts) > 1
    assert (done["finish_reason"], done["usage"]) == ("stop", whole["usage"])
    assert "messages" not in done
    assert caller.bill[0].tokens_out == caller.bill[1].tokens_out


async def test_reasoning_is_a_message(caller: Caller) -> None:
    body = asked("hi [[think:5]]", model_options={"reasoning": {"effort": "medium"}})
    thought, said = (await ask(caller, body))["messages"]
    assert (thought["role"], said["role"]) == ("reasoning", "assistant")
    assert len(thought["content"][0]["text"].split()) == 5
    first, *_ = await events(caller, body)
    assert first[1]["messages"][0]["role"] == "reasoning"
    off = asked("hi [[think:5]]", model_options={"reasoning": {"effort": "off"}})
    assert len((await ask(caller, off))["messages"]) == 1


async def test_a_call(caller: Caller) -> None:
    answer = await ask(caller, asked("use get_weather and get_time", tools=TOOLS))
    assert answer["finish_reason"] == "function_call"
    (message,) = answer["messages"]
    assert is_uuid(message["tool_state_id"])
    call = {"name": "get_weather", "arguments": {"city": "Пермь", "days": 1}}
    assert message["content"] == [{"function_call": call}]


async def test_several_calls_at_once_have_ids(caller: Caller) -> None:
    body = asked(
        "use get_weather and get_time", tools=TOOLS, model_options={"parallel_tool_calls": True}
    )
    (message,) = (await ask(caller, body))["messages"]
    calls = [part["function_call"] for part in message["content"]]
    assert [call["name"] for call in calls] == ["get_weather", "get_time"]
    assert len({call["id"] for call in calls}) == 2
    split = [user("use get_weather and get_time [[split]]")]
    *said, _ = await events(caller, body | {"messages": split})
    assert [len(data["messages"][0]["content"]) for _, data in said] == [1, 1]


@pytest.mark.parametrize(
    "config, name",
    [
        ({"mode": "auto"}, None),
        ({"mode": "none"}, None),
        ({"mode": "forced", "function_name": "get_time"}, "get_time"),
        ({"mode": "any", "functions_names_any": ["get_weather", "get_time"]}, "get_weather"),
    ],
)
async def test_modes(caller: Caller, config: Any, name: str | None) -> None:
    answer = await ask(caller, asked("hello", tools=TOOLS, tool_config=config))
    part = answer["messages"][0]["content"][0]
    assert part.get("function_call", {}).get("name") == name
    none = await ask(caller, asked("get_time", tools=TOOLS, tool_config={"mode": "none"}))
    assert none["finish_reason"] == "stop"


@pytest.mark.parametrize("value", [{"hour": 12}, "noon"])
async def test_results_are_quoted(caller: Caller, value: Any) -> None:
    messages = [user("use get_time"), called(), result(value=value)]
    answer = await ask(caller, asked(messages=messages, tools=TOOLS))
    text = answer["messages"][0]["content"][0]["text"]
    told = value if isinstance(value, str) else '{"hour":12}'
    assert f"The tool said: {told}" in text
    assert is_uuid(answer["messages"][0]["tool_state_id"])


async def test_several_results(caller: Caller) -> None:
    messages = [user("use get_time"), called("a", "b"), result("b", "a")]
    text = (await ask(caller, asked(messages=messages, tools=TOOLS)))["messages"][0]["content"]
    assert text[0]["text"].count("The tool said: noon") == 2


async def test_structured_output(caller: Caller) -> None:
    options = {"response_format": {"type": "json_schema", "schema": SCHEMA, "strict": True}}
    answer = await ask(caller, asked(model_options=options))
    assert json.loads(answer["messages"][0]["content"][0]["text"]) == {"n": 1}
    refused = error(await caller.call(CHAT, asked(model="GigaChat-2", model_options=options)))
    assert refused == (422, "Invalid params: response_format is not supported by this model")
    regex = {"response_format": {"type": "regex", "regex": "a+"}}
    await ask(caller, asked(model_options=regex))


async def test_limits_and_censorship(caller: Caller) -> None:
    short = await ask(caller, asked("go [[words:40]]", model_options={"max_tokens": 3}))
    assert (short["finish_reason"], short["usage"]["output_tokens"]) == ("length", 3)
    assert (await ask(caller, asked("[[blacklist]]")))["finish_reason"] == "request_blacklist"


@pytest.mark.parametrize("config", [{"mode": "forced", "tool_name": "image_generate"}, None])
async def test_drawing(caller: Caller, config: Any) -> None:
    body = asked("Draw a cat", tools=[{"image_generate": {}}], tool_config=config)
    answer = await ask(caller, body)
    files, text = answer["messages"][0]["content"]
    (file,) = files["files"]
    assert (file["mime"], file["target"]) == ("image/jpeg", "image")
    assert text["text"]
    assert is_jpeg((await get(caller, f"/{file['id']}/content")).body)
    names = [name for name, _ in await events(caller, body)]
    assert names[:2] == ["response.tool.in_progress", "response.tool.completed"]


async def test_searching(caller: Caller) -> None:
    search = {"web_search": {"type": "actual_info_web_search"}}
    body = asked("rivers [[search]]", tools=[search])
    (part,) = (await ask(caller, body))["messages"][0]["content"]
    assert part["text"].endswith(" [sources=[1]].")
    assert part["inline_data"]["sources"]["1"]["url"].startswith("https://")
    *_, (_, last), _ = await events(caller, body)
    assert "inline_data" in last["messages"][0]["content"][0]
    (part,) = (await ask(caller, asked("rivers", tools=[search])))["messages"][0]["content"]
    assert "inline_data" not in part


async def test_files_are_parts(caller: Caller) -> None:
    image = await upload(caller, name="cat.jpg")
    content = [{"text": "look"}, {"files": [{"id": image}]}]
    messages = [{"role": "user", "content": content}]
    text = (await ask(caller, asked(messages=messages)))["messages"][0]["content"][0]["text"]
    assert text.endswith("Attached: cat.jpg.")
    assert error(await caller.call(CHAT, asked(model="GigaChat-2", messages=messages)))[0] == 422
    two = [{"role": "user", "content": [*content, {"files": [{"id": image}]}]}]
    assert error(await caller.call(CHAT, asked(messages=two)))[0] == 422
    gone = [{"role": "user", "content": [{"files": [{"id": "a"}]}]}]
    assert error(await caller.call(CHAT, asked(messages=gone))) == (404, "No such file")


def said(role: str, *parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(parts)}]}


@pytest.mark.parametrize(
    "more, status",
    [
        ({"model": "GigaChat-9"}, 404),
        ({"model": "Embeddings"}, 404),
        ({"messages": []}, 422),
        ({"messages": [{"role": "user", "content": "text"}]}, 422),
        ({"messages": [{"role": "user", "content": []}]}, 422),
        ({"messages": [user("a") | {"name": "me"}]}, 422),
        ({"messages": [user("a"), user("b") | {"role": "system"}]}, 422),
        (said("function", {"text": "a"}), 422),
        (said("user", {"text": 1}), 422),
        (said("user", {"text": "a", "files": []}), 422),
        (said("user", {"files": "a"}), 422),
        (said("user", {"function_call": {"name": "f", "arguments": {}}}), 422),
        (said("assistant", {"function_call": {"name": "f", "arguments": "{}"}}), 422),
        (said("tool", {"text": "a"}), 422),
        ({"messages": [user("a"), called()]}, 422),
        ({"messages": [user("a"), called(), user("b")]}, 422),
        ({"messages": [user("a"), result()]}, 422),
        ({"messages": [user("a"), called(), result(name="other")]}, 422),
        ({"messages": [user("a"), called(), result() | {"tools_state_id": str(uuid4())}]}, 422),
        ({"messages": [user("a"), called() | {"tools_state_id": "call_1"}, result()]}, 422),
        ({"messages": [user("a"), called("a", "b"), result("a")]}, 422),
        ({"messages": [user("a"), called("a", "b"), result("a", "c")]}, 422),
        ({"messages": [user("a"), called(), result(value=[1])]}, 422),
        ({"functions": [CLOCK]}, 422),
        ({"temperature": 1}, 422),
        ({"response_format": {"type": "text"}}, 422),
        ({"model_options": {"temperature": 0}}, 422),
        ({"model_options": {"stop": ["a"]}}, 422),
        ({"model_options": {"top_logprobs": 6}}, 422),
        ({"model_options": {"reasoning": {"effort": "max"}}}, 422),
        ({"model_options": {"parallel_tool_calls": "yes"}}, 422),
        ({"model_options": {"response_format": {"type": "json_object"}}}, 422),
        ({"model_options": []}, 422),
        ({"tools": [{"functions": {"specifications": [CLOCK]}, "web_search": {}}]}, 422),
        ({"tools": [{"functions": [CLOCK]}]}, 422),
        ({"tools": [{"text2image": {}}]}, 422),
        ({"tools": {}}, 422),
        ({"tools": [{"functions": {"specifications": [CLOCK, CLOCK]}}]}, 422),
        ({"tools": TOOLS, "tool_config": {"mode": "required"}}, 422),
        ({"tools": TOOLS, "tool_config": {"mode": "forced", "function_name": "f"}}, 422),
        ({"tools": TOOLS, "tool_config": {"mode": "forced", "tool_name": "web_search"}}, 422),
        ({"tools": TOOLS, "tool_config": {"mode": "any"}}, 422),
        ({"tools": TOOLS, "tool_config": {"mode": "any", "functions_names_any": ["f"]}}, 422),
        ({"stream": "yes"}, 422),
        ({"disable_filter": 1}, 422),
    ],
)
async def test_refusals(caller: Caller, more: dict[str, Any], status: int) -> None:
    assert error(await caller.call(CHAT, asked() | more))[0] == status
    assert caller.bill == []
    assert caller.simulator.slots.running("b2b-one") == 0


async def test_several_calls_need_ids(caller: Caller) -> None:
    nameless = called()
    nameless["content"] *= 2
    answers = result()
    answers["content"] *= 2
    messages = [user("a"), nameless, answers]
    assert error(await caller.call(CHAT, asked(messages=messages)))[0] == 422


async def test_accounts_are_the_same_as_everywhere(caller: Caller) -> None:
    assert error(await caller.call(CHAT, method="GET"))[0] == 405
    assert error(await caller.call(CHAT, b"{"))[0] == 400
    await caller.login("pers")
    running = await caller.call(CHAT, asked(stream=True))
    assert error(await caller.call(CHAT, asked())) == (429, "Too Many Requests")
    assert error(await caller.call("/v1/chat/completions", {}))[0] == 429
    close(running)
    await ask(caller, asked())
    await caller.login("b2b", "is-empty")
    assert error(await caller.call(CHAT, asked())) == (402, "Payment Required")
    token = await caller.oauth("b2b-a:sandbox", SCOPES["b2b"])
    assert token.status == 200
    caller.token = "other"
    assert error(await caller.call(CHAT, asked())) == (401, "Unauthorized")
