"""Limits of a running server: made by the API, they count with the next second."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.e2e.fixtures import Servers
from tests.e2e.harness import Answer, until
from tests.e2e.storm import sent

MODEL = "openai/gpt-4o-mini"
LEFT = "x-ratelimit-remaining-requests"
SOON_S = 3.0
"""Seconds. A second is the promise; the machine that tests it has much to do."""


def test_a_limit_bites_within_a_second(servers: Servers) -> None:
    server = servers().start()
    model = "openai/gpt-4o-mini"
    assert "x-ratelimit-limit-requests" not in server.chat(model, key=server.key).headers

    done = server.command("limits", "add", "key:*", "requests", "2", "--per", "day")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Limit 1: key:*: 2 requests a day.\n"
    last: list[Answer] = []
    fresh = server.control("POST", "/keys", {"name": "fresh"})["key"]
    until(lambda: server.ask("GET", "/v1/models", key=fresh).status == 200, "the key is known")

    def look() -> bool:
        last.append(server.chat(model, key=fresh))
        return last[-1].status == 429

    until(look, "the limit bites", SOON_S)
    answered = [each for each in last if "x-ratelimit-limit-requests" in each.headers]
    remaining = [each.headers["x-ratelimit-remaining-requests"] for each in answered]
    assert remaining == ["1", "0", "0"]
    refused = last[-1]
    assert refused.error["type"] == "insufficient_quota"
    assert refused.headers["x-should-retry"] == "false"
    assert int(refused.headers["retry-after"]) > 0

    listed = server.command("keys", "list", "--json")
    key_id = next(k["key_id"] for k in json.loads(listed.stdout) if k["name"] == "fresh")
    told = server.command("limits", "state", "1", "--of", f"key:{key_id}", "--json")
    assert '"remaining": 0' in told.stdout
    assert server.command("limits", "set", "1", "--amount", "100").returncode == 0
    until(lambda: server.chat(model, key=fresh).status == 200, "it is raised", SOON_S)
    assert server.command("limits", "remove", "1").returncode == 0


def test_a_gateway_knows_what_was_used_before(servers: Servers) -> None:
    """It has no database: whoever has one writes it down for it."""
    server, before = servers().start(), 100
    limit = {"subject": "key:*", "meter": "requests", "window": "day", "amount": 1000}
    server.control("POST", "/limits", limit)
    first: list[Answer] = []

    def counts() -> bool:
        first.append(server.chat(MODEL))
        return LEFT in first[-1].headers

    until(counts, "the limit counts", SOON_S)
    assert asyncio.run(sent([server], before, server.key, 0.0)) == {200: before}
    all_of_them = before + len(first)
    until(lambda: len(server.events()) == all_of_them, "all are in the database")
    gateway = servers(bare=True).start("--role", "gateway")
    asked, told = server.data / "limits.asked", server.data / "limits.spent"
    until(lambda: _age(told) > _age(asked) > 0, "it has asked, and is told")

    looks: list[int] = []

    def knows() -> bool:
        looks.append(int(gateway.chat(MODEL, key=server.key).headers[LEFT]))
        return looks[-1] < 1000 - before

    until(knows, "it knows")
    assert len(looks) < before, "its own requests alone would say as much"


def _age(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0
