"""Fixtures for tests with real processes.

sandbox     a sandbox process of this test process, without faults
served      a server in front of it that tests share: do not change what it knows
servers     makes servers for this test alone, not yet started
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.harness import SandboxProcess, Server


@pytest.fixture(scope="session")
def _sandbox_process() -> Iterator[SandboxProcess]:
    sandbox = SandboxProcess()
    try:
        yield sandbox
    finally:
        sandbox.close()


@pytest.fixture
def sandbox(_sandbox_process: SandboxProcess) -> SandboxProcess:
    _sandbox_process.clear()
    return _sandbox_process


@pytest.fixture(scope="session")
def served(
    _sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("served"), _sandbox_process.environment)
    try:
        yield server.start(cold=True)
    finally:
        server.close()


class Servers:
    """Makes servers that are not yet started; all are gone at the end of the test."""

    def __init__(self, folder: Path, sandbox: SandboxProcess) -> None:
        self.made: list[Server] = []
        self._folder = folder
        self.sandbox = sandbox

    def __call__(self, *, bare: bool = False, **env: str) -> Server:
        """bare: no provider is configured. All of a test share one data folder."""
        given = {} if bare else self.sandbox.environment
        server = Server(self._folder, given | env, name=f"server{len(self.made)}")
        self.made.append(server)
        return server


@pytest.fixture
def servers(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[Servers]:
    servers = Servers(tmp_path, sandbox)
    yield servers
    for each in servers.made:
        each.close()
