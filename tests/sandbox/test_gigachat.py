"""The simulated GigaChat, asked directly, and once over HTTP."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from xrouter.sandbox.gigachat.simulator import PACKAGE, GigaChatSimulator
from xrouter.sandbox.kit import Charge, SandboxRequest, SandboxResponse

CHAT = "/api/v1/chat/completions"
MAX = "GigaChat-2-Max"
SCOPES = {"pers": "GIGACHAT_API_PERS", "b2b": "GIGACHAT_API_B2B", "corp": "GIGACHAT_API_CORP"}
WEATHER = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Пермь"]}, "days": {"type": "integer"}},
    },
}
CLOCK = {"name": "get_time", "parameters": {"type": "object", "properties": {}}}


def basic(key: str) -> str:
    return "Basic " + base64.b64encode(key.encode()).decode()


class Caller:
    """A client of one account; `now` is the simulator's clock."""

    def __init__(self) -> None:
        self.bill: list[Charge] = []
        self.now = 1_800_000_000.0
        self.simulator = GigaChatSimulator(self.bill, lambda: self.now)
        self.token = ""

    async def send(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> SandboxResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = SandboxRequest(method, path, {}, named, body, "http://here")
        return await self.simulator.handle(request)

    async def oauth(self, key: str, scope: str, **changed: str | None) -> SandboxResponse:
        headers = {
            "authorization": basic(key),
            "rquid": str(uuid4()),
            "content_type": "application/x-www-form-urlencoded",
        } | changed
        kept = {name: value for name, value in headers.items() if value is not None}
        return await self.send("POST", "/api/v2/oauth", f"scope={scope}".encode(), **kept)

    async def login(self, kind: str = "b2b", client: str = "one") -> None:
        response = await self.oauth(f"{kind}-{client}:sandbox", SCOPES[kind])
        self.token = json.loads(response.body)["access_token"]

    async def call(
        self, path: str, body: Any = None, method: str = "POST", **headers: str
    ) -> SandboxResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        bearer = f"Bearer {self.token}"
        return await self.send(method, path, raw, authorization=bearer, **headers)

    async def ask(self, body: Any, **headers: str) -> dict[str, Any]:
        """The answer to a chat, its slot given back."""
        response = await self.call(CHAT, body, **headers)
        assert response.status == 200, response.body
        close(response)
        answer: dict[str, Any] = json.loads(response.body)
        return answer

    async def chunks(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The chunks of a stream, all of them sent."""
        response = await self.call(CHAT, body | {"stream": True})
        frames = close(response)
        assert response.headers["content-type"] == "text/event-stream"
        assert frames[-1] == b"data: [DONE]\n\n"
        assert all(frame.startswith(b"data: {") for frame in frames[:-1])
        return [json.loads(frame[6:]) for frame in frames[:-1]]


def close(response: SandboxResponse) -> list[bytes]:
    frames = response.frames or []
    assert response.on_close is not None
    response.on_close(len(frames) if frames else 1)
    return frames


def error(response: SandboxResponse) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/json"
    body = json.loads(response.body)
    assert list(body) == ["status", "message"]
    assert body["status"] == response.status
    return response.status, body["message"]


def is_uuid(text: str) -> bool:
    return str(UUID(text)) == text


def asked(text: str = "Hello there", **more: Any) -> dict[str, Any]:
    return {"model": MAX, "messages": [{"role": "user", "content": text}]} | more


@pytest.fixture
async def caller() -> Caller:
    caller = Caller()
    await caller.login()
    return caller


async def test_token_is_opaque_and_lives_for_half_an_hour(caller: Caller) -> None:
    response = await caller.oauth("pers-a:sandbox", SCOPES["pers"])
    answer = json.loads(response.body)
    assert list(answer) == ["access_token", "expires_at"]
    assert answer["expires_at"] == int((caller.now + 1800) * 1000)
    assert "pers-a" not in answer["access_token"]


@pytest.mark.parametrize(
    "key, scope, changed, expected",
    [
        ("b2b-a:sandbox", SCOPES["b2b"], {"authorization": None}, (401, 4)),
        ("b2b-a:sandbox", SCOPES["b2b"], {"authorization": "Basic b2b-a:sandbox"}, (401, 4)),
        ("b2b-a:sandbox", SCOPES["b2b"], {"authorization": "Bearer eA=="}, (401, 4)),
        ("no-colon", SCOPES["b2b"], {}, (401, 4)),
        ("b2b-a:other", SCOPES["b2b"], {}, (401, 6)),
        ("b2b-a:sandbox", "", {}, (400, 5)),
        ("b2b-a:sandbox", SCOPES["b2b"], {"content_type": "application/json"}, (400, 5)),
        ("b2b-a:sandbox", "GIGACHAT_API", {}, (400, 1)),
        ("b2b-a:sandbox", SCOPES["pers"], {}, (400, 7)),
        ("corp-a:sandbox", SCOPES["b2b"], {}, (400, 7)),
        ("any-a:sandbox", SCOPES["corp"], {}, (400, 7)),
    ],
)
async def test_oauth_refuses(
    caller: Caller, key: str, scope: str, changed: dict[str, str], expected: tuple[int, int]
) -> None:
    response = await caller.oauth(key, scope, **changed)
    assert (response.status, json.loads(response.body)["code"]) == expected


@pytest.mark.parametrize("rquid", [None, "17", "6fa459ea-ee8a-11e4-b2b1-000000000000"])
async def test_oauth_needs_a_uuid4_of_the_request(caller: Caller, rquid: str | None) -> None:
    response = await caller.oauth("b2b-a:sandbox", SCOPES["b2b"], rquid=rquid)
    assert response.status == 400
    assert response.headers["content-type"].startswith("text/plain")


async def test_unknown_and_expired_tokens(caller: Caller) -> None:
    assert error(await caller.send("GET", "/api/v1/models")) == (401, "Unauthorized")
    good, caller.token = caller.token, "eyJother"
    assert error(await caller.call(CHAT, asked())) == (401, "Unauthorized")
    caller.token = good
    caller.now += 1799
    assert (await caller.call("/api/v1/models", method="GET")).status == 200
    caller.now += 1
    assert error(await caller.call(CHAT, asked())) == (401, "Token has expired")
    await caller.login()
    assert caller.simulator.tokens.expire_all() == 2
    assert error(await caller.call(CHAT, asked())) == (401, "Token has expired")
    await caller.login()
    expired = await caller.send("POST", "/_tokens/expire")
    assert json.loads(expired.body) == {"expired": 3}
    assert error(await caller.call(CHAT, asked())) == (401, "Token has expired")


async def test_models(caller: Caller) -> None:
    response = await caller.call("/api/v1/models", method="GET")
    listed = json.loads(response.body)
    assert listed["object"] == "list"
    assert {row["type"] for row in listed["data"]} == {"chat", "embedder", "filter", "aicheck"}
    one = await caller.call(f"/api/v1/models/{MAX}", method="GET")
    assert json.loads(one.body) == {
        "id": MAX,
        "object": "model",
        "owned_by": "salutedevices",
        "type": "chat",
    }
    assert error(await caller.call("/api/v1/models/gpt", method="GET")) == (404, "No such model")


async def test_answer(caller: Caller) -> None:
    answer = await caller.ask(asked("Hello there"))
    assert list(answer) == ["choices", "created", "model", "object", "usage"]
    assert answer["model"] == "GigaChat-2-Max:2.0.30.01"
    assert answer["object"] == "chat.completion"
    text = "This is GigaChat-2-Max:2.0.30.01. You said: Hello there"
    assert answer["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    ]
    usage = answer["usage"]
    assert usage["prompt_tokens"] == 4
    assert usage["total_tokens"] == 4 + usage["completion_tokens"]
    assert usage["precached_prompt_tokens"] == 0
    assert caller.bill == [
        Charge("gigachat", MAX, "chat", 4, usage["completion_tokens"], False, "b2b-one")
    ]


async def test_old_names_are_served_by_new_models(caller: Caller) -> None:
    answer = await caller.ask(asked(model="GigaChat-Pro"))
    assert answer["model"].startswith("GigaChat-2-Pro:")
    assert caller.bill[0].model == "GigaChat-2-Pro"


async def test_request_ids_are_echoed_or_made(caller: Caller) -> None:
    echoed = await caller.call(
        "/api/v1/models", method="GET", x_request_id="r-1", x_session_id="s-1"
    )
    assert (echoed.headers["x-request-id"], echoed.headers["x-session-id"]) == ("r-1", "s-1")
    made = await caller.call(CHAT, b"{")
    assert is_uuid(made.headers["x-request-id"])


@pytest.mark.parametrize("words", [1, 50])
async def test_exact_words_and_pause(caller: Caller, words: int) -> None:
    body = asked(f"go [[words:{words}]] [[pause:0.02]]")
    answer = await caller.ask(body)
    assert len(answer["choices"][0]["message"]["content"].split()) == words
    response = await caller.call(CHAT, body | {"stream": True})
    assert response.stream_pause == 0.02


async def test_stream(caller: Caller) -> None:
    whole = await caller.ask(asked("one two three four five"))
    chunks = await caller.chunks(asked("one two three four five"))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion"}
    assert not any("id" in chunk for chunk in chunks)
    first, *middle, last = [chunk["choices"][0] for chunk in chunks]
    assert first["delta"]["role"] == "assistant"
    assert len(first["delta"]["content"].split()) == 4
    assert all(list(choice["delta"]) == ["content"] for choice in middle)
    assert last == {"delta": {"content": ""}, "index": 0, "finish_reason": "stop"}
    assert not any("finish_reason" in choice for choice in [first, *middle])
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]
    assert [("usage" in chunk) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["usage"] == whole["usage"]
    assert caller.bill[0] == Charge(**(_fields(caller.bill[1]) | {"streamed": False}))


def _fields(charge: Charge) -> dict[str, Any]:
    return {name: getattr(charge, name) for name in charge.__struct_fields__}


async def test_stream_that_is_left_is_charged_for_what_was_sent(caller: Caller) -> None:
    response = await caller.call(CHAT, asked("go [[words:40]]", stream=True))
    assert response.on_close is not None
    response.on_close(2)
    assert caller.bill[0].tokens_out == 8
    assert caller.simulator.slots.running("b2b-one") == 0


async def test_length_blacklist_and_error(caller: Caller) -> None:
    short = await caller.ask(asked("go [[words:40]]", max_tokens=3))
    assert short["choices"][0]["finish_reason"] == "length"
    assert short["usage"]["completion_tokens"] == 3
    refused = (await caller.ask(asked("bad [[blacklist]]")))["choices"][0]
    assert refused["finish_reason"] == "blacklist"
    assert "bad" not in refused["message"]["content"]
    chunks = await caller.chunks(asked("bad [[blacklist]]"))
    assert chunks[-1]["choices"][0]["finish_reason"] == "blacklist"
    assert (await caller.ask(asked("[[error]]")))["choices"][0]["finish_reason"] == "error"


async def test_session_caches_the_common_prefix(caller: Caller) -> None:
    session = str(uuid4())
    first = asked("one two three")
    assert (await caller.ask(first, x_session_id=session))["usage"]["precached_prompt_tokens"] == 0
    longer = {
        "model": MAX,
        "messages": [
            *first["messages"],
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": "four"},
        ],
    }
    usage = (await caller.ask(longer, x_session_id=session))["usage"]
    assert usage["precached_prompt_tokens"] == 4
    assert usage["prompt_tokens"] == 2
    assert usage["total_tokens"] == 2 + usage["completion_tokens"]
    assert caller.bill[-1].tokens_in == 6
    other = await caller.ask(longer, x_session_id=str(uuid4()))
    assert other["usage"]["precached_prompt_tokens"] == 0


def tooled(text: str, **more: Any) -> dict[str, Any]:
    return asked(text, functions=[CLOCK, WEATHER]) | {"function_call": "auto"} | more


async def test_function_call_is_one_and_its_arguments_are_an_object(caller: Caller) -> None:
    answer = await caller.ask(tooled("use get_weather and get_time"))
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "function_call"
    message = choice["message"]
    assert message["content"] == ""
    assert message["function_call"] == {
        "name": "get_weather",
        "arguments": {"city": "Пермь", "days": 1},
    }
    assert is_uuid(message["functions_state_id"])


@pytest.mark.parametrize("more", [{"function_call": "none"}, {"function_call": None}])
async def test_functions_are_not_called_unless_it_is_said(caller: Caller, more: Any) -> None:
    answer = await caller.ask(tooled("use get_weather", **more))
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_forced_function_with_partial_arguments(caller: Caller) -> None:
    forced = {"name": "get_weather", "partial_arguments": {"days": 7}}
    answer = await caller.ask(tooled("hello", function_call=forced))
    call = answer["choices"][0]["message"]["function_call"]
    assert call == {"name": "get_weather", "arguments": {"city": "Пермь", "days": 7}}


async def test_results_are_quoted_and_functions_called_one_after_another(caller: Caller) -> None:
    body = tooled("use get_weather and get_time")
    for name in ("get_weather", "get_time"):
        message = (await caller.ask(body))["choices"][0]["message"]
        assert message["function_call"]["name"] == name
        result = {"role": "function", "name": name, "content": f'{{"of": "{name}"}}'}
        body["messages"] = [*body["messages"], message, result]
    answer = (await caller.ask(body))["choices"][0]
    assert answer["finish_reason"] == "stop"
    assert '{"of": "get_weather"}' in answer["message"]["content"]
    assert '{"of": "get_time"}' in answer["message"]["content"]


async def test_function_call_in_a_stream(caller: Caller) -> None:
    (chunk,) = await caller.chunks(tooled("use get_time"))
    choice = chunk["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["delta"]["role"] == "assistant"
    assert choice["delta"]["function_call"] == {"name": "get_time", "arguments": {}}
    assert is_uuid(choice["delta"]["functions_state_id"])
    assert chunk["usage"]["completion_tokens"] > 0
    call, end = await caller.chunks(tooled("use get_time [[split]]"))
    assert "finish_reason" not in call["choices"][0]
    assert "function_call" in call["choices"][0]["delta"]
    assert end["choices"][0]["finish_reason"] == "function_call"
    assert end["choices"][0]["delta"] == {"content": ""}
    text, *_, last = await caller.chunks(tooled("use get_time [[preface]]"))
    assert text["choices"][0]["delta"]["content"]
    assert "function_call" in last["choices"][0]["delta"]
    work, *_ = await caller.chunks(asked("[[in_progress]]"))
    assert work["choices"][0]["delta"]["role"] == "function_in_progress"


async def test_a_system_message_that_speaks_of_json_is_obeyed(caller: Caller) -> None:
    told = spoken(("system", "Answer with a JSON object."), ("user", "hi"))
    answer = await caller.ask(asked() | told)
    content = json.loads(answer["choices"][0]["message"]["content"])
    assert content == {"model": MAX, "said": "hi"}


def spoken(*messages: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


def defined(parameters: Any) -> dict[str, Any]:
    return {"functions": [{"name": "f", "parameters": parameters}]}


def having(x: Any) -> dict[str, Any]:
    return defined({"type": "object", "properties": {"x": x}})


CALLED = {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": {}}}
USER = {"role": "user", "content": "x"}
RESULT = {"role": "function", "name": "f", "content": "{}"}
NO_RESULT = "Invalid params: every assistant function call must have a result in history"
LATE_SYSTEM = "Invalid params: system message must be the first message"


@pytest.mark.parametrize(
    "more, status, message",
    [
        ({"model": "GigaChat-9"}, 404, "No such model"),
        ({"model": "Embeddings"}, 404, "No such model"),
        ({"messages": []}, 422, None),
        (spoken(("user", "a"), ("system", "b")), 422, LATE_SYSTEM),
        (spoken(("system", "a"), ("system", "b")), 422, LATE_SYSTEM),
        (spoken(("user", [{"type": "text", "text": "a"}])), 422, None),
        (spoken(("assistant", None)), 422, None),
        (spoken(("developer", "a")), 422, None),
        (spoken(("tool", "a")), 422, None),
        (spoken(("function_in_progress", "a")), 422, None),
        ({"messages": [USER, RESULT]}, 422, None),
        ({"messages": [USER, CALLED, RESULT | {"name": "g"}]}, 422, None),
        ({"messages": [USER, CALLED, USER, RESULT]}, 422, NO_RESULT),
        ({"messages": [USER, CALLED]}, 422, NO_RESULT),
        ({"messages": [USER, CALLED, CALLED, RESULT]}, 422, NO_RESULT),
        (
            {"messages": [USER, CALLED, RESULT | {"content": "five"}]},
            422,
            "INVALID_PARAMS: invalid function result for function json string `five`",
        ),
        (
            {
                "messages": [
                    USER,
                    CALLED | {"function_call": {"name": "f", "arguments": "{}"}},
                    RESULT,
                ]
            },
            422,
            None,
        ),
        ({"messages": [USER, CALLED | {"functions_state_id": "call_1"}, RESULT]}, 422, None),
        (having({"type": "object"}), 422, "Field 'properties.x.properties' is missing"),
        (
            having({"type": "object", "properties": {"y": {"type": "object"}}}),
            422,
            "Field 'properties.x.properties.y.properties' is missing",
        ),
        (defined({"type": "object"}), 422, "Field 'properties' is missing"),
        (having({"type": "array"}), 422, "Field 'properties.x.items' is missing"),
        (having({"description": "?"}), 422, "Field 'properties.x.type' is missing"),
        (having({"type": ["string", "null"]}), 422, None),
        (having({"anyOf": [{"type": "string"}]}), 422, None),
        (having({"type": "integer", "enum": [1]}), 422, None),
        (having({"type": "string", "format": "email"}), 422, None),
        ({"functions": [{"name": "f"}]}, 422, None),
        ({"functions": [CLOCK], "function_call": {"name": "f"}}, 422, None),
        ({"functions": [CLOCK], "function_call": "required"}, 422, None),
        ({"repetition_penalty": 0}, 422, "repetition_penalty must be in range (0, +inf)"),
        ({"temperature": 0}, 422, None),
        ({"top_p": 1.5}, 422, None),
        ({"max_tokens": 0}, 422, None),
        ({"stream": "yes"}, 422, None),
        ({"response_format": {"type": "json_object"}}, 422, None),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, 422, None),
        (spoken(("user", "word " * 131_073)), 413, "Payload too large"),
    ],
)
async def test_chat_refuses(caller: Caller, more: Any, status: int, message: str | None) -> None:
    refused = error(await caller.call(CHAT, asked() | more))
    assert refused[0] == status, refused
    assert message in (None, refused[1])
    assert caller.bill == []
    assert caller.simulator.slots.running("b2b-one") == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"a": 1,}'])
async def test_body_must_be_json(caller: Caller, body: bytes) -> None:
    expected = (400, "Your request contains invalid JSON syntax.")
    assert error(await caller.call(CHAT, body)) == expected


@pytest.mark.parametrize("kind, limit", [("pers", 1), ("b2b", 10), ("corp", 10)])
async def test_concurrency_is_limited_by_account(kind: str, limit: int) -> None:
    caller = Caller()
    await caller.login(kind)
    running = [await caller.call(CHAT, asked(stream=True)) for _ in range(limit)]
    assert error(await caller.call(CHAT, asked())) == (429, "Too Many Requests")
    count = {"model": "GigaChat", "input": ["a"]}
    assert error(await caller.call("/api/v1/tokens/count", count))[0] == 429
    assert (await caller.call("/api/v1/models", method="GET")).status == 200
    close(running[0])
    close(await caller.call(CHAT, asked()))
    await caller.login(kind, "other")
    assert (await caller.call(CHAT, asked())).status == 200


async def test_embeddings(caller: Caller) -> None:
    body = {"model": "Embeddings", "input": ["one two", "three"]}
    response = await caller.call("/api/v1/embeddings", body)
    close(response)
    answer = json.loads(response.body)
    assert list(answer) == ["object", "model", "data"]
    assert [row["usage"] for row in answer["data"]] == [{"prompt_tokens": 2}, {"prompt_tokens": 2}]
    assert [row["index"] for row in answer["data"]] == [0, 1]
    assert {len(row["embedding"]) for row in answer["data"]} == {1024}
    assert caller.bill == [Charge("gigachat", "Embeddings", "embeddings", 4, 0, False, "b2b-one")]
    large = {"model": "EmbeddingsGigaR", "input": "one"}
    response = await caller.call("/api/v1/embeddings", large)
    assert len(json.loads(response.body)["data"][0]["embedding"]) == 2560
    long = {"model": "Embeddings", "input": ["a " * 513]}
    assert error(await caller.call("/api/v1/embeddings", long)) == (413, "Payload too large")
    for bad in ([], [1], [[1, 2]], None):
        wrong = {"model": "Embeddings", "input": bad}
        assert error(await caller.call("/api/v1/embeddings", wrong))[0] == 422
    assert error(await caller.call("/api/v1/embeddings", asked(input=["a"])))[0] == 404


async def test_tokens_are_counted_into_a_bare_array(caller: Caller) -> None:
    body = {"model": "GigaChat", "input": ["one two", "Привет"]}
    response = await caller.call("/api/v1/tokens/count", body)
    assert json.loads(response.body) == [
        {"object": "tokens", "tokens": 2, "characters": 7},
        {"object": "tokens", "tokens": 2, "characters": 6},
    ]
    assert caller.bill == []


async def test_balance_goes_down_and_postpaid_accounts_have_none(caller: Caller) -> None:
    await caller.ask(asked("one two three"))
    spent = caller.bill[0].tokens_in + caller.bill[0].tokens_out
    response = await caller.call("/api/v1/balance", method="GET")
    rows = {row["usage"]: row["value"] for row in json.loads(response.body)["balance"]}
    assert rows[MAX] == PACKAGE - spent
    assert rows["GigaChat"] == PACKAGE
    await caller.login("corp")
    refused = error(await caller.call("/api/v1/balance", method="GET"))
    assert refused == (403, "Permission denied")


async def test_empty_package(caller: Caller) -> None:
    await caller.login("b2b", "is-empty")
    assert error(await caller.call(CHAT, asked())) == (402, "Payment Required")


async def test_unknown_paths_and_methods(caller: Caller) -> None:
    assert error(await caller.call("/api/v1/nothing", method="GET"))[0] == 404
    assert error(await caller.call("/v3/models", method="GET"))[0] == 404
    assert error(await caller.call("/api/v2/chat/completions", asked()))[0] == 404
    assert error(await caller.call("/v2/models", method="GET"))[0] == 404
    assert error(await caller.call(CHAT, method="GET"))[0] == 405


async def test_failures_for_faults(caller: Caller) -> None:
    assert error(caller.simulator.failure(401)) == (401, "Unauthorized")
    assert error(caller.simulator.failure(429)) == (429, "Too Many Requests")
    assert error(caller.simulator.failure(418, "tea")) == (418, "tea")
    frame = caller.simulator.error_frame()
    assert json.loads(frame.removeprefix(b"data: ")) == {
        "status": 500,
        "message": "Internal Server Error",
    }


async def test_over_http(http: aiohttp.ClientSession) -> None:
    headers = {"authorization": basic("pers-h:sandbox"), "rquid": str(uuid4())}
    async with http.post(
        "/gigachat/api/v2/oauth", data={"scope": SCOPES["pers"]}, headers=headers
    ) as reply:
        token = (await reply.json())["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    path = f"/gigachat{CHAT}"
    slow = asked("go [[words:4000]] [[pause:5]]", stream=True)
    async with http.post(path, json=slow, headers=headers) as running:
        assert (await running.content.readline()).startswith(b'data: {"choices"')
        async with http.post(path, json=asked(), headers=headers) as second:
            assert second.status == 429
        running.close()
    status = 429
    while status == 429:
        async with http.post(path, json=asked(), headers=headers) as third:
            status = third.status
    assert status == 200
