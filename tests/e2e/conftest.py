from __future__ import annotations

from tests.e2e.fixtures import _sandbox_process, sandbox, served, servers

__all__ = ["_sandbox_process", "sandbox", "served", "servers"]
