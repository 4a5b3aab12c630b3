"""All providers through the whole program: chat, streams, embeddings, models."""

from __future__ import annotations

import base64
import struct
from typing import Any
from urllib.parse import quote

import pytest
from tests.e2e.harness import SandboxProcess, Server, read_stream, until

CHATS = [
    "gigachat/GigaChat-2-Max",
    "yandex/yandexgpt-lite",
    "yandex/gpt-oss-20b",
    "openai/gpt-4o-mini",
    "llamacpp/qwen3-8b",
]
EMBEDDERS = [
    "gigachat/EmbeddingsGigaR",
    "yandex/text-search-doc",
    "openai/text-embedding-3-small",
]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Name of the city"}},
            "required": ["city"],
        },
    },
}


def _event(server: Server, request_id: str) -> dict[str, Any]:
    """The usage event of a request, once it is in the database."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        rows = server.control("GET", "/usage?limit=100")["data"]
        found[:] = [row for row in rows if row["request_id"] == request_id]
        return bool(found)

    until(look, "the usage event is in the database")
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
@pytest.mark.parametrize("model", CHATS)
def test_a_chat(served: Server, sandbox: SandboxProcess, model: str, prefix: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Привет, мир 👋"}]}
    answer = served.ask("POST", f"{prefix}/chat/completions", body, served.key)

    assert answer.status == 200, answer.body
    said = answer.json
    assert (said["object"], said["model"]) == ("chat.completion", model)
    (choice,) = said["choices"]
    assert choice["finish_reason"] == "stop"
    assert "Привет, мир 👋" in choice["message"]["content"]
    (charge,) = sandbox.ask("GET", "/_sandbox/bill").json["charges"]
    usage = said["usage"]
    assert usage["prompt_tokens"] == charge["tokens_in"]
    assert usage["completion_tokens"] == charge["tokens_out"]
    assert usage["total_tokens"] == charge["tokens_in"] + charge["tokens_out"]
    event = _event(served, answer.headers["x-request-id"])
    assert (event["status"], event["outcome"], event["model_served"]) == (200, "ok", model)
    assert (event["tokens_in"], event["tokens_out"]) == (
        charge["tokens_in"],
        charge["tokens_out"],
    )


@pytest.mark.parametrize("model", CHATS)
def test_a_stream(served: Server, sandbox: SandboxProcess, model: str) -> None:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Tell me [[words:30]]"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with served.open("POST", "/v1/chat/completions", body, served.key) as reply:
        assert reply.status == 200
        assert (reply.getheader("content-type") or "").startswith("text/event-stream")
        seen = read_stream(iter(reply))
        request_id = reply.getheader("x-request-id") or ""

    assert seen.done
    assert seen.error is None
    assert len(seen.text.split()) == 30
    assert seen.finish == "stop"
    (charge,) = sandbox.ask("GET", "/_sandbox/bill").json["charges"]
    assert seen.usage is not None
    assert seen.usage["prompt_tokens"] == charge["tokens_in"]
    assert seen.usage["completion_tokens"] == charge["tokens_out"]
    event = _event(served, request_id)
    assert event["streamed"]
    assert event["first_token_ms"] <= event["total_ms"]
    assert event["tokens_out"] == charge["tokens_out"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [m for m in CHATS if m != "yandex/gpt-oss-20b"])
def test_a_tool_call_and_its_answer(
    served: Server, sandbox: SandboxProcess, model: str, stream: bool
) -> None:
    assert sandbox.seen == []
    first = {"role": "user", "content": "Use weather for Moscow"}
    body: dict[str, Any] = {"model": model, "messages": [first], "tools": [WEATHER]}
    answer = served.ask("POST", "/v1/chat/completions", body, served.key)
    (choice,) = answer.json["choices"]
    assert choice["finish_reason"] == "tool_calls", answer.body
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"

    result = {"role": "tool", "tool_call_id": call["id"], "content": '{"degrees": 21}'}
    body["messages"] = [first, choice["message"], result]
    body["stream"] = stream
    with served.open("POST", "/v1/chat/completions", body, served.key) as reply:
        assert reply.status == 200, reply.read()
        text = read_stream(iter(reply)).text if stream else reply.read().decode()
    assert "21" in text


@pytest.mark.parametrize("model", EMBEDDERS)
def test_embeddings(served: Server, sandbox: SandboxProcess, model: str) -> None:
    body = {"model": model, "input": ["one text", "another text"]}
    floats = served.ask("POST", "/v1/embeddings", body, served.key)
    packed = served.ask("POST", "/v1/embeddings", body | {"encoding_format": "base64"}, served.key)

    assert floats.status == packed.status == 200, floats.body
    vectors = [item["embedding"] for item in floats.json["data"]]
    assert [item["index"] for item in floats.json["data"]] == [0, 1]
    raw = [base64.b64decode(item["embedding"]) for item in packed.json["data"]]
    unpacked = [list(struct.unpack(f"<{len(data) // 4}f", data)) for data in raw]
    assert unpacked == [[pytest.approx(v, abs=1e-6) for v in vector] for vector in vectors]
    charged = sandbox.ask("GET", "/_sandbox/bill").json["charges"]
    assert floats.json["usage"]["prompt_tokens"] == 5
    assert sum(charge["tokens_in"] for charge in charged) == 10


@pytest.mark.parametrize(
    "name,upstream",
    [
        ("yandex/yandexgpt", "yandexgpt/latest"),
        ("yandex/yandexgpt:latest", "yandexgpt/latest"),
        ("yandex/yandexgpt:rc", "yandexgpt/rc"),
        ("yandex/yandexgpt:deprecated", "yandexgpt/deprecated"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_channels(
    served: Server, sandbox: SandboxProcess, name: str, upstream: str, stream: bool
) -> None:
    answer = served.chat(name, stream=stream)
    assert answer.status == 200, answer.body
    assert sandbox.seen[-1]["body"]["modelUri"].endswith("/" + upstream)
    event = _event(served, answer.headers["x-request-id"])
    assert (event["model_requested"], event["model_served"]) == (name, "yandex/yandexgpt")
    assert event["version"] == upstream.partition("/")[2]


def test_a_channel_that_does_not_exist_is_told_with_those_that_do(served: Server) -> None:
    answer = served.chat("yandex/yandexgpt:beta")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert "deprecated, latest, rc" in answer.error["hint"]


def test_models(served: Server) -> None:
    listed = served.ask("GET", "/v1/models", key=served.key).json
    names = {model["id"] for model in listed["data"]}
    assert set(CHATS) | set(EMBEDDERS) <= names
    for written in ("yandex/gpt-oss-20b", quote("yandex/gpt-oss-20b", safe="")):
        one = served.ask("GET", f"/v1/models/{written}", key=served.key)
        assert one.json["id"] == "yandex/gpt-oss-20b"
        assert one.json in listed["data"]


def test_unknown_models_and_keys(served: Server) -> None:
    unknown = served.chat("openai/gpt-4o-minni")
    assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")
    assert (unknown.error["type"], unknown.error["param"]) == ("invalid_request_error", "model")
    for key in ("", "sk-xr-wrong", served.key[:-1], "Bearer"):
        refused = served.chat("openai/gpt-4o-mini", key=key)
        assert (refused.status, refused.error["code"]) == (401, "invalid_api_key"), key


@pytest.mark.parametrize("model", ["gigachat/GigaChat-2", "yandex/yandexgpt-lite", "openai/gpt-4o"])
def test_a_stream_that_breaks_ends_with_an_error_frame(
    served: Server, sandbox: SandboxProcess, model: str
) -> None:
    sandbox.fault("cut", after=3)
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "[[words:60]]"}],
        "stream": True,
    }
    with served.open("POST", "/v1/chat/completions", body, served.key) as reply:
        assert reply.status == 200
        seen = read_stream(iter(reply))
        request_id = reply.getheader("x-request-id") or ""
    assert seen.text
    assert seen.error is not None
    assert seen.error["code"] == "upstream_malformed"
    event = _event(served, request_id)
    assert (event["outcome"], event["error_code"]) == ("error", "upstream_malformed")


def test_dropped_parameters_are_listed(served: Server) -> None:
    answer = served.chat("gigachat/GigaChat-2", seed=3)
    assert answer.headers["x-xrouter-dropped"] == "seed"
    assert "x-xrouter-dropped" not in served.chat("openai/gpt-4o-mini", seed=3).headers


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_that_leaves_is_seen_by_the_provider(
    served: Server, sandbox: SandboxProcess, stream: bool
) -> None:
    body = {
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": "[[words:900]] [[pause:0.05]]"}],
        "stream": stream,
    }
    if stream:
        with served.open("POST", "/v1/chat/completions", body, served.key) as reply:
            assert reply.readline()
    else:
        connection = served.send_only("POST", "/v1/chat/completions", body, served.key)
        until(lambda: len(sandbox.seen) == 1, "the provider is asked")
        connection.close()
    until(lambda: sandbox.ask("GET", "/_sandbox/open").json["open"] == 0, "it is closed", 10)
    assert sandbox.seen[-1]["closed_by_client"]


def test_pages(served: Server) -> None:
    assert served.ask("GET", "/health/live").status == 200
    ready = served.ask("GET", "/health/ready")
    assert (ready.status, ready.json["status"]) == (200, "ready")
    metrics = served.ask("GET", "/metrics").body.decode()
    assert "xrouter_requests_total" in metrics
    assert "xrouter_catalog_stale 0.0" in metrics
    document = served.ask("GET", "/openapi.json").json
    assert "/v1/chat/completions" in document["paths"]
    assert any(path.startswith("/control/v1/") for path in document["paths"])
    assert served.ask("GET", "/docs").status == 200


@pytest.mark.parametrize("path", ["/nowhere", "/chat", "/v2/chat/completions", "/v1/nowhere"])
def test_an_unknown_url_is_told_as_such(served: Server, path: str) -> None:
    """Not with a 401 that asks for the operator's token: the base URL may be mistyped."""
    answer = served.ask("POST", path, {}, served.key)
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")


@pytest.mark.parametrize("key", [None, "wrong", "first"])
def test_the_control_api_wants_the_operators_token(served: Server, key: str | None) -> None:
    given = served.key if key == "first" else key
    for path in ("/providers", "/keys", "/usage", "/models"):
        assert served.ask("GET", "/control/v1" + path, key=given).status in (401, 403)


def test_a_plan_is_explained_without_a_request(served: Server, sandbox: SandboxProcess) -> None:
    asked = {
        "model": "gigachat/GigaChat-2-Max",
        "request": {"messages": [{"role": "user", "content": "hi"}]},
    }
    told = served.control("POST", "/explain", asked)
    (target,) = told["targets"]
    assert (target["place"], target["provider"], target["breaker"]) == (1, "gigachat", "closed")
    assert told["strategy"] == "priority"
    assert sandbox.seen == []
    health = served.control("GET", "/health")
    assert {"gigachat", "openai"} <= {each["provider"] for each in health["data"]}
