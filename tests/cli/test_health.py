"""The commands of health, against the API's own shapes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from xrouter.cli import health
from xrouter.control.health.schemas import (
    CheckOut,
    EndpointHealth,
    IncidentOut,
    IncidentPage,
    UptimeOut,
    UptimeRow,
)
from xrouter.control.instances import InstanceOut
from xrouter.control.kit.schemas import Page

THEN = datetime(2026, 1, 2, 12, tzinfo=UTC)


def endpoint(name: str, **more: Any) -> EndpointHealth:
    given: dict[str, Any] = {
        "provider": "acme",
        "endpoint": name,
        "enabled": True,
        "state": "healthy",
        "since": None,
        "cause": None,
        "last_check": CheckOut(
            at=1.0, kind="list", ok=True, took_ms=9.0, error_code=None, model=None
        ),
        "p50_ms": 12.5,
    }
    return EndpointHealth(**given | more)


ANSWERS: dict[str, BaseModel] = {
    "/health": Page[EndpointHealth](
        data=[
            endpoint("primary"),
            endpoint(
                "standby",
                state="down",
                since=THEN,
                cause="upstream_timeout",
                p50_ms=None,
                last_check=CheckOut(
                    at=1.0,
                    kind="list",
                    ok=False,
                    took_ms=9.0,
                    error_code="upstream_timeout",
                    model=None,
                ),
            ),
            endpoint("third", enabled=False, last_check=None),
        ]
    ),
    "/health/incidents": IncidentPage(
        data=[
            IncidentOut(
                id=7,
                provider="acme",
                endpoint="standby",
                state="down",
                started_at=THEN,
                ended_at=None,
                cause="upstream_timeout",
                failed=12,
                saved=11,
            )
        ]
    ),
    "/health/uptime": UptimeOut(
        window="24h",
        by="provider",
        since=THEN,
        data=[
            UptimeRow(
                name="acme",
                asked=200,
                answered=199,
                uptime=99.5,
                minutes=60,
                good_minutes=59,
                sla=98.333,
            )
        ],
    ),
    "/instances": Page[InstanceOut](
        data=[
            InstanceOut(
                instance_id="i1",
                host="box",
                pid=42,
                role="all",
                revision=7,
                behind=True,
                silent=False,
                started_at=1.0,
                seen_at=2.0,
            )
        ]
    ),
}


class Terminal:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.answers = ANSWERS

    def call(self, method: str, path: str, query: dict[str, Any] | None = None) -> Any:
        self.asked.append((method, path, query or {}))
        return json.loads(self.answers[path].model_dump_json())

    def run(self, *arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(health.app, list(arguments), env={"COLUMNS": "160"})
        assert done.exit_code == code, done.output
        return done.stdout


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    made = Terminal()
    monkeypatch.setattr(health, "call", made.call)
    return made


def test_states(terminal: Terminal) -> None:
    lines = terminal.run().splitlines()
    assert [line.split()[2] for line in lines[1:]] == ["healthy", "down", "switched"]
    assert lines[1].split()[-1] == "answered"
    assert lines[2].split()[-1] == "upstream_timeout"
    assert "2026-01-02T12:00:00Z" in lines[2]
    assert terminal.asked == [("GET", "/health", {})]


@pytest.mark.parametrize("command", ["", "incidents", "uptime", "instances"])
def test_json_is_what_the_api_says(terminal: Terminal, command: str) -> None:
    arguments = [command] if command else []
    printed = json.loads(terminal.run(*arguments, "--json"))
    answer = json.loads(terminal.answers[terminal.asked[0][1]].model_dump_json())
    assert printed == answer["data"]


def test_incidents(terminal: Terminal) -> None:
    told = terminal.run("incidents")
    assert "upstream_timeout" in told
    assert told.splitlines()[1].split()[-2:] == ["12", "11"]
    terminal.run("incidents", "--provider", "acme", "--open", "--limit", "5")
    assert [query for _, _, query in terminal.asked] == [
        {"provider": None, "open": None, "limit": 50},
        {"provider": "acme", "open": True, "limit": 5},
    ]


def test_uptime(terminal: Terminal) -> None:
    told = terminal.run("uptime", "--window", "30d", "--by", "model")
    assert told.splitlines()[1].split() == ["acme", "200", "199", "99.5", "98.333"]
    assert terminal.asked[0][2] == {"window": "30d", "by": "model"}
    terminal.run("uptime", "--window", "2h", code=2)


def test_instances(terminal: Terminal) -> None:
    row = terminal.run("instances").splitlines()[1]
    assert row.split() == ["i1", "box", "42", "all", "7", "yes", "no"]


def test_nothing_is_said_in_words(terminal: Terminal) -> None:
    terminal.answers = {path: Page[Any](data=[]) for path in ANSWERS}
    assert "providers add" in terminal.run()
    assert "no incidents" in terminal.run("incidents")
    assert "Nothing was asked" in terminal.run("uptime")
    assert "No process" in terminal.run("instances")
