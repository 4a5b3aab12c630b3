"""API keys at real servers: every way in, every route, and all processes at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.e2e.fleet import Fleet, fleet_of
from tests.e2e.harness import PATIENCE, Answer, SandboxProcess, Server, until
from tests.services.postgres import Postgres

from xrouter.domain.identity import new_key
from xrouter.edge import dialects
from xrouter.edge.routes import Route, scan

SOON_S = 3.0
"""Seconds. A second is the promise; the machine has much to do."""

CHAT = "openai/gpt-4o-mini"
POSITIONS = {
    "bearer": ("authorization", "Bearer {}"),
    "bare": ("authorization", "{}"),
    "api-key": ("api-key", "{}"),
    "x-api-key": ("x-api-key", "{}"),
}
SCOPES = {
    "/embeddings": "embeddings",
    "/images/generations": "images",
    "/audio/speech": "audio",
    "/audio/transcriptions": "audio",
    "/audio/translations": "audio",
    "/moderations": "moderations",
    "/models": "models",
    "/models/*": "models",
}
"""By route; the others are of chats."""

FORM = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nnone/none\r\n--x--\r\n'
ROUTES = {f"{route.method} {route.path}": route for route in scan(dialects)}


def send(server: Server, route: Route, headers: dict[str, str]) -> Answer:
    """A request that is good but for the model, which is not there."""
    path = "/v1" + route.path.replace("/*", "/resp_none")
    data, kind = None, "application/json"
    if route.method == "POST":
        path += "/cancel" if route.path.endswith("/*") else ""
        given = (route.example or {}) | {"model": "none/none"}
        data = json.dumps(given).encode()
    if route.path in ("/audio/transcriptions", "/audio/translations"):
        data, kind = FORM, "multipart/form-data; boundary=x"
    return call(server, route.method, path, data, {"content-type": kind, **headers})


def call(
    server: Server, method: str, path: str, data: bytes | None, headers: dict[str, str]
) -> Answer:
    parts = urlsplit(server.url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
    try:
        connection.request(method, path, data, headers)
        reply = connection.getresponse()
        return Answer(reply.status, {}, reply.read())
    finally:
        connection.close()


def at(position: str, key: str) -> dict[str, str]:
    name, form = POSITIONS[position]
    return {name: form.format(key)}


def make(server: Server, **more: Any) -> Any:
    """A key, once the server knows it."""
    made = server.control("POST", "/keys", {"name": "n", **more})
    until(lambda: known(server, made["key"]), "the key is known")
    return made


def known(server: Server, key: str) -> bool:
    return server.chat("none/none", key=key).status != 401


@pytest.fixture(scope="module")
def server(
    _sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    _sandbox_process.clear()  # what other tests made it do
    server = Server(tmp_path_factory.mktemp("keys"), _sandbox_process.environment)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="module")
def elsewhere(server: Server) -> str:
    """A key that works from other addresses alone."""
    return str(make(server, ip_ranges=["10.0.0.0/8", "2001:db8::/32"])["key"])


@pytest.mark.parametrize("name", ROUTES)
def test_no_route_is_open_from_a_wrong_address(server: Server, elsewhere: str, name: str) -> None:
    """Nor for somebody who says that the request comes from a right one."""
    spoofs: tuple[dict[str, str], ...] = (
        {},
        {"x-forwarded-for": "10.0.0.1"},
        {"x-real-ip": "10.0.0.1"},
    )
    for position in POSITIONS:
        for spoof in spoofs:
            answer = send(server, ROUTES[name], at(position, elsewhere) | spoof)
            assert answer.status == 403, answer.body
            assert b"may not be used from the address 127.0.0.1" in answer.body


@pytest.mark.parametrize("name", ROUTES)
def test_every_route_takes_its_scope(
    server: Server, scoped: dict[str, dict[bool, str]], name: str
) -> None:
    route = ROUTES[name]
    keys = scoped[SCOPES.get(route.path, "chat")]
    for position in POSITIONS:
        refused = send(server, route, at(position, keys[False]))
        assert refused.status == 403, refused.body
        assert b"lacks the scope" in refused.body
        assert send(server, route, at(position, keys[True])).status in (200, 400, 404)


@pytest.fixture(scope="module")
def scoped(server: Server) -> dict[str, dict[bool, str]]:
    """By scope: a key that has all the others, and one that has it alone."""
    every = ["chat", "embeddings", "images", "audio", "moderations", "models"]
    return {
        scope: {
            True: make(server, scopes=[scope])["key"],
            False: make(server, scopes=[each for each in every if each != scope])["key"],
        }
        for scope in every
    }


@pytest.mark.parametrize("position", POSITIONS)
def test_a_key_sees_and_uses_its_models_alone(server: Server, position: str) -> None:
    headers = at(position, make(server, models=[CHAT])["key"])
    listed = call(server, "GET", "/v1/models", None, headers).json["data"]
    assert [each["id"] for each in listed] == [CHAT]
    for model, status in ((CHAT, 200), ("openai/o4-mini", 404), ("none/none", 404)):
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        data = json.dumps(body).encode()
        asked = call(server, "POST", "/v1/chat/completions", data, headers)
        assert asked.status == status, asked.body
        assert call(server, "GET", f"/v1/models/{model}", None, headers).status == status
    flex = json.dumps({"model": "openai/o4-mini", "input": "hi", "background": True}).encode()
    assert call(server, "POST", "/v1/responses", flex, headers).status == 404


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(
    "word",
    [
        "' OR '1'='1",
        "x'; DROP TABLE api_keys; --",
        "*)(uid=*))(|(uid=*",
        "%s%n{0}${jndi:x}",
        "../../../etc/passwd",
    ],
)
def test_hostile_words_are_no_keys_and_are_not_repeated(
    server: Server, position: str, word: str
) -> None:
    for key in (word, f"{new_key()}{word}", f"sk-xr-{word}"):
        answer = call(server, "GET", "/v1/models", None, at(position, key))
        assert answer.status == 401, answer.body
        assert word.encode() not in answer.body
    assert word not in server.err + server.out
    assert server.chat(CHAT).status == 200


def test_two_different_keys_at_once_are_refused(server: Server, elsewhere: str) -> None:
    for first in POSITIONS:
        for second in POSITIONS:
            if POSITIONS[first][0] == POSITIONS[second][0]:
                continue
            both = at(first, server.key) | at(second, elsewhere)
            answer = call(server, "GET", "/v1/models", None, both)
            assert answer.status == 400
            assert answer.error["code"] == "conflicting_credentials"
            same = at(first, server.key) | at(second, server.key)
            assert call(server, "GET", "/v1/models", None, same).status == 200
    cookie = {"cookie": f"key={server.key}; __Host-xrouter={server.key}"}
    assert call(server, "GET", "/v1/models", None, cookie).status == 401


def test_a_trusted_proxy_is_believed_about_who_asks(
    sandbox: SandboxProcess, tmp_path: Path
) -> None:
    proxies = {"XROUTER_TRUSTED_PROXIES": "127.0.0.0/8, 10.9.0.0/16"}
    server = Server(tmp_path, sandbox.environment | proxies)
    try:
        server.start()
        key = make(server, ip_ranges=["203.0.113.0/24"])["key"]
        for said, status in (
            ("203.0.113.9", 200),
            ("::ffff:203.0.113.9", 200),
            ("6.6.6.6, 203.0.113.9, 10.9.0.1", 200),
            ("203.0.113.9, 6.6.6.6", 403),
            ("203.0.113.9, nonsense", 403),
            ("", 403),
        ):
            headers = at("bearer", key) | {"x-forwarded-for": said}
            assert call(server, "GET", "/v1/models", None, headers).status == status, said
        wrong = server.command("serve", XROUTER_TRUSTED_PROXIES="10.0.0.0/8, proxy")
        assert "XROUTER_TRUSTED_PROXIES" in wrong.stderr
    finally:
        server.close()


@pytest.fixture(scope="module")
def fleet(
    _sandbox_process: SandboxProcess, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with fleet_of(2, folder, _sandbox_process, postgres, "xrouter_keys") as fleet:
        yield fleet


def everywhere(fleet: Fleet, key: str, status: int) -> bool:
    return all(each.chat("none/none", key=key).status == status for each in fleet.servers)


def test_the_leak_drill_is_over_within_a_second_in_every_process(fleet: Fleet) -> None:
    first = fleet.servers[0]
    given = {"slug": "leaky", "name": "L"}
    first.control("POST", "/organizations/default/projects", given)
    keys = [make(first, project="leaky")["key"] for _ in range(3)]
    safe = make(first)["key"]
    fleet.wait_agreed()
    assert all(everywhere(fleet, key, 404) for key in (*keys, safe))
    done = first.command("keys", "revoke-all", "--project", "leaky", "--yes")
    assert "3 keys" in done.stdout, done.stderr
    until(lambda: all(everywhere(fleet, key, 401) for key in keys), "all are refused", SOON_S)
    assert everywhere(fleet, safe, 404)


def test_a_rotation_is_soon_known_in_every_process_and_its_grace_ends(fleet: Fleet) -> None:
    first, second = fleet.servers
    made = make(first)
    fleet.wait_agreed()
    path = f"/keys/{made['key_id']}"
    fresh = first.control("POST", path + "/rotate", {"grace_seconds": 3600})["key"]
    until(lambda: everywhere(fleet, fresh, 404), "the new secret works", SOON_S)
    assert everywhere(fleet, made["key"], 404), "the old one, too"
    last = first.control("POST", path + "/rotate", {})["key"]
    until(lambda: everywhere(fleet, last, 404), "the newest secret works")
    for server in (first, second):
        assert server.chat("none/none", key=fresh).error["code"] == "api_key_rotated"
        assert server.chat("none/none", key=made["key"]).error["code"] == "invalid_api_key"
    second.control("POST", path + "/revoke")
    until(lambda: everywhere(fleet, last, 401), "it is refused")


def test_the_last_use_is_shown(server: Server) -> None:
    made = make(server)
    server.chat(CHAT, key=made["key"])

    def shown() -> bool:
        return server.control("GET", f"/keys/{made['key_id']}")["last_used_at"] is not None

    until(shown, "the use is written down")
