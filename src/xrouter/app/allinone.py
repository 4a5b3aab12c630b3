"""Both planes in one process: `xrouter serve`.

The data plane starts first, from the snapshot on disk where there is one, and answers even when
the database does not; then the control plane is joined to it by its two pipes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from typing import Any

from xrouter.app import discovery, memory, playground, registration
from xrouter.app.accept import entrance
from xrouter.app.configured import door_limits, gateway_config, vault_of
from xrouter.app.control import JOURNAL, ControlPlane
from xrouter.app.gateway import DataPlane
from xrouter.app.presence import ServerLock, url_of
from xrouter.app.welcome import Welcome
from xrouter.control.db import schema
from xrouter.control.db.errors import DatabaseError, DatabaseTaken
from xrouter.control.limits.seeder import Seeder
from xrouter.domain.errors import OperatorError, XRouterError
from xrouter.edge.health import Health
from xrouter.edge.run import DoorServer, RunOptions
from xrouter.edge.server import Door
from xrouter.settings import Settings
from xrouter.telemetry.logs import LineWriter, log

RETRY_S = 5.0


class Planes:
    """Both planes, joined by their pipes, for whoever opens a door to them."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        writer: LineWriter,
        say: Callable[[str], None],
        *,
        answers: bool = True,
    ) -> None:
        """environ: where providers' credentials are looked for. say: prints the welcome.

        answers: whether this process answers model requests, and so knows what they use.
        Raises VaultError, DatabaseError.
        """
        self._settings = settings
        self._environ = environ
        vault = vault_of(settings)
        config = gateway_config(settings, answers=answers)
        self._data = DataPlane(config, vault, writer)
        shared = self._data.shared
        self._control = ControlPlane(
            settings,
            vault,
            self._data.client,
            self._data.tokens,
            self._data.explainer,
            signal=None if shared is None else shared.signal,
            meters=self._data.limits if answers or shared is not None else None,
            tries=None if shared is None else shared.tries,
        )
        self._welcome = Welcome(self._control, say)
        self._playground: playground.Playground | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def greet(self, url: str) -> None:
        """Say where the door is and, on the first start, give out a key."""
        await self._welcome.say(url, self._data.snapshots, sandbox=self._playground is not None)

    @asynccontextmanager
    async def life(self) -> AsyncIterator[None]:
        """From before the first request until after the last. Raises XRouterError."""
        self._data.start()
        try:
            await self._join()
            memory.settle()
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._leave()

    def _seeder(self) -> Seeder:
        """Quotas and budgets go on where they were; without the database they begin anew."""
        return Seeder(
            self._control.db,
            self._control.drain_all,
            self._data.limits,
            lambda: self._data.snapshots.current,
            lost=self._data.limits_are_lost,
            asked=self._data.spent.asked,
            publish=self._data.spent.write,
        )

    async def _join(self) -> None:
        """Bring the database up; without it, go on if the last snapshot is there."""
        publisher = self._control.publish_to(
            self._data.deliver, lambda stale: self._data.snapshots.mark_stale(stale=stale)
        )
        try:
            await self._prepare()
        except DatabaseTaken:
            raise
        except DatabaseError as error:
            if self._data.snapshots.current.revision < 0:
                hint = "There is no snapshot to go on with, either: look at XROUTER_DATABASE_URL."
                raise OperatorError(error.message, hint=hint) from error
            log.error("database_away", error=error.message, hint=error.hint)
            self._spawn(self._prepare_later())
        await publisher.turn()
        seeder = self._seeder()
        await seeder.turn()
        self._spawn(seeder.run())
        self._spawn(publisher.run())
        self._spawn(self._control.listener.run())
        self._spawn(self._control.drain.run())
        for job in self._control.jobs(lambda: self._data.snapshots.current.revision):
            self._spawn(job)
        self._spawn(self._data.vouch())

    async def _prepare(self) -> None:
        """What the database must hold: the tables, and the providers of the environment."""
        await schema.ensure(self._settings.database)
        await self._control.prove_master_key()
        async with self._control.alone("providers"):
            try:
                await self._provide()
            except DatabaseError:
                raise
            except XRouterError as error:
                log.error("providers_not_prepared", error=error.message, hint=error.hint)

    async def _prepare_later(self) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            try:
                await self._prepare()
            except XRouterError:
                continue
            return

    async def _provide(self) -> None:
        """Register what the environment configures; with nothing at all, the sandbox."""
        given = registration.configured(self._environ)
        incomplete = registration.incomplete(self._environ)
        for name, missing in incomplete.items():
            log.error("provider_incomplete", provider=name, missing=missing)
        listed = await registration.request(self._control, "GET", "/providers")
        known = {each["name"]: each for each in listed["data"]}
        before = playground.remembered(self._settings.data_dir)
        ours = {
            name: each
            for name, each in known.items()
            if name in before and before[name] == registration.primary_url(each)
        }
        off = playground.switched_off(self._settings.data_dir)
        moved = {
            name: registration.moving(each, switch_on=name in off) for name, each in ours.items()
        }
        curious: list[str] = []
        alone = not given and not incomplete and known.keys() <= ours.keys()
        if self._settings.sandbox == "on" or (self._settings.sandbox == "auto" and alone):
            curious += await self._simulate(known.keys() - ours.keys() | given.keys(), moved)
        else:
            await self._end_simulation(ours, given.keys(), off)
        curious += await registration.register(self._control, given, moved)
        await discovery.begin(self._control, curious, self._spawn)

    async def _simulate(
        self, real: AbstractSet[str], moved: Mapping[str, Mapping[str, Any]]
    ) -> list[str]:
        """Point providers at the sandbox, but not those that somebody has configured."""
        if self._playground is None:
            self._playground = await playground.Playground.start()
        simulated = registration.configured(self._playground.environment)
        simulated = {name: fields for name, fields in simulated.items() if name not in real}
        addresses = {name: fields.base_url or "" for name, fields in simulated.items()}
        playground.remember(self._settings.data_dir, addresses)
        return await registration.register(self._control, simulated, moved)

    async def _end_simulation(
        self, ours: Mapping[str, Any], given: AbstractSet[str], off: AbstractSet[str]
    ) -> None:
        """Remove what nobody has configured, or switch it off; a later start tries it again.

        Those that are given stay noted, too, until they have another address.
        """
        gone = set()
        for name in sorted(ours.keys() - given):
            try:
                if await registration.retire(self._control, ours[name]):
                    gone.add(name)
            except DatabaseError:
                raise
            except XRouterError as error:
                log.error("sandbox_provider_not_removed", provider=name, error=error.message)
        kept = {name: registration.primary_url(ours[name]) or "" for name in ours.keys() - gone}
        off = kept.keys() - given | off & given
        playground.remember(self._settings.data_dir, kept, off)

    async def _leave(self) -> None:
        try:
            await self._control.drain_all()
        except (XRouterError, OSError) as error:
            log.error("usage_stays_in_journal", error=str(error), folder=JOURNAL)
        await self._data.stop()
        await self._control.close()
        if self._playground is not None:
            await self._playground.stop()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))


class AllInOne(Planes):
    """One process with everything. `run` serves until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        writer: LineWriter,
        say: Callable[[str], None],
    ) -> None:
        """See `Planes`. Raises AlreadyRunning, too."""
        self._lock = ServerLock(settings.data_dir)
        super().__init__(settings, environ, writer, say)
        door = Door(
            self._data.flow,
            self._data.snapshots,
            self._data.keys,
            self._data.meters.render,
            Health(self._data.snapshots),
            responses=self._data.responses,
            limits=door_limits(settings),
            fallback=self._control.serve,
            other_openapi=self._control.app.openapi,
            status=self._data.status,
        )
        self._data.measure_door(door)
        options = RunOptions(host=settings.host, port=settings.port, grace=settings.grace)
        self._server = DoorServer(door, options, entrance)
        self._server.farewells.append(self._control.events.close)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises XRouterError when it cannot start."""
        try:
            async with self.life():
                self._spawn(self._greet())
                await self._server.serve()
        finally:
            self._lock.release()

    async def _greet(self) -> None:
        """Once the port is open."""
        await self._server.listening.wait()
        url = url_of(*self._server.address)
        self._lock.announce(url)
        await self.greet(url)
