"""The sandbox's server: uvicorn's HTTP protocol under a listener of our own.

So faults reach the transport, port 0 works, and nothing is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

from typing_extensions import override
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from xrouter.sandbox.application import CONNECTION, Sandbox
from xrouter.sandbox.delivery import Connection

_GRACE = 1.0
_TURNS = 1000
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class SandboxProtocol(HttpToolsProtocol):
    """One connection; each scope carries it in `extensions`."""

    def __init__(self, config: Config, state: ServerState) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self.access_log = False
        self._extensions: dict[str, Any] = {}

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._extensions = {CONNECTION: Connection(transport)}

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone, or we have closed."""
        super().connection_lost(exc)
        connection: Connection = self._extensions[CONNECTION]
        connection.gone.set()

    @override
    def on_message_begin(self) -> None:
        """A request begins: its scope is made here."""
        super().on_message_begin()
        self.scope["extensions"] = self._extensions


class Listener:
    """A sandbox on a port. `start` answers the base URL; `stop` leaves nothing behind."""

    def __init__(self, app: Sandbox) -> None:
        self._state = ServerState()
        self._config = Config(
            app,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            proxy_headers=False,
            timeout_keep_alive=75,
        )
        self._config.load()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> str:
        """Listen. Port 0: any free one. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SandboxProtocol(self._config, self._state), host, port, backlog=2048
        )
        name = self._server.sockets[0].getsockname()
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{name[1]}"

    async def stop(self, grace: float) -> None:
        """Stop listening, give requests `grace` seconds, then cut every connection."""
        if self._server is None:
            return
        self._server.close()
        for protocol in list(self._state.connections):
            protocol.shutdown()
        if grace and self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=grace)
        for protocol in list(self._state.connections):
            protocol.transport.abort()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=_GRACE)
        for task in list(self._state.tasks):
            task.cancel()
        for _ in range(_TURNS):
            if not self._state.connections and not self._state.tasks:
                break
            await asyncio.sleep(0)
        await self._server.wait_closed()


@contextlib.asynccontextmanager
async def running(
    port: int = 0, host: str = "127.0.0.1", app: Sandbox | None = None
) -> AsyncIterator[str]:
    """A sandbox inside this process, for tests: gives its base URL, and stops at the end."""
    listener = Listener(app or Sandbox())
    url = await listener.start(host, port)
    try:
        yield url
    finally:
        await listener.stop(0)


async def serve(
    host: str = "127.0.0.1", port: int = 8090, *, announce: bool = False, leashed: bool = False
) -> None:
    """Serve until SIGTERM or SIGINT.

    announce: print {"url": ..., "environment": {...}} as one line on stdout.
    leashed: also end when standard input does, that is when who started us is gone.
    """
    sandbox = Sandbox()
    listener = Listener(sandbox)
    url = await listener.start(host, port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)

    def pull() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            stop.set()

    if leashed:
        loop.add_reader(sys.stdin, pull)
    if announce:
        sys.stdout.write(json.dumps({"url": url, "environment": sandbox.environment(url)}) + "\n")
        sys.stdout.flush()
    try:
        await stop.wait()
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)
        if leashed:
            loop.remove_reader(sys.stdin)
        await listener.stop(_GRACE)


def main(
    host: str = "127.0.0.1", port: int = 8090, *, announce: bool = False, leashed: bool = False
) -> None:
    """Run the sandbox until it is told to stop."""
    factory = Config(lambda: None, log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(host, port, announce=announce, leashed=leashed))
