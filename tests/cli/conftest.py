from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.harness import Place
from tests.e2e.fixtures import Servers, _sandbox_process, sandbox, served, servers
from tests.e2e.harness import SandboxProcess, Server

__all__ = ["_sandbox_process", "sandbox", "served", "servers"]


@pytest.fixture(params=["with a server", "without one"])
def place(
    request: pytest.FixtureRequest,
    servers: Servers,
    sandbox: SandboxProcess,
    tmp_path: Path,
) -> Place:
    """An empty router of this test alone."""
    if request.param == "without one":
        return Place(tmp_path / "var", sandbox, None)
    server = servers(bare=True, XROUTER_SANDBOX="off").start()
    return Place(server.data, sandbox, server)


@pytest.fixture(scope="session")
def _empty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("empty"), {"XROUTER_SANDBOX": "off"})
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(params=["with a server", "without one"])
def empty_place(
    request: pytest.FixtureRequest,
    _empty_server: Server,
    sandbox: SandboxProcess,
    tmp_path: Path,
) -> Place:
    """An empty router that others use too: to be left as it was."""
    if request.param == "without one":
        return Place(tmp_path / "var", sandbox, None)
    return Place(_empty_server.data, sandbox, _empty_server)
