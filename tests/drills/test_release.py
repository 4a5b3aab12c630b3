"""A new version is released under load: first to a share of the keys, then to all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.drills.load import Load
from tests.e2e.harness import SandboxProcess, Server, until

MODEL = "openai/drilled"
PER_SECOND = 50
SETTLES_S = 2.0
"""After the moment of a step, until every request follows it."""

pytestmark = pytest.mark.drill


@pytest.fixture
def server(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[Server]:
    made = Server(tmp_path, sandbox.environment)
    try:
        made.start()
        versions = [
            {"label": "1", "channel": "latest", "upstream": "gpt-4o-mini"},
            {"label": "2", "channel": "rc", "upstream": "gpt-4.1"},
        ]
        model = {"model_id": MODEL, "provider": "openai", "versions": versions}
        made.control("POST", "/models", model)
        until(lambda: made.chat(MODEL).status == 200, "the model answers")
        yield made
    finally:
        made.close()


def test_a_release_under_load_loses_nothing(server: Server) -> None:
    keys = [server.control("POST", "/keys", {"name": f"k{n}"})["key"] for n in range(20)]
    now = datetime.now(UTC)
    release = {
        "model_id": MODEL,
        "label": "2",
        "canary_from": (now + timedelta(seconds=8)).isoformat(),
        "at": (now + timedelta(seconds=18)).isoformat(),
        "canary": {"share": 0.3, "by": "key", "min_requests": 20},
    }
    server.control("POST", "/releases", release)

    async def nothing(_began: float) -> None:
        await asyncio.sleep(0)

    load = Load(server, MODEL, PER_SECOND, keys=keys)
    began = datetime.now(UTC)
    seen = load.run(30, nothing)
    offset = (now - began).total_seconds()
    canary_at, latest_at = 8 + offset, 18 + offset

    assert [each for each in seen if not each.whole] == []
    before = {each.version for each in seen if each.at < canary_at}
    during = [e for e in seen if canary_at + SETTLES_S < e.at < latest_at]
    after = {each.version for each in seen if each.at > latest_at + SETTLES_S}
    share = sum(each.version == "2" for each in during) / len(during)
    print(json.dumps({"requests": len(seen), "failed": 0, "canary_share": round(share, 3)}))  # noqa: T201 - the figures are what a drill is for
    assert before == {"1"}
    assert after == {"2"}
    assert 0.05 <= share <= 0.6
    assert {each.version for each in during} == {"1", "2"}

    until(lambda: len(_events(server)) >= len(seen), "the journal has all of them")
    events = _events(server)
    upstream = {"1": "gpt-4o-mini", "2": "gpt-4.1"}
    wrong = [e for e in events if not str(e["upstream_model"]).startswith(upstream[e["version"]])]
    assert wrong == []
    (done,) = server.control("GET", "/releases")["data"]
    assert done["status"] == "done"


def _events(server: Server) -> list[dict[str, Any]]:
    return [event for event in server.events() if event["model_served"] == MODEL]
