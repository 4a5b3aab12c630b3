"""What a newcomer sees, and what stays after the first time."""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
import time

from tests.e2e.fixtures import Servers
from tests.e2e.harness import SandboxProcess, Server, until


def _curl(server: Server) -> str:
    """The command as it stands in the welcome."""
    found = re.search(r"^curl .*?'$", server.out, re.MULTILINE | re.DOTALL)
    assert found is not None, server.out
    return found[0]


SIMULATED = {"anthropic", "gigachat", "llamacpp", "mistral", "openai", "openrouter", "yandex"}


def test_the_line_to_paste_works_and_the_key_is_shown_once(servers: Servers) -> None:
    server = servers(bare=True)
    server.start(cold=True)
    pasted = subprocess.run(
        ["sh", "-c", _curl(server)], capture_output=True, text=True, check=False, timeout=60
    )
    answer = json.loads(pasted.stdout)
    assert "Hello!" in answer["choices"][0]["message"]["content"]
    assert "sandbox is running" in server.out
    assert server.out.count(server.key) == 2, "once to keep, once in the line to paste"
    key = server.key

    assert server.stop() == 0
    server.start()
    assert "sk-xr-" not in server.out
    assert "sandbox is running" in server.out
    assert server.chat(answer["model"], key=key).status == 200


def test_the_sandbox_comes_and_goes_with_the_server(servers: Servers) -> None:
    server = servers(bare=True)
    server.start()
    family = server.family
    assert any("xrouter.sandbox" in child.cmdline() for child in family)
    models = server.ask("GET", "/v1/models", key=server.key).json["data"]
    assert {model["id"].partition("/")[0] for model in models} == SIMULATED
    assert server.stop() == 0
    until(lambda: not any(child.is_running() for child in family), "all children are gone")


def test_the_sandbox_does_not_outlive_a_server_that_was_killed(servers: Servers) -> None:
    server = servers(bare=True)
    server.start(cold=True)
    family = server.family
    server.kill()
    until(lambda: not any(child.is_running() for child in family), "all children are gone", 10)


def test_providers_come_from_the_environment(servers: Servers) -> None:
    server = servers()
    server.start()
    assert "sandbox" not in server.out
    listed = {each["name"]: each for each in server.control("GET", "/providers")["data"]}
    assert set(listed) == SIMULATED
    gigachat = listed["gigachat"]["endpoints"][0]
    assert gigachat["base_url"] == server.env["GIGACHAT_BASE_URL"]
    assert gigachat["options"]["auth_url"] == server.env["GIGACHAT_AUTH_URL"]
    assert gigachat["credential_fields"] == ["credentials"]
    assert server.env["GIGACHAT_CREDENTIALS"] not in json.dumps(listed)


def test_a_changed_environment_changes_the_endpoint(servers: Servers) -> None:
    server = servers()
    server.start()
    key = server.key
    server.stop()
    server.env["OPENAI_API_KEY"] = "sk-wrong"
    server.env.pop("LLAMACPP_BASE_URL")
    server.start()

    refused = server.chat("openai/gpt-4o-mini", key=key)
    assert (refused.status, refused.error["code"]) == (502, "upstream_auth_failed")
    assert server.chat("llamacpp/qwen3-8b", key=key).status == 200, "what was registered stays"


def test_the_sandbox_makes_room_for_a_real_provider(servers: Servers) -> None:
    first = servers(bare=True)
    first.start()
    first.stop()
    second = servers(XROUTER_PORT=first.env["XROUTER_PORT"])
    for name in servers.sandbox.environment:
        if not name.startswith("GIGACHAT"):
            second.env.pop(name)
    second.start()

    assert "sandbox" not in second.out
    listed = second.control("GET", "/providers")["data"]
    assert [each["name"] for each in listed] == ["gigachat"]
    assert second.chat("gigachat/GigaChat-2", key=first.key).status == 200
    assert second.chat("openai/gpt-4o-mini", key=first.key).status == 404


def test_a_provider_made_by_hand_is_never_taken_for_the_sandboxs(
    servers: Servers, sandbox: SandboxProcess
) -> None:
    server = servers(bare=True)
    server.start()
    server.control("DELETE", "/providers/openai")
    real = {
        "name": "openai",
        "base_url": sandbox.environment["OPENAI_BASE_URL"],
        "credential": {"api_key": "sk-sandbox-of-mine"},
    }
    server.control("POST", "/providers", real)
    server.stop()
    for _ in range(2):
        server.start()
        listed = {each["name"]: each for each in server.control("GET", "/providers")["data"]}
        assert listed["openai"]["endpoints"][0]["base_url"] == real["base_url"]
        assert "simulated" not in server.out.rpartition("answers at")[2]
        server.stop()


def test_half_a_set_of_variables_is_told_and_not_simulated(servers: Servers) -> None:
    server = servers(bare=True, YANDEX_API_KEY="AQVN-something")
    server.start()
    assert "simulated" not in server.out
    until(lambda: "provider_incomplete" in server.err, "it is logged")
    assert "YANDEX_FOLDER_ID" in server.err


def test_without_sandbox_and_providers_it_says_what_to_do(servers: Servers) -> None:
    server = servers(bare=True, XROUTER_SANDBOX="off")
    server.start()
    assert "xrouter providers add" in server.out
    assert server.family == []
    assert server.chat("openai/gpt-4o-mini").status == 404
    assert server.ask("GET", "/v1/models", key=server.key).json["data"] == []


def test_what_is_secret_on_disk_is_for_its_owner_only(servers: Servers) -> None:
    server = servers()
    server.start()
    server.chat("openai/gpt-4o-mini")
    files = [path for path in server.data.rglob("*") if path.is_file()]
    shared = [path.name for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert not set(shared) & {"master.key", "admin.token", "snapshot.sealed", "xrouter.db"}
    assert not [name for name in shared if name.startswith("xrouter.db")], shared


def test_a_provider_that_says_nothing_does_not_hold_up_the_start(servers: Servers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        server = servers(OPENAI_BASE_URL=url)
        began = time.monotonic()
        server.start()
        assert time.monotonic() - began < 20, "its list has a timeout of 30 seconds"
        assert server.chat("gigachat/GigaChat-2").status == 200
        models = {model["model_id"] for model in server.control("GET", "/models")["data"]}
        assert "openai/gpt-4o-mini" in models, "what the adapter knows is there"


def test_a_server_that_is_started_later_is_found(servers: Servers) -> None:
    """A llama.cpp server that still loads its model: it ships none, its list comes when it can."""
    servers.sandbox.fault("server_error", match={"path": "models"}, provider="llamacpp")
    server = servers()
    server.start()
    assert server.chat("llamacpp/qwen3-8b").status in (404, 200)
    until(lambda: server.chat("llamacpp/qwen3-8b").status == 200, "its model is found", 30)
    until(lambda: "live_list_not_read" in server.err, "it is told once")
    assert server.err.count("live_list_not_read") == 1


def test_a_credential_file_that_is_not_there_harms_only_its_provider(servers: Servers) -> None:
    server = servers(YANDEX_SERVICE_ACCOUNT_KEY_FILE="/no/such/file.json")
    server.env.pop("YANDEX_API_KEY")
    server.start()
    until(lambda: "provider_not_registered" in server.err, "it is told")
    assert "/no/such/file.json" in server.err
    assert server.chat("openai/gpt-4o-mini").status == 200


def _bot(server: Server) -> None:
    route = {"name": "bot", "targets": [{"model": each} for each in TARGETS]}
    server.control("POST", "/routes", route)


TARGETS = ("gigachat/GigaChat-2", "openai/gpt-4o-mini")


def test_a_route_does_not_keep_real_providers_away(
    servers: Servers, sandbox: SandboxProcess
) -> None:
    server = servers(bare=True)
    server.start()
    key = server.key
    _bot(server)
    server.stop()
    real = {name: sandbox.environment[name] for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL")}
    server.env |= real
    server.start()
    listed = {each["name"]: each for each in server.control("GET", "/providers")["data"]}
    assert set(listed) == {"gigachat", "openai"}
    (endpoint,) = listed["openai"]["endpoints"]
    assert (endpoint["base_url"], endpoint["is_enabled"]) == (real["OPENAI_BASE_URL"], True)
    assert listed["gigachat"]["endpoints"][0]["is_enabled"] is False
    assert server.chat("openai/gpt-4o-mini", key=key).status == 200
    answer = server.chat("route/bot", key=key)
    assert (answer.status, answer.json["model"]) == (200, "openai/gpt-4o-mini")
    until(lambda: "sandbox_provider_switched_off" in server.err, "it is told")
    assert "route/bot" in server.err
    for wrong in ("database_away", '"provider":"openai"'):
        assert wrong not in server.err
    removed = [line for line in server.err.splitlines() if "sandbox_provider_removed" in line]
    assert len(removed) == len(SIMULATED) - 2

    server.stop()
    for name in real:
        server.env.pop(name)
    given = {name: text for name, text in sandbox.environment.items() if "GIGACHAT" in name}
    server.env |= given
    server.start()
    assert server.chat("gigachat/GigaChat-2", key=key).status == 200, "it is switched on again"
    assert server.chat("openai/gpt-4o-mini", key=key).status == 200, "what was registered stays"
    assert "sandbox_provider" not in server.err


def test_a_provider_made_by_hand_ends_the_sandbox_that_routes_lead_to(
    servers: Servers, sandbox: SandboxProcess
) -> None:
    server = servers(bare=True)
    server.start()
    _bot(server)
    standby = {"base_url": sandbox.environment["OPENAI_BASE_URL"]}
    credential = {"api_key": sandbox.environment["OPENAI_API_KEY"]}
    server.control("POST", "/providers/openai/endpoints", standby | {"credential": credential})
    mine = {"name": "mine", "adapter_class": GENERIC, "credential": credential}
    server.control("POST", "/providers", standby | mine)
    server.stop()
    for _ in range(2):
        server.start()
        listed = {each["name"]: each for each in server.control("GET", "/providers")["data"]}
        assert set(listed) == {"gigachat", "mine", "openai"}
        until(lambda: server.err.count("sandbox_provider_switched_off") == 2, "each is told once")
        assert "database_away" not in server.err
        assert server.chat("openai/gpt-4o-mini").status == 200, "its standby answers"
        server.stop()
    server.start()
    server.control("DELETE", "/routes/bot")
    server.stop()
    server.start()
    left = {each["name"] for each in server.control("GET", "/providers")["data"]}
    assert left == {"mine", "openai"}


GENERIC = "xrouter.providers.openai.GenericOpenAIAdapter"
