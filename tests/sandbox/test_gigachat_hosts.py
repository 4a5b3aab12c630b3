"""The two hosts of the simulated GigaChat, and what only one of them has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.sandbox.test_gigachat import CHAT, MAX, Caller, asked, basic, close, error

NEW_CHAT = "/v1/chat/completions"
ULTRA = "GigaChat-3-Ultra"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
SHAPED = {"type": "json_schema", "schema": SCHEMA, "strict": True}


@pytest.fixture
async def caller() -> Caller:
    caller = Caller()
    await caller.login()
    return caller


async def answered(caller: Caller, path: str, body: Any) -> dict[str, Any]:
    response = await caller.call(path, body)
    assert response.status == 200, response.body
    close(response)
    answer: dict[str, Any] = json.loads(response.body)
    return answer


async def names(caller: Caller, path: str) -> set[str]:
    listed = json.loads((await caller.call(path, method="GET")).body)
    return {row["id"] for row in listed["data"]}


async def test_models_differ_by_host(caller: Caller) -> None:
    old, new = await names(caller, "/api/v1/models"), await names(caller, "/v1/models")
    assert old < new
    assert {name for name in new - old if name.startswith("GigaChat-3-")} == new - old
    assert error(await caller.call(CHAT, asked(model=ULTRA))) == (404, "No such model")
    assert error(await caller.call(f"/api/v1/models/{ULTRA}", method="GET"))[0] == 404
    assert (await caller.call(f"/v1/models/{ULTRA}", method="GET")).status == 200


async def test_both_hosts_answer_alike(caller: Caller) -> None:
    old, new = await caller.ask(asked()), await answered(caller, NEW_CHAT, asked())
    assert old["choices"] == new["choices"]
    for path in ("embeddings", "tokens/count"):
        body = {"model": "Embeddings", "input": ["a"]}
        assert (await answered_any(caller, f"/v1/{path}", body)) == (
            await answered_any(caller, f"/api/v1/{path}", body)
        )


async def answered_any(caller: Caller, path: str, body: Any) -> Any:
    response = await caller.call(path, body)
    close(response)
    return json.loads(response.body)


async def test_structured_output_of_the_third_generation(caller: Caller) -> None:
    answer = await answered(caller, NEW_CHAT, asked(model=ULTRA, response_format=SHAPED))
    assert answer["object"] == "chat.completions"
    assert answer["model"] == "GigaChat-3-Ultra:32.3.18.5"
    content = answer["choices"][0]["message"]["content"]
    assert json.loads(content) == {"n": 1}
    assert "\n" in content
    passed = asked("hi [[unshaped]]", model=ULTRA, response_format=SHAPED)
    said = (await answered(caller, NEW_CHAT, passed))["choices"][0]["message"]["content"]
    assert said.startswith("This is")


@pytest.mark.parametrize("path", [CHAT, NEW_CHAT])
async def test_older_models_refuse_a_schema(caller: Caller, path: str) -> None:
    refused = error(await caller.call(path, asked(model=MAX, response_format=SHAPED)))
    text = "Invalid params: response_format is not supported by this model"
    assert refused == (422, text)
    await answered(caller, path, asked(model=MAX, response_format={"type": "text"}))


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_object"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
        {"type": "json_schema", "schema": SCHEMA, "strict": "yes"},
        {"type": "regex", "regex": "a"},
        "text",
    ],
)
async def test_forms_refused(caller: Caller, form: Any) -> None:
    body = asked(model=ULTRA, response_format=form)
    assert error(await caller.call(NEW_CHAT, body))[0] == 422


async def test_reasoning(caller: Caller) -> None:
    body = asked("hi [[think:5]]", model=ULTRA, reasoning_effort="low")
    message = (await answered(caller, NEW_CHAT, body))["choices"][0]["message"]
    assert len(message["reasoning_content"].split()) == 5
    response = await caller.call(NEW_CHAT, body | {"stream": True})
    deltas = [json.loads(frame[6:])["choices"][0]["delta"] for frame in close(response)[:-1]]
    thought = "".join(delta.get("reasoning_content", "") for delta in deltas)
    assert thought == message["reasoning_content"]
    silent = await caller.ask(asked("hi [[think:5]]", reasoning_effort="low"))
    assert "reasoning_content" not in silent["choices"][0]["message"]
    assert error(await caller.call(NEW_CHAT, body | {"reasoning_effort": "max"}))[0] == 422


async def test_tokens_for_users_are_of_the_old_host(caller: Caller) -> None:
    allowed = basic("b2b-user:sandbox")
    response = await caller.send("POST", "/api/v1/token", authorization=allowed)
    told = json.loads(response.body)
    assert list(told) == ["tok", "exp"]
    assert told["exp"] == int((caller.now + 1800) * 1000)
    caller.token = told["tok"]
    await caller.ask(asked())
    assert caller.bill[-1].key == "b2b-user"
    wrong = await caller.send("POST", "/api/v1/token", authorization=basic("b2b-user:wrong"))
    assert error(wrong) == (401, "Unauthorized")
    assert error(await caller.call("/v1/token"))[0] == 405
    assert error(await caller.call("/v1/token", method="GET"))[0] == 404


async def test_functions_are_validated(caller: Caller) -> None:
    good = {"name": "f", "parameters": SCHEMA}
    told = await answered(caller, "/v1/functions/validate", good)
    assert (told["status"], told["message"], told["errors"]) == (200, "Function is valid", [])
    assert list(told["warnings"][0]) == ["description", "schema_location"]
    told = await answered(caller, "/v1/functions/validate", {"name": "f"})
    assert (told["status"], len(told["errors"])) == (400, 1)


async def test_functions_are_converted(caller: Caller) -> None:
    city = {"name": "city", "required": True, "schema": {"type": "string"}}
    operation = {"operationId": "weather", "summary": "Tells it", "parameters": [city]}
    described = json.dumps({"paths": {"/weather": {"get": operation}}}).encode()
    told = await answered(caller, "/v1/functions/convert", described)
    assert told["functions"] == [
        {
            "name": "weather",
            "description": "Tells it",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": ""}},
                "required": ["city"],
            },
        }
    ]
    for bad in (
        b"openapi: 3.0.0",
        b"{}",
        b"[]",
        b'{"paths": {"/": {"get": {"parameters": [{}]}}}}',
    ):
        assert error(await caller.call("/v1/functions/convert", bad))[0] == 422


async def test_texts_are_checked(caller: Caller) -> None:
    body = {"model": "GigaCheckDetection", "input": "an AI wrote it"}
    told = await answered(caller, "/v1/ai/check", body)
    assert told == {"category": "ai", "characters": 14, "tokens": 5, "ai_intervals": [[0, 14]]}
    assert (await answered(caller, "/v1/ai/check", body | {"input": "we did"}))[
        "category"
    ] == "human"
    assert error(await caller.call("/v1/ai/check", body | {"input": ""}))[0] == 422
    assert error(await caller.call("/v1/ai/check", body | {"model": MAX}))[0] == 404
    check = asked("good", model="GigaFilter")
    told = await answered(caller, "/v1/filter/check", check)
    assert told["is_profane"] is False
    assert told["usage"]["filter_tokens"] > 0
    bad = asked("bad [[blacklist]]", model="GigaFilter")
    assert (await answered(caller, "/v1/filter/check", bad))["is_profane"] is True
    assert error(await caller.call("/v1/filter/check", check | {"messages": []}))[0] == 422
    assert error(await caller.call("/v1/filter/check", asked()))[0] == 404
