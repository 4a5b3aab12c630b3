"""Warnings: in the log and in the metric, once in a window, for each limit by itself."""

from __future__ import annotations

import pytest
from msgspec import structs

from xrouter.domain.limits import Limit
from xrouter.domain.ports import Level, Want
from xrouter.domain.windows import FOREVER
from xrouter.flow.limits.alarms import Alarms
from xrouter.flow.limits.rules import Rule
from xrouter.telemetry.logs import log
from xrouter.telemetry.metrics import Meters

DAILY = Limit(subject="key:*", meter="requests", window="day", amount=100, warn_at=80)


class Rig:
    def __init__(self) -> None:
        self.now = 0.0
        self.metrics = Meters()
        self._alarms = Alarms(self.metrics, lambda: self.now)

    def look(self, used: int, *, of: str = "one", limit: Limit = DAILY, reset: float = 60) -> int:
        """A request of one was granted after so much was used; how often it was told."""
        counter = f"key:{of}|*|{limit.meter}|{limit.window}"
        want = Want(counter, limit.meter, limit.window, limit.amount, 1, "UTC")
        level = Level(limit.amount - used - 1, reset)
        with log.captured() as told:
            self._alarms.look([Rule(limit, counter)], [want], [level])
        assert all((each["limit"], each["warn_at"]) == (counter, limit.warn_at) for each in told)
        return len(told)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_once_in_a_window(rig: Rig) -> None:
    assert [rig.look(used) for used in (0, 79, 80, 81, 99)] == [0, 0, 1, 0, 0]
    rig.now += 59
    assert rig.look(90) == 0
    rig.now += 1
    assert rig.look(10) == 0
    assert [rig.look(used, reset=86400) for used in (80, 81)] == [1, 0]
    text = rig.metrics.render().decode()
    assert 'xrouter_limit_warnings_total{kind="key",meter="requests",window="day"} 2.0' in text


def test_each_by_itself(rig: Rig) -> None:
    assert [rig.look(80, of=name) for name in ("one", "two", "one")] == [1, 1, 0]


def test_what_never_resets_warns_once(rig: Rig) -> None:
    total = structs.replace(DAILY, window="total")
    assert rig.look(80, limit=total, reset=FOREVER) == 1
    rig.now += 10**9
    assert rig.look(99, limit=total, reset=FOREVER) == 0


def test_a_rate_warns_once_a_minute(rig: Rig) -> None:
    rate = structs.replace(DAILY, window="minute")
    assert [rig.look(80, limit=rate), rig.look(85, limit=rate)] == [1, 0]
    rig.now += 60
    assert rig.look(80, limit=rate) == 1


def test_nothing_without_a_threshold(rig: Rig) -> None:
    assert rig.look(99, limit=structs.replace(DAILY, warn_at=None)) == 0
