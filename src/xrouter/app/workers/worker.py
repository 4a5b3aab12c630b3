"""A worker: the data plane behind the port that it shares with the others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGINT
from socket import socket
from types import FrameType
from typing import Any

from typing_extensions import override

from xrouter.app import memory
from xrouter.app.configured import door_limits, gateway_config, vault_of
from xrouter.app.gateway import DataPlane
from xrouter.app.sockets import opened
from xrouter.app.workers.leash import Leash, Task, Word, tell
from xrouter.app.workers.link import Forwarder
from xrouter.app.workers.spread import Spread, SpreadAcceptor
from xrouter.app.workers.tallies import Tallies, Teller
from xrouter.edge.entrance import Protocols
from xrouter.edge.health import Health
from xrouter.edge.run import DoorServer, RunOptions
from xrouter.edge.server import Door
from xrouter.settings import Settings
from xrouter.telemetry.logs import LineWriter, log

FOLLOW_EVERY_S = 0.1
LINGER_S = 1.0
SPENT_S = 5.0
LOOK_S = 0.02
OPENAPI = "openapi.json"
_CLOSE = (b"connection", b"close")


class WorkerServer(DoorServer):
    """Leaves without breaking a connection that a client believes to be open.

    When it is to stop it takes no connection any more, others do. Each answer from then on says
    that it is the connection's last; connections that stay idle are closed after a while.
    """

    def __init__(
        self,
        door: Door,
        options: RunOptions,
        sockets: Sequence[socket],
        spread: Spread,
        number: int,
    ) -> None:
        """number: of this worker, from 1."""
        super().__init__(door, options, self._enter)
        self._own = (sockets, spread, number)
        self._spread: SpreadAcceptor | None = None

    def _enter(self, _options: RunOptions, protocol: Protocols) -> SpreadAcceptor:
        sockets, spread, number = self._own
        connections = self.server_state.connections
        self._spread = SpreadAcceptor(sockets, protocol, spread, number, lambda: len(connections))
        return self._spread

    @override
    async def on_tick(self, counter: int) -> bool:
        if self._spread is not None:
            self._spread.note()
        return await super().on_tick(counter)

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Whoever signals all processes of a group at once means no hurry."""
        if not self.should_exit:
            self.stop()

    def hurry(self) -> None:
        """Cut what runs."""
        self.handle_exit(SIGINT, None)
        self.stop()

    @override
    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        self.stop_accepting()
        state = self.server_state
        state.default_headers = [*state.default_headers, _CLOSE]
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + LINGER_S
        while state.connections:
            if self._hurried or loop.time() >= ends_at:
                break
            await asyncio.sleep(LOOK_S)
        await super().shutdown(sockets)


class Worker:
    """`run` it once."""

    def __init__(self, settings: Settings, task: Task, writer: LineWriter, leash: Leash) -> None:
        """Raises VaultError, XRouterError."""
        folder = Path(task.folder)
        self._task = task
        self._leash = leash
        self._data = DataPlane(gateway_config(settings, task.workers), vault_of(settings), writer)
        self._tallies = Tallies(folder)
        self._teller = Teller(self._tallies, task.name, self._data.meters.render)
        forwarder = Forwarder(Path(task.control))
        door = Door(
            self._data.flow,
            self._data.snapshots,
            self._data.keys,
            self._teller.text,
            Health(self._data.snapshots, self._facts),
            responses=self._data.responses,
            limits=door_limits(settings),
            fallback=forwarder,
            other_openapi=_document(folder / OPENAPI),
            status=self._data.status,
        )
        self._data.measure_door(door)
        self._server = WorkerServer(
            door,
            RunOptions(grace=settings.grace),
            opened(task.sockets),
            Spread(folder, task.workers),
            task.number,
        )
        self._server.farewells.append(forwarder.leave)
        leash.on_stop = self._server.stop
        leash.on_hurry = self._server.hurry

    async def run(self) -> None:
        """Serve until told to stop."""
        if not await self._leash.wait():
            return
        async with self._life():
            ready = asyncio.create_task(self._tell())
            await self._server.serve()
            ready.cancel()

    @asynccontextmanager
    async def _life(self) -> AsyncIterator[None]:
        self._data.start()
        await self._remember_spent()
        self._data.follow_file(FOLLOW_EVERY_S)
        telling = asyncio.create_task(self._teller.run())
        memory.settle()
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            await self._data.stop()
            await asyncio.to_thread(self._teller.write)

    async def _remember_spent(self) -> None:
        """Quotas and budgets go on where they were; Redis, if it is there, remembers them."""
        data = self._data
        if not data.snapshots.current.limits or await data.are_limits_known():
            return
        data.spent.has_news()  # what was told before may be old
        try:
            data.spent.ask()
            async with asyncio.timeout(SPENT_S):
                while not data.spent.has_news():  # noqa: ASYNC110 - another process writes it
                    await asyncio.sleep(LOOK_S)
        except (TimeoutError, OSError):
            log.error("limits_begin_anew", error="the control process does not say what was used")
            return
        data.remember(await asyncio.to_thread(data.spent.read))

    async def _tell(self) -> None:
        await self._server.listening.wait()
        tell(Word(ready=True))

    def _facts(self) -> dict[str, Any]:
        running = sum(name.startswith("worker") for name in self._tallies.names())
        return {"workers": {"running": running, "wanted": self._task.workers}}


def _document(path: Path) -> Callable[[], dict[str, Any]]:
    """The control API's description, which the control process leaves there."""

    def read() -> dict[str, Any]:
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    return read
