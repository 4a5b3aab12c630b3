"""The simulated Yandex Cloud, asked directly, and once over HTTP: keys, native API, operations."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwt
from joserfc.jwk import RSAKey
from tests.sandbox.yandex_caller import Caller, asked, close, uri

from xrouter.sandbox.kit import Charge, SandboxResponse
from xrouter.sandbox.yandex.accounts import ACCOUNT, AUDIENCE, KEY_ID
from xrouter.sandbox.yandex.models import FOLDER

COMPLETION = "/foundationModels/v1/completion"
WEATHER = {
    "name": "get_weather",
    "description": "?",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Омск"]}, "days": {"type": "integer"}},
    },
}
CLOCK = {"name": "get_time", "parameters": {"type": "object", "properties": {}}}
TOOLS = [{"function": CLOCK}, {"function": WEATHER}]


@pytest.fixture
def caller() -> Caller:
    return Caller()


def grpc_error(response: SandboxResponse) -> tuple[int, int, str]:
    """Shape (a): code, HTTP status, message."""
    error = json.loads(response.body)["error"]
    assert list(error) == ["grpcCode", "httpCode", "message", "httpStatus", "details"]
    assert error["httpCode"] == response.status
    return error["grpcCode"], response.status, error["message"]


def unary_error(response: SandboxResponse) -> tuple[int, int, str]:
    """Shape (b): code, HTTP status, message."""
    body = json.loads(response.body)
    assert list(body) == ["error", "code", "message", "details"]
    assert body["error"] == body["message"]
    return body["code"], response.status, body["message"]


async def complete(caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
    response = await caller.native(COMPLETION, body)
    assert response.status == 200, response.body
    close(response)
    answer = json.loads(response.body)
    assert list(answer) == ["result"]
    result: dict[str, Any] = answer["result"]
    return result


async def lines(caller: Caller, body: dict[str, Any]) -> list[dict[str, Any]]:
    options = body.get("completionOptions", {}) | {"stream": True}
    response = await caller.native(COMPLETION, body | {"completionOptions": options})
    frames = close(response)
    assert all(frame.count(b"\n") == 1 and frame.endswith(b"\n") for frame in frames)
    return [json.loads(frame)["result"] for frame in frames]


def text_of(result: dict[str, Any]) -> str:
    text: str = result["alternatives"][0]["message"]["text"]
    return text


def status_of(result: dict[str, Any]) -> str:
    status: str = result["alternatives"][0]["status"]
    return status.removeprefix("ALTERNATIVE_STATUS_")


@pytest.mark.parametrize(
    "authorization, code, message",
    [
        (None, 16, "The token is invalid"),
        ("Bearer AQVN-sandbox-1", 16, "The token is invalid"),
        ("Bearer t1.unknown", 16, "The token is invalid"),
        ("Api-Key AQVNother", 16, "Unknown api key"),
        ("Api-Key AQVN-sandbox-expired", 16, "The apikey has expired"),
        ("Api-Key AQVN-sandbox-denied", 7, "Permission denied"),
    ],
)
async def test_native_credentials(
    caller: Caller, authorization: str | None, code: int, message: str
) -> None:
    refused = await caller.native(COMPLETION, asked(), authorization=authorization)
    assert grpc_error(refused) == (code, 403 if code == 7 else 401, message)
    tokenize = {"modelUri": uri("yandexgpt"), "text": "a"}
    refused = await caller.native(
        "/foundationModels/v1/tokenize", tokenize, authorization=authorization
    )
    assert unary_error(refused)[0] == code


async def test_trace_headers(caller: Caller) -> None:
    response = await caller.native(COMPLETION, asked(), x_client_request_id="c-1")
    assert response.headers["x-client-request-id"] == "c-1"
    assert response.headers["x-request-id"]
    assert response.headers["x-server-trace-id"]
    bare = await caller.native(COMPLETION, {})
    assert "x-client-request-id" not in bare.headers
    assert bare.headers["x-server-trace-id"] != response.headers["x-server-trace-id"]


async def test_folder_header_must_be_the_accounts(caller: Caller) -> None:
    assert (await caller.native(COMPLETION, asked(), x_folder_id=FOLDER)).status == 200
    refused = await caller.native(COMPLETION, asked(), x_folder_id="b1gother")
    assert grpc_error(refused)[:2] == (3, 400)


def signed(key: dict[str, str], now: float, **changed: Any) -> str:
    algorithm = changed.pop("alg", "PS256")
    kid = changed.pop("kid", key["id"])
    begin = key["private_key"].index("-----BEGIN")
    claims = {
        "iss": key["service_account_id"],
        "aud": AUDIENCE,
        "iat": int(now),
        "exp": int(now) + 3600,
    } | changed
    header = {"typ": "JWT", "alg": algorithm, "kid": kid}
    secret = RSAKey.import_key(key["private_key"][begin:])
    return jwt.encode(header, claims, secret, algorithms=[algorithm])


async def test_token_for_a_signed_jwt(caller: Caller) -> None:
    key = json.loads((await caller.send("GET", "/_accounts/key")).body)
    assert key["private_key"].startswith("PLEASE DO NOT REMOVE THIS LINE!")
    assert (key["id"], key["service_account_id"]) == (KEY_ID, ACCOUNT)
    response = await caller.iam({"jwt": signed(key, caller.now)})
    answer = json.loads(response.body)
    assert list(answer) == ["iamToken", "expiresAt"]
    assert answer["iamToken"].startswith("t1.")
    assert answer["expiresAt"] == "2027-01-15T20:00:00.000000789Z"
    bearer = f"Bearer {answer['iamToken']}"
    response = await caller.native(COMPLETION, asked(), authorization=bearer)
    assert response.status == 200
    assert caller.bill[0].key == ACCOUNT
    assert (await caller.compatible("GET", "/v1/models", authorization=bearer)).status == 200
    caller.now += 12 * 3600
    expired = await caller.native(COMPLETION, asked(), authorization=bearer)
    assert grpc_error(expired) == (16, 401, "The token has expired")


async def test_all_tokens_can_be_expired(caller: Caller) -> None:
    key = json.loads((await caller.send("GET", "/_accounts/key")).body)
    answer = json.loads((await caller.iam({"jwt": signed(key, caller.now)})).body)
    assert json.loads((await caller.send("POST", "/_accounts/expire")).body) == {"expired": 1}
    bearer = f"Bearer {answer['iamToken']}"
    expired = await caller.native(COMPLETION, asked(), authorization=bearer)
    assert grpc_error(expired)[2] == "The token has expired"


@pytest.mark.parametrize(
    "changed",
    [
        {"alg": "RS256"},
        {"kid": "ajeother"},
        {"iss": "ajeother"},
        {"aud": "http://here/iam/v1/tokens"},
        {"exp": 1_800_000_000 + 3601},
        {"exp": 1_799_999_000},
        {"iat": 1_800_000_100},
        {"iat": "now"},
        {"exp": None},
    ],
)
async def test_jwt_must_be_as_it_must(caller: Caller, changed: dict[str, Any]) -> None:
    key = json.loads((await caller.send("GET", "/_accounts/key")).body)
    refused = await caller.iam({"jwt": signed(key, caller.now, **changed)})
    body = json.loads(refused.body)
    assert (refused.status, list(body), body["code"]) == (401, ["code", "message", "details"], 16)


async def test_jwt_signed_by_another_key(caller: Caller) -> None:
    key = json.loads((await caller.send("GET", "/_accounts/key")).body)
    other = key | {"private_key": _private(rsa.generate_private_key(65537, 2048))}
    assert (await caller.iam({"jwt": signed(other, caller.now)})).status == 401
    head, claims, signature = signed(key, caller.now).split(".")
    for token in (f"{head}.{claims}.", f"{head}.{claims}", f"{head}.x.{signature}", "..", 5):
        assert (await caller.iam({"jwt": token})).status == 401


async def test_registered_account(caller: Caller) -> None:
    private = rsa.generate_private_key(65537, 2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    key = {"id": "ajek", "service_account_id": "ajes", "public_key": public.decode()}
    registered = await caller.send("POST", "/_accounts", json.dumps(key).encode())
    assert registered.status == 201
    key["private_key"] = _private(private)
    assert (await caller.iam({"jwt": signed(key, caller.now)})).status == 200
    elliptic = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = elliptic.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for bad in (pem.decode(), "-----BEGIN"):
        refused = await caller.send(
            "POST", "/_accounts", json.dumps(key | {"public_key": bad}).encode()
        )
        assert refused.status == 400


def _private(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.mark.parametrize("body", [{}, {"jwt": "a", "yandexPassportOauthToken": "b"}, {"x": "y"}])
async def test_token_request_has_exactly_one_field(caller: Caller, body: dict[str, str]) -> None:
    assert (await caller.iam(body)).status == 400


async def test_answer(caller: Caller) -> None:
    result = await complete(caller, asked("Hello there"))
    text = "This is yandexgpt/latest. You said: Hello there"
    assert result["alternatives"] == [
        {"message": {"role": "assistant", "text": text}, "status": "ALTERNATIVE_STATUS_FINAL"}
    ]
    usage = result["usage"]
    assert usage["inputTextTokens"] == "18"
    assert usage["totalTokens"] == str(18 + int(usage["completionTokens"]))
    assert usage["completionTokensDetails"] == {"reasoningTokens": "0"}
    tokens = int(usage["completionTokens"])
    assert caller.bill == [
        Charge("yandex", "yandexgpt/latest", "chat", 18, tokens, False, "AQVN-sandbox-1")
    ]


async def test_each_branch_has_its_build(caller: Caller) -> None:
    builds = {
        branch: (await complete(caller, asked(model=f"yandexgpt/{branch}")))["modelVersion"]
        for branch in ("latest", "rc", "deprecated")
    }
    assert len(set(builds.values())) == 3
    default = await complete(caller, asked(model="yandexgpt"))
    assert default["modelVersion"] == builds["latest"]


async def test_snake_case_is_the_same(caller: Caller) -> None:
    body = {
        "model_uri": uri("yandexgpt-lite"),
        "completion_options": {"max_tokens": "2", "temperature": 0.5},
        "messages": [{"role": "user", "text": "Hello"}],
        "json_object": None,
    }
    result = await complete(caller, body)
    assert status_of(result) == "TRUNCATED_FINAL"
    assert result["usage"]["completionTokens"] == "2"


async def test_stream_is_cumulative_lines(caller: Caller) -> None:
    whole = await complete(caller, asked("one two three four five six seven"))
    results = await lines(caller, asked("one two three four five six seven"))
    assert [status_of(result) for result in results[:-1]] == ["PARTIAL"] * (len(results) - 1)
    assert len(results) > 2
    texts = [text_of(result) for result in results]
    assert all(after.startswith(before) for before, after in pairwise(texts))
    assert results[-1] == whole
    counts = [int(result["usage"]["completionTokens"]) for result in results]
    assert counts == sorted(counts)
    assert [charge.streamed for charge in caller.bill] == [False, True]
    assert caller.bill[1].tokens_out == caller.bill[0].tokens_out


async def test_broken_emoji_and_text_taken_back(caller: Caller) -> None:
    first, *_, last = await lines(caller, asked("smile [[emoji]]"))
    assert text_of(first).endswith("\ufffd")
    assert "\ufffd" not in text_of(last)
    assert not text_of(last).startswith(text_of(first))
    assert text_of(last).startswith(text_of(first).removesuffix("\ufffd") + "🙂")
    *_, partial, last = await lines(caller, asked("go [[words:20]] [[rewrite]]"))
    assert not text_of(last).startswith(text_of(partial))


async def test_content_filter_replaces_the_whole_text(caller: Caller) -> None:
    first, *_, last = await lines(caller, asked("bad thing [[filter]]"))
    assert status_of(last) == "CONTENT_FILTER"
    assert not text_of(last).startswith(text_of(first))
    whole = await complete(caller, asked("bad thing [[filter]]"))
    assert status_of(whole) == "CONTENT_FILTER"
    stub = await complete(caller, asked("bad thing [[stub]]"))
    assert status_of(stub) == "FINAL"
    assert "bad thing" not in text_of(stub)


async def test_words_and_hidden_reasoning(caller: Caller) -> None:
    body = asked("go [[words:50]] [[think:7]] [[pause:0.01]]")
    assert len(text_of(await complete(caller, body)).split()) == 50
    options = {"reasoningOptions": {"mode": "ENABLED_HIDDEN"}}
    result = await complete(caller, body | {"completionOptions": options})
    assert result["usage"]["completionTokensDetails"] == {"reasoningTokens": "7"}
    assert len(text_of(result).split()) == 50
    other = await complete(
        caller, body | {"completionOptions": options, "modelUri": uri("yandexgpt/rc")}
    )
    assert other["usage"]["completionTokensDetails"] == {"reasoningTokens": "0"}
    response = await caller.native(COMPLETION, body | {"completionOptions": {"stream": True}})
    assert response.stream_pause == 0.01


@pytest.mark.parametrize(
    "more, called",
    [
        ({}, ["get_weather", "get_time"]),
        ({"parallelToolCalls": False}, ["get_weather"]),
        ({"toolChoice": {"mode": "AUTO"}}, ["get_weather", "get_time"]),
        ({"toolChoice": {"functionName": "get_time"}}, ["get_time"]),
        ({"tool_choice": {"function_name": "get_time"}}, ["get_time"]),
    ],
)
async def test_tool_calls(caller: Caller, more: dict[str, Any], called: list[str]) -> None:
    body = asked("use get_weather and get_time", tools=TOOLS) | more
    result = await complete(caller, body)
    assert status_of(result) == "TOOL_CALLS"
    calls = result["alternatives"][0]["message"]["toolCallList"]["toolCalls"]
    arguments = {"get_weather": {"city": "Омск", "days": 1}, "get_time": {}}
    assert calls == [
        {"functionCall": {"name": name, "arguments": arguments[name]}} for name in called
    ]
    assert await lines(caller, body) == [result]


async def test_tool_choice_none_and_required(caller: Caller) -> None:
    none = asked("use get_time", tools=TOOLS, toolChoice={"mode": "NONE"})
    assert text_of(await complete(caller, none)) == "\\[get_time\\]\n{}"
    required = asked("hello", tools=TOOLS, toolChoice={"mode": "REQUIRED"})
    assert status_of(await complete(caller, required)) == "TOOL_CALLS"
    silent = asked("hello", tools=TOOLS)
    assert status_of(await complete(caller, silent)) == "FINAL"


async def test_tool_results_are_quoted(caller: Caller) -> None:
    body = asked("use get_weather and get_time", tools=TOOLS)
    message = (await complete(caller, body))["alternatives"][0]["message"]
    body["messages"] = [*body["messages"], message, results("get_time", "get_weather")]
    answer = await complete(caller, body)
    assert status_of(answer) == "FINAL"
    assert "The tool said: of get_time The tool said: of get_weather" in text_of(answer)


def results(*names: str) -> dict[str, Any]:
    given = [{"functionResult": {"name": name, "content": f"of {name}"}} for name in names]
    return {"role": "user", "toolResultList": {"toolResults": given}}


async def test_json(caller: Caller) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    strict = await complete(caller, asked(jsonSchema={"schema": schema}))
    assert json.loads(text_of(strict)) == {"n": 1}
    free = await complete(caller, asked("hi", json_object=True))
    assert json.loads(text_of(free))["said"] == "hi"


CALLS = {
    "role": "assistant",
    "toolCallList": {"toolCalls": [{"functionCall": {"name": "f", "arguments": {}}}]},
}
USER = {"role": "user", "text": "x"}
OTHER = "Specified folder ID 'b1gother' does not match with service account folder ID '{}'"


@pytest.mark.parametrize(
    "more, message",
    [
        ({"modelUri": "yandexgpt"}, "Failed to parse model URI"),
        ({"modelUri": "yandexgpt/latest"}, "Failed to parse model URI"),
        ({"modelUri": None}, "Failed to parse model URI"),
        ({"modelUri": "gpt://b1gother/yandexgpt/latest"}, OTHER.format(FOLDER)),
        ({"modelUri": uri("yandexgpt/beta")}, "invalid model_uri"),
        ({"modelUri": uri("yandexgpt-9")}, "invalid model_uri"),
        ({"modelUri": uri("qwen3-235b-a22b-fp8/latest")}, "invalid model_uri"),
        ({"modelUri": uri("text-search-doc", "emb")}, "invalid model_uri"),
        ({"topP": 1}, 'unknown field "topP" in request'),
        ({"completionOptions": {"top_p": 1}}, 'unknown field "top_p" in completionOptions'),
        ({"messages": [USER | {"content": "x"}]}, 'unknown field "content" in messages[0]'),
        ({"tools": [{"type": "function", "function": CLOCK}]}, 'unknown field "type" in tools[0]'),
        ({"completionOptions": {"temperature": 1.1}}, "temperature must be in range [0, 1]"),
        ({"completionOptions": {"maxTokens": "0"}}, "maxTokens must be greater than 0"),
        ({"completionOptions": {"maxTokens": "many"}}, None),
        ({"completionOptions": {"stream": "true"}}, None),
        ({"completionOptions": {"stream": True}, "completion_options": {}}, None),
        ({"messages": []}, None),
        ({"messages": [USER | {"text": ""}]}, "empty message text"),
        ({"messages": [{"role": "user"}]}, "empty message text"),
        ({"messages": [USER | {"role": "developer"}]}, None),
        ({"messages": [USER | {"text": [{"text": "x"}]}]}, None),
        ({"messages": [CALLS | {"text": "and"}]}, None),
        ({"messages": [USER, CALLS, results("g")]}, None),
        ({"messages": [USER, CALLS, results("f", "f")]}, None),
        ({"messages": [USER, results("f")]}, None),
        ({"messages": [USER, CALLS, USER, results("f")]}, None),
        ({"messages": [CALLS | {"role": "user"}]}, None),
        ({"jsonObject": True, "jsonSchema": {"schema": {}}}, None),
        ({"tools": TOOLS, "toolChoice": {"mode": "AUTO", "functionName": "get_time"}}, None),
        ({"tools": TOOLS, "toolChoice": {"functionName": "f"}}, None),
        ({"tools": TOOLS, "toolChoice": "auto"}, None),
        ({"messages": [USER | {"text": "a " * 32_768}]}, None),
    ],
)
async def test_completion_refuses(caller: Caller, more: Any, message: str | None) -> None:
    refused = grpc_error(await caller.native(COMPLETION, asked() | more))
    assert refused[:2] == (3, 400)
    assert message in (None, refused[2])
    assert caller.bill == []


async def test_too_long_says_how_much(caller: Caller) -> None:
    refused = grpc_error(await caller.native(COMPLETION, asked("a " * 40_000)))
    assert refused[2].startswith("Error in session internal_id=")
    assert refused[2].endswith("number of input tokens must be no more than 32768, got 40014")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
async def test_body_must_be_json(caller: Caller, body: bytes) -> None:
    assert grpc_error(await caller.native(COMPLETION, body))[:2] == (3, 400)


async def test_ten_generations_at_once(caller: Caller) -> None:
    streamed = asked(completionOptions={"stream": True})
    running = [await caller.native(COMPLETION, streamed) for _ in range(10)]
    quota = "ai.textGenerationCompletionSessionsCount.count gauge quota limit exceed:"
    refused = grpc_error(await caller.native(COMPLETION, asked()))
    assert refused == (8, 429, f"{quota} allowed 10 requests")
    tokenize = {"modelUri": uri("yandexgpt"), "text": "a"}
    assert (await caller.native("/foundationModels/v1/tokenize", tokenize)).status == 200
    close(running[0])
    assert (await caller.native(COMPLETION, asked())).status == 200


async def test_a_stream_that_is_left_is_charged_in_full(caller: Caller) -> None:
    response = await caller.native(
        COMPLETION, asked("go [[words:40]]", completionOptions={"stream": True})
    )
    assert caller.bill == []
    assert response.on_close is not None
    response.on_close(1)
    assert caller.bill[0].tokens_out == 40


async def test_tokenizers_agree_with_the_usage(caller: Caller) -> None:
    path = "/foundationModels/v1/tokenize"
    response = await caller.native(path, {"modelUri": uri("yandexgpt"), "text": "one twenty"})
    answer = json.loads(response.body)
    assert [token["text"] for token in answer["tokens"]] == ["one", " twen", "ty"]
    assert all(isinstance(token["id"], str) for token in answer["tokens"])
    assert answer["modelVersion"]
    body = asked("one twenty", tools=TOOLS)
    counted = json.loads((await caller.native(f"{path}Completion", body)).body)
    usage = (await complete(caller, body))["usage"]
    assert str(len(counted["tokens"])) == usage["inputTextTokens"]
    one = json.loads((await caller.native(f"{path}Completion", asked("one"))).body)
    assert len(one["tokens"]) == 15
    refused = await caller.native(path, {"modelUri": uri("yandexgpt"), "texts": ["a"]})
    assert unary_error(refused)[:2] == (3, 400)


async def test_embedding(caller: Caller) -> None:
    path = "/foundationModels/v1/textEmbedding"
    model = uri("text-search-query", "emb")
    answer = json.loads((await caller.native(path, {"modelUri": model, "text": "one two"})).body)
    assert list(answer) == ["embedding", "numTokens", "modelVersion"]
    assert (len(answer["embedding"]), answer["numTokens"]) == (256, "2")
    document = uri("text-search-doc", "emb")
    pair = json.loads((await caller.native(path, {"modelUri": document, "text": "one two"})).body)
    assert pair["embedding"] == answer["embedding"]
    assert [charge.tokens_in for charge in caller.bill] == [2, 2]
    long = await caller.native(path, {"modelUri": model, "text": "a " * 2908})
    assert unary_error(long)[2].endswith("must be no more than 2048, got 2908")
    for bad in (
        {"text": ""},
        {"dim": 512, "text": "a"},
        {"text": ["a"]},
        {"modelUri": uri("yandexgpt")},
    ):
        refused = await caller.native(path, {"modelUri": model, "text": "a"} | bad)
        assert unary_error(refused)[:2] == (3, 400)


async def test_operation_is_done_after_a_moment(caller: Caller) -> None:
    started = await caller.native(f"{COMPLETION}Async", asked("Hello"))
    operation = json.loads(started.body)
    assert operation["done"] is False
    assert "response" not in operation
    path = f"/operations/{operation['id']}"
    assert json.loads((await caller.native(path, method="GET")).body)["done"] is False
    caller.now += 1
    done = json.loads((await caller.native(path, method="GET")).body)
    assert done["done"] is True
    assert done["response"]["@type"].endswith(".CompletionResponse")
    assert text_of(done["response"]) == "This is yandexgpt/latest. You said: Hello"
    assert "result" not in done["response"]
    assert caller.bill[0].operation == "chat_async"


async def test_operation_cancelled_or_unknown(caller: Caller) -> None:
    started = await caller.native(f"{COMPLETION}Async", asked("Hello"))
    path = f"/operations/{json.loads(started.body)['id']}"
    cancelled = json.loads((await caller.native(f"{path}:cancel", method="GET")).body)
    assert cancelled["error"]["code"] == 1
    caller.now += 1
    assert "response" not in json.loads((await caller.native(path, method="GET")).body)
    assert unary_error(await caller.native("/operations/x", method="GET"))[:2] == (5, 404)
    refused = await caller.native(f"{COMPLETION}Async", asked(completionOptions={"stream": True}))
    assert unary_error(refused)[:2] == (3, 400)


async def test_unknown_paths(caller: Caller) -> None:
    assert unary_error(await caller.native("/foundationModels/v1/nothing", {}))[:2] == (5, 404)
    assert (await caller.native(COMPLETION, method="GET")).status == 404


@pytest.mark.parametrize("status, code", [(401, 16), (429, 8), (500, 13), (503, 14), (418, 3)])
async def test_failures_for_faults(caller: Caller, status: int, code: int) -> None:
    failure = caller.simulator.failure(status)
    assert grpc_error(failure)[:2] == (code, status)
    assert failure.headers["x-server-trace-id"]


async def test_error_frame_is_for_both_kinds_of_readers(caller: Caller) -> None:
    line, event = caller.simulator.error_frame().decode().split("\n", 1)
    assert json.loads(line)["error"]["grpcCode"] == 13
    assert json.loads(event.removeprefix("data: "))["error"] == {"error": "Internal error"}


async def test_over_http(http: aiohttp.ClientSession) -> None:
    headers = {"authorization": "Api-Key AQVN-sandbox-h"}
    body = asked("one two three four", completionOptions={"stream": True})
    async with http.post(f"/yandex{COMPLETION}", json=body, headers=headers) as reply:
        assert reply.content_type == "application/json"
        results = [json.loads(line)["result"] async for line in reply.content]
    assert status_of(results[-1]) == "FINAL"
    async with http.get("/_sandbox/bill") as reply:
        charges = (await reply.json())["charges"]
    assert [charge["model"] for charge in charges] == ["yandexgpt/latest"]
