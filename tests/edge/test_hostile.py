"""Whatever a caller sends, the answer is one of ours, and never a 5xx."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.edge.harness import KEY, ScriptedFlow, make_door

PATHS = st.sampled_from(
    ["/v1/chat/completions", "/v1/embeddings", "/v1/models", "/v1/models/x", "/", "/openapi.json"]
) | st.text(max_size=30).map(lambda text: "/" + text)
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
NAMES = st.sampled_from(
    [
        b"authorization",
        b"api-key",
        b"x-api-key",
        b"content-length",
        b"content-encoding",
        b"transfer-encoding",
        b"origin",
        b"access-control-request-headers",
        b"host",
        b"expect",
    ]
)
VALUES = st.sampled_from(
    [b"", b"0", b"10", b"gzip", b"br", b"chunked", b"Bearer " + KEY.encode(), b"100-continue"]
) | st.binary(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
KEYS = st.sampled_from(["model", "messages", "input", "stream", "n", "stop", "tools", "role"])
BODIES = (
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(KEYS, JSON, max_size=6).map(lambda value: json.dumps(value).encode())
)


async def ask(scope: dict[str, Any], body: bytes) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    done = asyncio.Event()
    incoming = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not incoming:
            await done.wait()
            return {"type": "http.disconnect"}
        return incoming.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    await make_door(ScriptedFlow())(
        {"type": "http", "client": None, "query_string": b"", **scope}, receive, send
    )
    return sent


@settings(max_examples=400, deadline=None)
@given(PATHS, METHODS, st.lists(st.tuples(NAMES, VALUES), max_size=5), BODIES)
@example("/v1/chat/completions", "POST", [(b"content-length", b"9" * 5000)], b"{}")
@example("/v1/models/\ud800", "GET", [], b"")
@example("/\udcff", "POST", [(b"origin", b"\xff")], b"")
def test_no_request_gets_a_5xx(
    path: str, method: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    sent = asyncio.run(ask({"path": path, "method": method, "headers": headers}, body))
    start, *pieces = sent
    assert start["status"] < 500
    assert any(name == b"x-request-id" for name, _ in start["headers"])
    assert [piece["more_body"] for piece in pieces][-1] is False
    if start["status"] >= 400:
        error = json.loads(b"".join(piece["body"] for piece in pieces))["error"]
        assert error["message"]
        assert error["type"] == "invalid_request_error"
