"""Limits of a running server: made by the API, they count with the next second."""

from __future__ import annotations

import json
import time

from tests.e2e.fixtures import Servers
from tests.e2e.harness import Answer, until

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
    began = time.monotonic()

    def look() -> bool:
        last.append(server.chat(model, key=server.key))
        return last[-1].status == 429

    until(look, "the limit bites", SOON_S)
    assert time.monotonic() - began < SOON_S
    answered = [each for each in last if "x-ratelimit-limit-requests" in each.headers]
    remaining = [each.headers["x-ratelimit-remaining-requests"] for each in answered]
    assert remaining == ["1", "0", "0"]
    refused = last[-1]
    assert refused.error["type"] == "insufficient_quota"
    assert refused.headers["x-should-retry"] == "false"
    assert int(refused.headers["retry-after"]) > 0

    listed = server.command("keys", "list", "--json")
    key_id = json.loads(listed.stdout)[0]["key_id"]
    told = server.command("limits", "state", "1", "--of", f"key:{key_id}", "--json")
    assert '"remaining": 0' in told.stdout
    assert server.command("limits", "set", "1", "--amount", "100").returncode == 0
    until(lambda: server.chat(model, key=server.key).status == 200, "it is raised", SOON_S)
    assert server.command("limits", "remove", "1").returncode == 0
