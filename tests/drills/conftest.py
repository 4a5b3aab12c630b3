from __future__ import annotations

import os

import pytest
from tests.e2e.fixtures import _sandbox_process, sandbox, servers

MARKER = "drill"

__all__ = ["_sandbox_process", "sandbox", "servers"]


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Nothing here is part of the ordinary tests."""
    return None if MARKER in config.getoption("markexpr") else True


@pytest.fixture
def down_s() -> float:
    """How long a provider stays away, in seconds."""
    return float(os.environ.get("DRILL_DOWN_S", "60"))
