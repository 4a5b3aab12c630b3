"""Running the door: uvicorn with our guard, our deadlines and our way to leave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from msgspec import Struct
from typing_extensions import override

from xrouter.edge.entrance import Entrance, Protocols
from xrouter.edge.guard import GuardedConfig, GuardProtocol, sweep
from xrouter.edge.limits import GuardLimits
from xrouter.edge.server import Door

_SWEEP_TICKS = 10
"""uvicorn ticks ten times a second."""

_FINAL_S = 5.0
_LOOK_S = 0.05


class RunOptions(Struct, frozen=True, kw_only=True):
    """Where and how to serve. Times in seconds.

    port: 0 for any free one. grace: how long running requests, and answers made in the background,
    may take after the process was told to stop; then they are cut. drain_delay: how long new ones
    are still accepted meanwhile, so that a load balancer can look away. keep_alive: how long an
    idle connection stays open.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    grace: float = 25.0
    drain_delay: float = 0.0
    keep_alive: int = 75
    backlog: int = 2048
    guard: GuardLimits = GuardLimits()


MakeEntrance = Callable[[RunOptions, Protocols], Entrance]
"""Raises OperatorError when the address cannot be listened on."""


class DoorServer(uvicorn.Server):
    """Serves until it is told to stop, then lets running requests finish.

    The first signal makes the process not ready and begins the drain, a second one ends the grace.
    """

    def __init__(self, door: Door, options: RunOptions, make_entrance: MakeEntrance) -> None:
        config = GuardedConfig(
            door,
            host=options.host,
            port=options.port,
            http=GuardProtocol,
            ws="none",
            lifespan="on",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=options.keep_alive,
            backlog=options.backlog,
        )
        config.guard = options.guard
        super().__init__(config)
        self._door = door
        self._options = options
        self._accepts_until = 0.0
        self._hurried = False
        self._make_entrance = make_entrance
        self._entrance: Entrance | None = None
        self.listening = asyncio.Event()
        self.farewells: list[Callable[[], None]] = []

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on. Only once `started`."""
        if self._entrance is None:
            raise RuntimeError("the server has not started")
        return self._entrance.address

    @property
    def accepts(self) -> bool:
        """Whether new connections are let in."""
        return self._entrance is not None and self._entrance.is_open

    @override
    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Raises OperatorError."""
        entrance = self._make_entrance(self._options, self._make_protocol)
        try:
            await super().startup([])
        except BaseException:
            entrance.close()
            raise
        if not self.started:
            entrance.close()
            return
        self._entrance = entrance
        entrance.start(self._options.backlog)
        self.listening.set()

    def stop_accepting(self) -> None:
        """Let nobody in any more."""
        if self._entrance is not None:
            self._entrance.close()

    def stop(self) -> None:
        """Begin to leave; the second time, hurry."""
        if self.should_exit:
            self._hurried = True
            return
        for farewell in self.farewells:
            farewell()
        self._door.health.draining = True
        self._accepts_until = time.monotonic() + self._options.drain_delay
        self.should_exit = True

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.stop()

    @override
    async def on_tick(self, counter: int) -> bool:
        if counter % _SWEEP_TICKS == 0:
            sweep(self.server_state.connections)
        leaving = await super().on_tick(counter)
        return leaving and (self._hurried or time.monotonic() >= self._accepts_until)

    @override
    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        self.stop_accepting()
        for socket in sockets or []:
            socket.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        self._door.leave()
        await self._until_idle(self._options.grace)
        self._hurried = False
        self._door.cut()
        await self._until_idle(_FINAL_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        await asyncio.sleep(0)
        await self.lifespan.shutdown()

    async def _until_idle(self, seconds: float) -> None:
        """Wait for all that runs, at most so long, or until a second signal."""
        ends_at = time.monotonic() + seconds
        state = self.server_state
        while state.tasks or state.connections or self._door.busy:
            if self._hurried or time.monotonic() >= ends_at:
                return
            sweep(state.connections)
            await asyncio.sleep(_LOOK_S)

    def _make_protocol(self) -> asyncio.BaseProtocol:
        """For one connection."""
        config = self.config
        made: asyncio.BaseProtocol = config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made
