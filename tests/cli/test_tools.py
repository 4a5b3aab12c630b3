"""Commands that stand for themselves: help, versions, completion, db, doctor, sandbox."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from tests.cli.harness import Place, Shell
from tests.e2e.fixtures import Servers
from tests.e2e.harness import XROUTER, SandboxProcess, Server, Site, environment

COMMANDS = {
    "providers": ["list", "add", "standby", "enable", "disable", "remove", "adapters"],
    "models": ["list", "sync", "add", "enable", "disable", "remove"],
    "keys": ["create", "list", "revoke"],
    "db": ["upgrade", "downgrade", "current", "move"],
}
ALONE = ["serve", "sandbox", "usage", "doctor"]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "var")


def test_help(shell: Shell) -> None:
    top = shell.out("--help")
    assert all(name in top for name in [*COMMANDS, *ALONE])
    for name in ALONE:
        assert "--help" in shell.out(name, "--help")
    for group, names in COMMANDS.items():
        listed = shell.out(group, "--help")
        for name in names:
            assert name in listed
            assert "--help" in shell.out(group, name, "--help")
    assert not shell.data.exists(), "to look at help makes no data folder"


def test_what_is_not_known_is_refused(shell: Shell) -> None:
    for wrong in (["nonsense"], ["keys", "nonsense"], ["keys", "list", "--nonsense"]):
        _, err = shell.run(*wrong, code=2)
        assert "nonsense" in err
    shell.run(code=2)


def test_version(shell: Shell) -> None:
    assert shell.out("--version").startswith("xrouter ")


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion(name: str, tmp_path: Path) -> None:
    """The script is made, and the program answers it."""
    script = subprocess.run(
        [*XROUTER, "--show-completion", name],
        env=environment(_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert script.returncode == 0, script.stderr
    assert "complete" in script.stdout.lower()


def test_wrong_settings(shell: Shell) -> None:
    shell.env["XROUTER_PORT"] = "abc"
    for command in (["keys", "list"], ["doctor"], ["db", "current"], ["serve"]):
        assert "XROUTER_PORT" in shell.refused(*command)


@pytest.mark.parametrize("command", [["keys", "list"], ["db", "upgrade"], ["serve"]])
def test_a_data_folder_that_cannot_be_one(shell: Shell, command: list[str]) -> None:
    shell.data.write_text("a file")
    assert str(shell.data) in shell.refused(*command)


# --- db


def test_db(shell: Shell) -> None:
    assert shell.json("db", "current")["current"] is None
    head = shell.json("db", "current")["head"]
    assert head in shell.out("db", "upgrade")
    assert shell.json("db", "current") == {"current": head, "head": head}
    assert head in shell.out("db", "current")
    key = shell.out("keys", "create", "kept").strip()
    assert key

    shell.run("db", "downgrade", "base", code=1, given="n\n")
    assert shell.json("db", "current")["current"] == head
    assert "None" not in shell.out("db", "downgrade", "base", "--yes")
    assert shell.json("db", "current")["current"] is None
    assert "9999" in shell.refused("db", "upgrade", "9999")


def test_db_while_the_server_runs(served: Server) -> None:
    shell = Shell(served.data)
    for command in (["db", "upgrade"], ["db", "downgrade", "base", "--yes"]):
        assert "server is running" in shell.refused(*command)
    assert shell.json("db", "current")["current"] is not None


def test_db_on_postgres(shell: Shell, empty_postgres_url: str) -> None:
    shell.env["XROUTER_DATABASE_URL"] = empty_postgres_url
    assert shell.json("db", "current")["current"] is None
    shell.out("db", "upgrade")
    shell.out("keys", "create", "there")
    assert [row["name"] for row in shell.json("keys", "list")] == ["there"]
    shell.out("db", "downgrade", "base", "--yes")
    assert shell.json("db", "current")["current"] is None


# --- doctor


def _states(shell: Shell, code: int) -> dict[str, str]:
    found = json.loads(shell.run("doctor", "--json", code=code)[0])
    assert all(finding["found"] for finding in found)
    return {finding["check"]: finding["state"] for finding in found}


def test_doctor_on_a_healthy_server(served: Server) -> None:
    shell = Shell(served.data)
    states = _states(shell, 0)
    for check in ("disk", "server", "database", "catalog"):
        assert states[check] == "ok"
    for name in ("gigachat", "yandex", "openai", "llamacpp"):
        assert states[f"{name}/primary"] == "ok"
    assert "problem" not in states.values()
    shown = shell.out("doctor")
    assert served.url in shown
    assert "gigachat/primary" in shown


def test_doctor_before_anything(shell: Shell) -> None:
    assert _states(shell, 1)["database"] == "problem"
    out, _ = shell.run("doctor", code=1)
    assert "xrouter db upgrade" in out


def test_doctor_finds_what_is_wrong_with_endpoints(
    servers: Servers, sandbox: SandboxProcess
) -> None:
    server = servers(
        OPENAI_API_KEY="sk-wrong",
        GIGACHAT_CREDENTIALS="d3Jvbmc6a2V5",
        LLAMACPP_BASE_URL="http://127.0.0.1:9",
    ).start()
    shell = Shell(server.data)
    found = {f["check"]: f for f in json.loads(shell.run("doctor", "--json", code=1)[0])}
    for name in ("openai/primary", "gigachat/primary", "llamacpp/primary"):
        assert found[name]["state"] == "problem", found[name]
    assert found["yandex/primary"]["state"] == "ok"
    assert "refused" in found["llamacpp/primary"]["found"]
    assert found["openai/primary"]["advice"]
    assert found["gigachat/primary"]["advice"]
    assert sandbox.url


# --- sandbox


def test_sandbox(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*XROUTER, "sandbox", "--port", "0"],
        env=environment(),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert "GIGACHAT_CREDENTIALS" in said["environment"]
        index = Site(said["url"]).ask("GET", "/")
        assert "gigachat" in [each["name"] for each in index.json["simulators"]]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
    assert list(tmp_path.iterdir()) == []


def test_a_sandbox_on_a_port_that_is_taken(shell: Shell, sandbox: SandboxProcess) -> None:
    port = sandbox.url.rpartition(":")[2]
    assert port in shell.refused("sandbox", "--port", port)


def test_json_of_every_list(empty_place: Place) -> None:
    """What --json prints is JSON and nothing else, also when there is nothing."""
    for command in (
        ("providers", "list"),
        ("providers", "adapters"),
        ("models", "list"),
        ("keys", "list"),
        ("usage",),
        ("usage", "--events", "1"),
    ):
        assert isinstance(empty_place.json(*command), list)
    assert isinstance(empty_place.json("models", "sync"), dict)
    assert isinstance(empty_place.json("db", "current"), dict)
