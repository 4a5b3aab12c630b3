"""Fixtures: a real llama.cpp server. Collected only where asked for: `-m real_llamacpp`."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from tests.llamacpp import build
from tests.llamacpp.asking import Caller
from tests.llamacpp.server import LlamaServer

from xrouter.wire.client import Client

MARKER = "real_llamacpp"
KEY = "sk-the-server-s-own"


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Nothing here is part of the ordinary tests."""
    return None if MARKER in config.getoption("markexpr") else True


@pytest.fixture(scope="session")
def program(request: pytest.FixtureRequest) -> Path:
    """The server, built where it is not yet."""
    if not build.server().exists():
        capture = request.config.pluginmanager.getplugin("capturemanager")
        assert capture is not None
        with capture.global_and_fixture_disabled():
            print("\nBuilding llama.cpp's server, once: some minutes ...", flush=True)  # noqa: T201 - for who waits
    return build.build()


@pytest.fixture(scope="session")
def server(program: Path) -> Iterator[LlamaServer]:
    """One model, no key."""
    with closing(LlamaServer(program)) as running:
        yield running


@pytest.fixture(scope="session")
def locked(program: Path) -> Iterator[LlamaServer]:
    """With the key KEY."""
    with closing(LlamaServer(program, "--api-key", KEY)) as running:
        yield running


@pytest.fixture(scope="session")
def embedder(program: Path) -> Iterator[LlamaServer]:
    """For embeddings."""
    with closing(LlamaServer(program, "--embeddings", "--pooling", "mean")) as running:
        yield running


@pytest.fixture(scope="session")
def crowded(program: Path) -> Iterator[LlamaServer]:
    """Four slots that share a context too small for all of them."""
    shared = ("--parallel", "4", "--kv-unified", "--ctx-size", "512")
    with closing(LlamaServer(program, *shared)) as running:
        yield running


@pytest.fixture(scope="session")
def several(program: Path) -> Iterator[LlamaServer]:
    """Two models, one of which is loaded at a time."""
    with closing(LlamaServer(program, models=("alpha", "beta"))) as running:
        yield running


@pytest.fixture(scope="session")
def templated(
    program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], LlamaServer]]:
    """Servers with another chat template, each started when it is first asked for."""
    folder = tmp_path_factory.mktemp("templates")
    with ExitStack() as stack:

        @functools.cache
        def started(template: str) -> LlamaServer:
            path = folder / f"{len(list(folder.iterdir()))}.jinja"
            path.write_text(template)
            running = LlamaServer(program, "--chat-template-file", str(path))
            return stack.enter_context(closing(running))

        yield started


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Our own way to send."""
    made = Client()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
def caller(client: Client, server: LlamaServer) -> Caller:
    """To the server without a key."""
    return Caller(client, server.url)
