"""Whoever reads /metrics finds each name in the operator's pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.e2e.harness import Server

from xrouter.app.workers.supervisor import _COUNTS

ROOT = Path(__file__).parents[2]
SOMETIMES = "# TYPE xrouter_redis_up gauge\n" + _COUNTS
"""Only where Redis or several workers are used."""


@pytest.mark.parametrize("page", ["docs/operations.md", "docs/ru/operations.md"])
def test_every_metric_is_told(served: Server, page: str) -> None:
    text = served.ask("GET", "/metrics").body.decode() + SOMETIMES
    kinds = dict(re.findall(r"^# TYPE (xrouter_\w+) (\w+)$", text, re.MULTILINE))
    names = {name for name, kind in kinds.items() if not name.endswith("_created")}
    assert len(names) > 20
    told = set(re.findall(r"^\| `(xrouter_\w+)` \|", (ROOT / page).read_text(), re.MULTILINE))
    assert names == told
