"""Canaries in every secret and every prompt: none of them is found anywhere afterwards."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.fixtures import Servers
from tests.e2e.harness import Server, until

from xrouter.domain.identity import new_key

PROMPT = "canaryprompt7c1d2e"
GIGACHAT_ID = "b2b-canary-5b8f0a"
OPENAI_KEY = "sk-sandbox-canary-91aa37"
YANDEX_KEY = "AQVN-sandbox-canary-2be6"
DATABASE_PASSWORD = "canary-password-44d0"

MODELS = ("gigachat/GigaChat-2", "yandex/yandexgpt-lite", "openai/gpt-4o-mini", "llamacpp/qwen3-8b")
FAULTS = ("server_error", "unauthorized_once", "error_in_200", "html_error", "malformed_chunk")


def _everything_it_wrote(server: Server) -> Iterator[tuple[str, bytes]]:
    """Names and contents: output, files, pages, commands."""
    yield "metrics", server.ask("GET", "/metrics").body
    yield "openapi", server.ask("GET", "/openapi.json").body
    yield "health", server.ask("GET", "/health/ready").body
    token = (server.data / "admin.token").read_text().strip()
    for path in ("providers", "models", "keys", "usage?limit=1000", "usage/summary", "state"):
        yield path, server.ask("GET", f"/control/v1/{path}", key=token).body
    for command in (("doctor",), ("providers", "list"), ("keys", "list"), ("usage",)):
        for more in ((), ("--json",)):
            done = server.command(*command, *more)
            yield " ".join(command), (done.stdout + done.stderr).encode()
    yield "err", server.err.encode()
    for file in _files(server.data):
        yield file.name, file.read_bytes()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _use(server: Server, servers: Servers, key: str) -> None:
    """All kinds of requests, good and bad ones."""
    for model in MODELS:
        assert server.chat(model, PROMPT, key=key).status == 200
        assert server.chat(model, PROMPT, key=key, stream=True).status == 200
        for fault in FAULTS:
            servers.sandbox.fault(fault, after=1)
            server.chat(model, PROMPT, key=key, stream=True)
    server.chat(MODELS[0], PROMPT, key=new_key())
    server.chat(MODELS[0], PROMPT, key=key[:-2])
    server.chat(MODELS[0], PROMPT, key=key, temperature=PROMPT)
    server.ask("POST", "/v1/chat/completions", f'{{"{PROMPT}', key)
    body = {"model": "openai/text-embedding-3-small", "input": PROMPT}
    assert server.ask("POST", "/v1/embeddings", body, key).status == 200


def test_no_canary_is_found_anywhere(servers: Servers) -> None:
    credential = base64.b64encode(f"{GIGACHAT_ID}:sandbox".encode()).decode()
    server = servers(
        GIGACHAT_CREDENTIALS=credential,
        OPENAI_API_KEY=OPENAI_KEY,
        YANDEX_API_KEY=YANDEX_KEY,
        XROUTER_LOG_LEVEL="debug",
    ).start()
    made = server.control("POST", "/keys", {"name": "second"})
    revoked = server.control("POST", "/keys", {"name": "revoked"})
    until(lambda: server.chat(MODELS[2], key=revoked["key"]).status == 200, "the keys are known")
    server.control("POST", f"/keys/{revoked['key_id']}/revoke")
    _use(server, servers, made["key"])
    until(lambda: server.chat(MODELS[2], key=revoked["key"]).status == 401, "it is revoked")
    until(lambda: len(server.events()) > 25, "the events are stored")

    canaries = {
        "prompt": PROMPT,
        "gigachat": credential,
        "gigachat's id": GIGACHAT_ID,
        "openai": OPENAI_KEY,
        "yandex": YANDEX_KEY,
        "the first key": server.key,
        "a key": made["key"],
        "a revoked key": revoked["key"],
        "the end of a key": made["key"][20:],
    }
    for where, content in _everything_it_wrote(server):
        for what, canary in canaries.items():
            assert canary.encode() not in content, f"{what} in {where}"
    token = (server.data / "admin.token").read_text().strip()
    assert token not in server.err
    assert made["key"] not in server.out
    assert server.stop() == 0
    for file in _files(server.data):
        for what, canary in canaries.items():
            assert canary.encode() not in file.read_bytes(), f"{what} in {file.name}"


def test_the_databases_password_is_not_told(servers: Servers) -> None:
    server = servers().start()
    server.stop()
    url = f"postgresql://xrouter:{DATABASE_PASSWORD}@127.0.0.1:9/xrouter"
    server.env["XROUTER_DATABASE_URL"] = url
    server.start()
    until(lambda: '"catalog_not_read"' in server.err, "the database is away")
    shown = server.command("doctor", "--json")
    assert shown.returncode == 1
    for text in (server.err, server.out, shown.stdout, shown.stderr):
        assert DATABASE_PASSWORD not in text
    for file in _files(server.data):
        assert DATABASE_PASSWORD.encode() not in file.read_bytes()
