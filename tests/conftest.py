from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "steady",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")
"""Each run tries the same, and a machine that stands still for a moment fails nothing."""

settings.register_profile("wide", settings.get_profile("steady"), derandomize=False)
"""For looking further: `pytest --hypothesis-profile wide` tries something else each time."""

pytest_plugins = ["tests.services.fixtures"]

LONGEST_FIRST = (
    "tests/edge/test_openapi_fuzz.py",
    "tests/e2e/",
    "tests/cli/",
    "tests/faults/",
    "tests/clients/",
    "tests/control/",
    "tests/edge/",
)
"""Files that are given out as wholes, the longest at first, end at the same time on all workers."""


def _place(item: pytest.Item) -> int:
    found = (place for place, start in enumerate(LONGEST_FIRST) if item.nodeid.startswith(start))
    return next(found, len(LONGEST_FIRST))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)
