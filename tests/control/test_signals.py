from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url
from tests.control.fakes import ACME, adapters
from tests.services.postgres import Postgres

from xrouter.control.db.engine import Database
from xrouter.control.db.migrate import downgrade, upgrade
from xrouter.control.publish.publisher import Publisher
from xrouter.control.signals import Listener
from xrouter.domain.snapshot import Snapshot
from xrouter.stores.vault import Vault
from xrouter.telemetry.logs import log

SOON_S = 20.0
OURS = "application_name = 'xrouter-signals' AND datname = current_database()"


class Ear:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.times = 0
        self._news = asyncio.Event()

    def told(self) -> None:
        self.times += 1
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def again(self, times: int) -> None:
        await self.until(lambda: self.times > times)


class Stranger:
    """Another process at the same database."""

    def __init__(self, postgres: Postgres, url: str) -> None:
        self._postgres = postgres
        self._database = url.rpartition("/")[2]
        self._number = 0

    async def sql(self, statement: str) -> str:
        return await asyncio.to_thread(self._postgres.sql, statement, self._database)

    def insertion(self) -> str:
        self._number += 1
        return (
            "INSERT INTO providers (name, display_name, adapter_class)"
            f" VALUES ('p{self._number}', 'P', '{ACME}')"
        )

    async def change(self) -> None:
        await self.sql(self.insertion())


@asynccontextmanager
async def running(listener: Listener) -> AsyncIterator[None]:
    task = asyncio.create_task(listener.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert not listener.live


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
async def pg(postgres_url: str) -> AsyncIterator[Database]:
    database = Database(postgres_url)
    yield database
    await database.close()


@pytest.fixture
def stranger(postgres: Postgres, postgres_url: str) -> Stranger:
    return Stranger(postgres, postgres_url)


async def test_a_change_of_another_process_is_heard(
    pg: Database, stranger: Stranger, ear: Ear
) -> None:
    listener = Listener(pg, ear.told)
    assert not listener.live
    async with running(listener):
        await ear.until(lambda: listener.live)
        for _ in range(3):
            before = ear.times
            await stranger.change()
            await ear.again(before)


async def test_only_what_is_committed_is_heard_and_once(
    pg: Database, stranger: Stranger, ear: Ear
) -> None:
    listener = Listener(pg, ear.told)
    async with running(listener):
        await ear.until(lambda: listener.live)
        before = ear.times
        await stranger.sql(f"BEGIN; {stranger.insertion()}; ROLLBACK")
        await stranger.sql(f"BEGIN; {stranger.insertion()}; {stranger.insertion()}; COMMIT")
        await ear.again(before)
        await stranger.change()
        await ear.again(before + 1)
    assert ear.times == before + 2


async def test_a_connection_that_is_cut_is_made_again(
    pg: Database, stranger: Stranger, ear: Ear
) -> None:
    listener = Listener(pg, ear.told, first_pause_s=0)
    with log.captured() as logs:
        async with running(listener):
            await ear.until(lambda: listener.live)
            for _ in range(2):
                before = ear.times
                cut = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {OURS}"
                assert await stranger.sql(cut) == "1"
                await ear.again(before + 1)  # lost, and found: what was missed is looked for
                assert listener.live
                before = ear.times
                await stranger.change()
                await ear.again(before)
    assert [entry["event"] for entry in logs] == ["signals_not_heard", "signals_heard_again"] * 2


async def test_a_database_that_was_away_is_found_again(
    postgres: Postgres, pg: Database, stranger: Stranger, ear: Ear
) -> None:
    listener = Listener(pg, ear.told, first_pause_s=0.01)
    async with running(listener):
        await ear.until(lambda: listener.live)
        before = ear.times
        await asyncio.to_thread(postgres.stop)
        try:
            async with asyncio.timeout(SOON_S):
                while listener.live:
                    await asyncio.sleep(0.01)
        finally:
            postgres.start()  # ends with the thread that starts it
        await ear.again(before + 1)
        before = ear.times
        await stranger.change()
        await ear.again(before)


class Silence:
    """A network on the way to the server that can swallow all there is, without a word."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self.silent = False
        self.connections = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        there = await asyncio.open_connection(self._url.host, self._url.port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                if not (self.silent and number == 1):
                    sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer), return_exceptions=True)


async def test_a_network_that_falls_silent_is_noticed(
    postgres_url: str, stranger: Stranger, ear: Ear
) -> None:
    network = Silence(postgres_url)
    server = await asyncio.start_server(network.carry, "127.0.0.1")
    address = server.sockets[0].getsockname()
    url = make_url(postgres_url).set(host=address[0], port=address[1])
    db = Database(url.render_as_string(hide_password=False))
    listener = Listener(db, ear.told, first_pause_s=0, check_s=0.1)
    async with running(listener):
        await ear.until(lambda: listener.live)
        network.silent = True
        before = ear.times
        await ear.again(before + 1)
        assert network.connections > 1
        await ear.until(lambda: listener.live)
        before = ear.times
        await stranger.change()
        await ear.again(before)
    server.close()
    await db.close()


async def test_a_defect_of_who_is_told_does_not_end_it(
    pg: Database, stranger: Stranger, ear: Ear
) -> None:
    def told() -> None:
        ear.told()
        raise ZeroDivisionError

    listener = Listener(pg, told)
    with log.captured() as logs:
        async with running(listener):
            await ear.until(lambda: listener.live)
            before = ear.times
            await stranger.change()
            await ear.again(before)
    assert {entry["event"] for entry in logs} == {"signal_defect"}


async def test_a_publisher_that_looks_rarely_is_woken(
    pg: Database, vault: Vault, stranger: Stranger, ear: Ear, tmp_path: Path
) -> None:
    delivered: list[Snapshot] = []

    async def deliver(snapshot: Snapshot) -> None:
        delivered.append(snapshot)
        ear.told()

    publisher = Publisher(pg, vault, adapters(), deliver, tmp_path, every_s=lambda: 1e6)
    listener = Listener(pg, publisher.poke)
    publishing = asyncio.create_task(publisher.run())
    async with running(listener):
        await ear.until(lambda: bool(delivered) and listener.live)
        await stranger.change()
        await ear.until(lambda: "p1" in delivered[-1].endpoints)
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)


async def test_with_sqlite_there_is_nothing_to_listen_to(sqlite_url: str, ear: Ear) -> None:
    db = Database(sqlite_url)
    listener = Listener(db, ear.told)
    async with asyncio.timeout(SOON_S):
        await listener.run()
    assert not listener.live
    assert ear.times == 0
    await db.close()


async def test_the_migration_makes_and_takes_back_the_notification(
    postgres: Postgres, empty_postgres_url: str
) -> None:
    stranger = Stranger(postgres, empty_postgres_url)

    async def notifies() -> bool:
        source = "SELECT prosrc FROM pg_proc WHERE proname = 'xrouter_catalog_changed'"
        return "NOTIFY" in await stranger.sql(source)

    async def revision() -> int:
        return int(await stranger.sql("SELECT revision FROM catalog_state"))

    await upgrade(empty_postgres_url, "0003")
    assert not await notifies()
    await upgrade(empty_postgres_url)
    assert await notifies()
    await stranger.change()
    assert await revision() == 1
    await downgrade(empty_postgres_url, "0003")
    assert not await notifies()
    await stranger.change()
    assert await revision() == 2
