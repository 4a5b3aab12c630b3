"""Our ledger is the providers' bill, to the last billionth: many requests, and all that goes wrong.

XROUTER_DRILL_REQUESTS: how many, 20000 without it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.books import Books
from tests.e2e.harness import SandboxProcess, Server
from tests.e2e.traffic import Traffic, open_books, spare_sandbox

REQUESTS = int(os.environ.pop("XROUTER_DRILL_REQUESTS", "20000"))
WAVE = 2500
OFF = 0.02
"""As a share of the bill: how far the estimates may lead us astray in all."""

pytestmark = [pytest.mark.drill, pytest.mark.timeout(3600)]


@pytest.fixture
def server(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[Server]:
    made = Server(tmp_path, sandbox.environment | {"XROUTER_ACCESS_LOG": "false"})
    try:
        yield made.start()
    finally:
        made.close()


def test_the_ledger_is_the_bill(server: Server, sandbox: SandboxProcess) -> None:
    """Every second wave of requests is met by a `kill -9`.

    Close to it at once; to the last billionth when the bills are imported.
    """
    began, kills = time.monotonic(), 0
    with spare_sandbox() as spare:
        open_books(server, spare)
        books = Books(server, {"primary": sandbox, "spare": spare})
        traffic = Traffic(server, (sandbox, spare), seed=5)
        for number, start in enumerate(range(0, REQUESTS, WAVE)):
            killed = number % 2 == 0
            traffic.wave(min(WAVE, REQUESTS - start), killed=killed)
            kills += killed
            books.collect()
        books.settle()
    books.check()
    books.told(traffic.tally.answered)
    figures = books.compare()
    imported = books.import_bills()
    books.check()
    books.check_settled()
    known = traffic.tally
    print(  # noqa: T201 - the figures are what a drill is for
        json.dumps(
            figures.told()
            | {
                "requests": known.sent,
                "answered": len(known.answered),
                "left": known.left,
                "broken": known.broken,
                "kills": kills,
                "imported": +imported,
                "seconds": round(time.monotonic() - began),
            }
        )
    )
    assert figures.heard > REQUESTS * 0.7
    assert figures.unexplained <= kills, "an earlier attempt of what was under way"
    assert figures.off < OFF
