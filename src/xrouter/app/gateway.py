"""The data plane of one process, joined from its parts. It needs no database.

Fed either by the control plane in the same process (`deliver`), or by the snapshot file that the
control plane of another process writes (`follow_file`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from msgspec import Struct

from xrouter.app import memory
from xrouter.app.accept import entrance
from xrouter.domain.ports import Meters as LimitMeters
from xrouter.domain.ports import Spent
from xrouter.domain.secret import Secret
from xrouter.domain.snapshot import Snapshot
from xrouter.edge.health import Health
from xrouter.edge.limits import DoorLimits
from xrouter.edge.run import DoorServer, RunOptions
from xrouter.edge.server import Door
from xrouter.flow.board import Board
from xrouter.flow.cache import AnswerCache
from xrouter.flow.chores import Janitor
from xrouter.flow.dispatch import Dispatcher
from xrouter.flow.explain import FlowExplainer
from xrouter.flow.lanes import JointLanes
from xrouter.flow.limits.keeper import Keeper
from xrouter.flow.pipeline import Gear, Pipeline
from xrouter.flow.recover import recovered
from xrouter.flow.route import Router
from xrouter.flow.savings import Savings
from xrouter.flow.settle import Settler
from xrouter.flow.upstreams import Upstreams
from xrouter.flow.watch import Watch
from xrouter.providers import factory
from xrouter.stores.journal.writer import JournalWriter
from xrouter.stores.memory.answers import MemoryAnswers
from xrouter.stores.memory.keys import MemoryKeyBook
from xrouter.stores.memory.meters import MemoryMeters
from xrouter.stores.memory.share import ShareMeters
from xrouter.stores.memory.snapshots import MemorySnapshots
from xrouter.stores.redis.mates import Mates
from xrouter.stores.redis.meters import RedisMeters
from xrouter.stores.redis.state import SharedState
from xrouter.stores.responses import ResponseFile
from xrouter.stores.snapshot_file import SnapshotFile
from xrouter.stores.spent_file import SpentFile
from xrouter.stores.underway import Underway, graves
from xrouter.stores.vault import Vault
from xrouter.telemetry.access import AccessLog
from xrouter.telemetry.logs import LineWriter, log
from xrouter.telemetry.metrics import Meters
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook

SYNC_EVERY_S = 0.1
FILE_LOOK_EVERY_S = 0.5
VOUCH_EVERY_S = 1.0
VOUCHED_FOR_S = 5.0
RESPONSES = "responses.sqlite"
SNAPSHOT = "snapshot.sealed"


class GatewayConfig(Struct, frozen=True):
    """data_dir: holds the journal and the snapshot file. Sizes in bytes.

    public_status: whether everybody may see how the models are.
    redis_url: where processes share state, None for one that shares nothing.
    workers: how many of them answer in turn behind one door. answers: whether this one does.
    require_price: whether targets of unknown price are left out.
    """

    data_dir: Path
    access_log: bool = True
    journal_max_bytes: int = 2 << 30
    public_status: bool = True
    redis_url: Secret | None = None
    workers: int = 1
    answers: bool = True
    require_price: bool = False


class DataPlane:
    """Everything between the door and the providers."""

    def __init__(self, config: GatewayConfig, vault: Vault, writer: LineWriter) -> None:
        self.snapshots = MemorySnapshots()
        self.keys = MemoryKeyBook(vault.mac)
        self.meters = Meters()
        self.journal = JournalWriter(
            config.data_dir / "journal", max_bytes=config.journal_max_bytes
        )
        self._underway = Underway(config.data_dir / "underway")
        self.client = Client()
        self.tokens = TokenBook()
        self.board = Board()
        url = config.redis_url
        self.shared = None if url is None else SharedState(url, vault)
        self.limits = self._limits(config)
        lanes = None if self.shared is None else JointLanes(self.shared.lanes)
        upstreams = Upstreams(factory.build, self.client, self.tokens, lanes)
        self._janitor = Janitor(upstreams)
        router = Router(self.board, require_price=config.require_price)
        self.status = Watch(self.snapshots, self.board) if config.public_status else None
        self.explainer = FlowExplainer(self.snapshots, router, self.board)
        access = AccessLog(writer, enabled=config.access_log)
        savings = Savings(self.snapshots, self.meters)
        limits = Keeper(self.limits, self.meters, self.board.yardstick)
        self.flow = Pipeline(
            Gear(
                self.snapshots,
                self.keys,
                limits,
                router,
                Dispatcher(upstreams, self.meters, self.board),
                Settler(self.journal, self.meters, access, savings, self.snapshots, limits=limits),
                AnswerCache(
                    MemoryAnswers() if self.shared is None else self.shared.answers,
                    self.meters,
                    savings,
                ),
                self._underway,
            )
        )
        self.responses = ResponseFile(config.data_dir / RESPONSES, vault)
        self._file = SnapshotFile(config.data_dir / SNAPSHOT, vault)
        self._graveyard = config.data_dir / "underway"
        self.spent = SpentFile(config.data_dir / "limits.spent")
        self._voucher = config.data_dir / "snapshot.current"
        self._tasks: list[asyncio.Task[None]] = []
        self._measure(writer)

    def _limits(self, config: GatewayConfig) -> LimitMeters:
        if self.shared is not None:
            file = config.data_dir / "limits.processes" if config.answers else None
            mates = Mates(config.workers, file)
            return RedisMeters(self.shared.link, mates=mates, grants=config.answers)
        alone = MemoryMeters()
        return alone if config.workers == 1 else ShareMeters(alone, config.workers)

    def limits_are_lost(self) -> bool:
        """Whether the limits that processes share wait to be told what was used."""
        return isinstance(self.limits, RedisMeters) and self.limits.lost

    async def are_limits_known(self) -> bool:
        """Whether Redis tells what was used. Takes a second at most."""
        if not isinstance(self.limits, RedisMeters):
            return False
        await self.limits.turn()
        return self.limits.knows

    def remember(self, spent: list[Spent]) -> None:
        """Quotas and budgets go on where they were. Redis has been told by others."""
        if isinstance(self.limits, RedisMeters):
            self.limits.remember(spent)
        else:
            self.limits.seed(spent)

    def start(self) -> None:
        """Load the last snapshot from disk and begin to sync the journal."""
        last = self._file.load()
        if last is not None:
            self.snapshots.replace(last)
            self._recover(last)
        self._underway.open()
        self._tasks.append(asyncio.create_task(self._sync_journal()))
        self._tasks.append(asyncio.create_task(self._janitor.run()))
        if self.shared is not None:
            self._tasks += [asyncio.create_task(job) for job in self.shared.jobs()]
        if isinstance(self.limits, RedisMeters):
            self._tasks.append(asyncio.create_task(self.limits.run()))
        if self.status is not None:
            self._tasks.append(asyncio.create_task(self.status.run()))

    def _recover(self, snapshot: Snapshot) -> None:
        """Write down what processes had under way that were killed."""
        for grave in graves(self._graveyard):
            for event in recovered(grave.sent, snapshot):
                self.journal.append(event)
            grave.forget()
            if grave.sent:
                log.warning("killed_requests_recovered", requests=len(grave.sent))

    async def stop(self) -> None:
        """Stop the tasks, close the journal and the connections. No request is running any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.tokens.close()
        await self.client.close()
        if self.shared is not None:
            await self.shared.close()
        if isinstance(self.limits, RedisMeters):
            await self.limits.close()
        self.journal.close()
        self._underway.close()
        await asyncio.to_thread(self.responses.close)
        if self.journal.waiting:
            log.error("usage_lost", events=self.journal.waiting, reason="the disk refused them")

    async def deliver(self, snapshot: Snapshot) -> None:
        """Take a new snapshot into use at once, then keep it on disk."""
        self.snapshots.replace(snapshot)
        try:
            await asyncio.to_thread(self._file.save, snapshot)
        except OSError as error:
            log.error("snapshot_not_saved", error=str(error))

    def follow_file(self, every_s: float = FILE_LOOK_EVERY_S) -> None:
        """Take over what another process's control plane writes."""
        self._tasks.append(asyncio.create_task(self._follow_file(every_s)))

    async def _follow_file(self, every_s: float) -> None:
        changed = self._file.changed()
        with contextlib.suppress(OSError):
            self.spent.ask()
        while True:
            self.snapshots.mark_stale(stale=not self._is_vouched_for())
            if self.spent.has_news():
                self.remember(await asyncio.to_thread(self.spent.read))
            await asyncio.sleep(every_s)
            if changed():
                snapshot = await asyncio.to_thread(self._file.load)
                if snapshot is not None:
                    self.snapshots.replace(snapshot)
                    log.info("snapshot_taken", revision=snapshot.revision)

    async def vouch(self) -> None:
        """As long as the database can be asked, tell who follows the file that it is current."""
        while True:
            snapshot = self.snapshots.current
            if snapshot.revision >= 0 and not snapshot.stale:
                with contextlib.suppress(OSError):
                    self._voucher.touch(mode=0o600)
            await asyncio.sleep(VOUCH_EVERY_S)

    def _is_vouched_for(self) -> bool:
        try:
            return abs(time.time() - self._voucher.stat().st_mtime) < VOUCHED_FOR_S
        except OSError:
            return False

    async def _sync_journal(self) -> None:
        while True:
            await asyncio.sleep(SYNC_EVERY_S)
            self.journal.retry()
            if self.journal.unsynced:
                await self._sync_now()
            if self.responses.has_work():
                await asyncio.to_thread(self.responses.flush)

    async def _sync_now(self) -> None:
        try:
            await asyncio.to_thread(self.journal.sync)
        except OSError as error:
            log.error("journal_not_synced", error=str(error))

    def measure_door(self, door: Door) -> None:
        """Show how busy the door is, and what it turned away."""
        gauge, shed = self.meters.gauge, door.shed
        gauge("xrouter_requests_running", "Requests being answered").set_function(
            lambda: door.running
        )
        gauge("xrouter_loop_lag_seconds", "How late the event loop is").set_function(
            lambda: shed.lag
        )
        gauge("xrouter_body_bytes_held", "Bytes of request bodies").set_function(lambda: shed.held)
        turned = gauge("xrouter_shed_total", "Requests that were turned away", ("reason",))
        for reason in shed.refused:
            turned.labels(reason).set_function(partial(shed.refused.__getitem__, reason))

    def _measure(self, writer: LineWriter) -> None:
        gauge = self.meters.gauge
        gauge("xrouter_catalog_revision", "Revision of the snapshot in use").set_function(
            lambda: self.snapshots.current.revision
        )
        gauge("xrouter_catalog_stale", "1 while the database cannot be asked").set_function(
            lambda: self.snapshots.current.stale
        )
        gauge("xrouter_journal_events_waiting", "Events the disk refused").set_function(
            lambda: self.journal.waiting
        )
        gauge("xrouter_journal_events_lost", "Events that could not be kept").set_function(
            lambda: self.journal.events_lost
        )
        gauge("xrouter_log_lines_lost", "Log lines that did not fit").set_function(
            lambda: writer.lines_lost
        )
        if self.shared is not None:
            link = self.shared.link
            gauge("xrouter_redis_up", "1 while Redis answers").set_function(lambda: link.up)


class Gateway:
    """The data plane alone in a process, behind its own door."""

    def __init__(
        self,
        config: GatewayConfig,
        vault: Vault,
        writer: LineWriter,
        limits: DoorLimits,
        options: RunOptions,
    ) -> None:
        self._data = DataPlane(config, vault, writer)
        door = Door(
            self._data.flow,
            self._data.snapshots,
            self._data.keys,
            self._data.meters.render,
            Health(self._data.snapshots),
            responses=self._data.responses,
            limits=limits,
            status=self._data.status,
        )
        self._data.measure_door(door)
        self._server = DoorServer(door, options, entrance)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises OperatorError when it cannot listen."""
        async with self._life():
            await self._server.serve()

    @asynccontextmanager
    async def _life(self) -> AsyncIterator[None]:
        self._data.start()
        self._data.follow_file()
        memory.settle()
        try:
            yield
        finally:
            await self._data.stop()
