from __future__ import annotations

from random import Random

import pytest

from xrouter.flow.strategies import auto, latency, least_busy, quality, round_robin, weighted


@pytest.fixture(autouse=True)
def _the_same_chances_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (auto, latency, least_busy, quality, weighted):
        monkeypatch.setattr(module, "chance", Random(7))
    monkeypatch.setattr(round_robin, "_turns", {})
