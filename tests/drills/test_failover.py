"""A provider goes down under load and comes back; a standby of it is well all the time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.drills.load import Load, Seen
from tests.e2e.harness import SandboxProcess, Server

MODEL = "openai/gpt-4o-mini"
PER_SECOND = 50
KINDS = ("refuse", "server_error", "hang_before_headers", "cut")

pytestmark = pytest.mark.drill


@pytest.fixture
def standby() -> Iterator[SandboxProcess]:
    other = SandboxProcess()
    yield other
    other.close()


@pytest.fixture
def server(tmp_path: Path, sandbox: SandboxProcess, standby: SandboxProcess) -> Iterator[Server]:
    made = Server(tmp_path, sandbox.environment)
    try:
        made.start()
        timeouts = {"connect": 1, "first_token": 2, "idle": 5, "total": 5}
        made.control("PATCH", "/providers/openai/endpoints/primary", {"timeouts": timeouts})
        endpoint = {
            "name": "spare",
            "base_url": standby.environment["OPENAI_BASE_URL"],
            "credential": {"api_key": "sk-sandbox"},
        }
        made.control("POST", "/providers/openai/endpoints", endpoint)
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_minute_without_the_primary(
    server: Server, sandbox: SandboxProcess, kind: str, down_s: float
) -> None:
    load = Load(server, MODEL, PER_SECOND, keys=[server.key])
    down_at, up_at = 3.0, 3.0 + down_s
    interval = 15.0

    async def script(_began: float) -> None:
        await asyncio.sleep(down_at)
        await asyncio.to_thread(sandbox.fault, kind, times=None, **_fields(kind))
        await asyncio.sleep(down_s)
        await asyncio.to_thread(sandbox.clear)

    seen = load.run(up_at + interval + 3, script)
    failed = [each for each in seen if not each.whole]
    assert len(failed) <= len(seen) / 1000, failed[:5]
    switched = _first(seen, "spare", after=down_at)
    returned = _first(seen, "primary", after=up_at)
    slow = [each for each in seen if each.at > switched + 3 and each.took > 3]
    print(  # noqa: T201 - the figures are what a drill is for
        json.dumps(
            {
                "fault": kind,
                "requests": len(seen),
                "failed": len(failed),
                "switch_s": round(switched - down_at, 2),
                "return_s": round(returned - up_at, 2),
                "slow": len(slow),
            }
        )
    )
    assert switched - down_at < 3
    assert returned - up_at < interval + 2
    steady = [each for each in seen if switched + 3 < each.at < up_at]
    assert sum(each.endpoint == "spare" for each in steady) >= 0.98 * len(steady)


def _fields(kind: str) -> dict[str, float]:
    return {"after": 0} if kind == "cut" else {}


def _first(seen: list[Seen], endpoint: str, *, after: float) -> float:
    """When the first request that this endpoint answered was sent."""
    return next(each.at for each in seen if each.at >= after and each.endpoint == endpoint)
