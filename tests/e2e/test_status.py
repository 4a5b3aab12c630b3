"""What everybody may see of the real program: true at once, and nothing that is not theirs."""

from __future__ import annotations

from typing import Any

from tests.e2e.fixtures import Servers
from tests.e2e.harness import SandboxProcess, Server, until

GIGA, OPENAI, YANDEX = "gigachat/GigaChat-2-Max", "openai/gpt-4o-mini", "yandex/yandexgpt"


def row(server: Server, name: str) -> Any:
    rows = server.ask("GET", f"/status.json?q={name}").json["models"]
    return next((each for each in rows if each["id"] == name), None)


def listed(server: Server) -> set[str]:
    found = server.ask("GET", "/v1/models", key=server.key).json["data"]
    return {each["id"] for each in found}


def test_the_status_and_the_list_say_what_answers_now(
    servers: Servers, sandbox: SandboxProcess
) -> None:
    server = servers(XROUTER_PROBE_EVERY="0.5").start()
    assert row(server, GIGA)["state"] == "available"
    assert {GIGA, OPENAI, YANDEX} <= listed(server)

    server.control("PATCH", f"/models/{GIGA}", {"is_available": False})
    server.control("PATCH", "/providers/openai/endpoints/primary", {"is_enabled": False})
    server.control("PATCH", "/providers/mistral", {"is_enabled": False})
    until(lambda: row(server, GIGA)["state"] == "unavailable", "the model is switched off")
    until(lambda: row(server, OPENAI)["state"] == "unavailable", "its only endpoint is")
    until(lambda: not any(n.startswith("mistral/") for n in listed(server)), "its provider is")
    assert row(server, GIGA)["since"] >= server.ask("GET", "/status.json").json["watched_since"]
    assert listed(server).isdisjoint({GIGA, OPENAI})
    assert YANDEX in listed(server)

    sandbox.fault("server_error", provider="yandex", times=None, match={"path": "/"})
    until(lambda: row(server, YANDEX)["state"] == "unavailable", "the prober finds it down")
    assert YANDEX in listed(server), "a lone target is tried all the same"
    sandbox.clear()
    until(lambda: row(server, YANDEX)["state"] == "available", "it is well again")

    server.control("PATCH", f"/models/{YANDEX}", {"access_group": "lab"})
    until(lambda: row(server, YANDEX) is None, "it is not for everybody")
    assert server.chat(YANDEX).status == 404
    server.control("PATCH", "/organizations/default", {"groups": ["lab"]})
    until(lambda: server.chat(YANDEX).status == 200, "it is for all keys of the organisation")
    assert YANDEX in listed(server)


def test_nothing_but_models_is_told(servers: Servers, sandbox: SandboxProcess) -> None:
    server = servers().start()
    for path in ("/status", "/status.json?limit=1000"):
        answer = server.ask("GET", path)
        assert answer.status == 200
        told = answer.body.decode()
        secrets = [sandbox.url, "primary", "folder", server.key, "b1g", "127.0.0.1", "key_"]
        assert [each for each in secrets if each in told] == []


def test_it_can_be_switched_off(servers: Servers) -> None:
    server = servers(XROUTER_PUBLIC_STATUS="off").start()
    for path in ("/status", "/status.json", "/status.css"):
        assert server.ask("GET", path).status == 404
    assert server.ask("GET", "/health/live").status == 200
