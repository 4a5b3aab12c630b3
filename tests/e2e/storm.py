"""Many requests at once against a budget, over a way to Redis that can be slow."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
from msgspec import Struct
from tests.e2e.fleet import Fleet
from tests.e2e.harness import SandboxProcess, Server, until
from tests.services.postgres import Postgres
from tests.services.redis import Redis

MODEL = "openai/gpt-4o-mini"
RUBLE = 10**9
_PRICE = {
    "model": MODEL,
    "input": "0",
    "output": "0",
    "request": "1",
    "source": "one ruble for a request, whatever it says",
}


class Way:
    """A way to Redis, on which everything takes `delay_s` longer, and nothing passes while
    `is_cut`.
    """

    def __init__(self, redis: Redis) -> None:
        self.delay_s = 0.0
        self.is_cut = False
        self._redis = redis
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        starting = asyncio.start_server(self._meet, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        service = self._redis.service
        try:
            if self.is_cut:
                raise ConnectionRefusedError
            back, forth = await asyncio.open_connection(service.host, service.port)
        except OSError:
            writer.close()
            return
        for source, sink in ((reader, forth), (back, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                while (data := await source.read(65536)) and not self.is_cut:
                    await asyncio.sleep(self.delay_s / 2)
                    sink.write(data)
                    await sink.drain()
        finally:
            sink.close()

    async def _stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def way_to(redis: Redis) -> Iterator[Way]:
    way = Way(redis)
    try:
        yield way
    finally:
        way.close()


@contextmanager
def counting(
    number: int, folder: Path, sandbox: SandboxProcess, postgres: Postgres, way: Way
) -> Iterator[Fleet]:
    """So many servers that count together, and know each other; a request costs a ruble."""
    name = f"xrouter_counting_{number}"
    postgres.sql(f"CREATE DATABASE {name}")
    fleet = Fleet(folder, sandbox, postgres, name)
    try:
        fleet.start(*(fleet.add(XROUTER_REDIS_URL=way.url) for _ in range(number)))
        since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        fleet.servers[0].control("POST", "/prices", _PRICE | {"effective_from": since})
        fleet.wait_agreed()
        yield fleet
    finally:
        fleet.close()
        postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


class Seen(Struct):
    """What became of requests: by status, 0 where there was no answer. rubles: charged so far."""

    statuses: Counter[int]
    rubles: float

    @property
    def answered(self) -> int:
        return self.statuses[200]

    @property
    def failed(self) -> int:
        return sum(self.statuses.values()) - self.answered - self.statuses[429]


class Budget:
    """A key of its own, with so many rubles, at all servers of a fleet."""

    def __init__(self, fleet: Fleet, rubles: int) -> None:
        self.fleet = fleet
        self.rubles = rubles
        first = fleet.servers[0]
        made = first.control("POST", "/keys", {"name": "storm"})
        self.key, self.key_id = made["key"], made["key_id"]
        limit = {"subject": f"key:{self.key_id}", "meter": "money", "window": "month"}
        limit |= {"amount": str(rubles)}
        self.limit_id = first.control("POST", "/limits", limit)["id"]
        self.answered = 0
        fleet.wait_agreed()

    def storm(self, requests: int, seconds: float = 0.0) -> Seen:
        """So many at once, or within so many seconds; each server gets as many."""
        statuses = asyncio.run(sent(self.fleet.servers, requests, self.key, seconds))
        self.answered += statuses[200]
        return Seen(statuses, self.charged())

    def charged(self) -> float:
        """Rubles, once all that was answered is in the database."""
        query = f"SELECT coalesce(sum(total), 0) FROM charges WHERE key_id = '{self.key_id}'"
        until(lambda: int(self.fleet.sql(query)) == self.answered * RUBLE, "the journals are read")
        return int(self.fleet.sql(query)) / RUBLE

    def used(self, server: Server) -> float:
        """As the limit's state says."""
        state = server.control("GET", f"/limits/{self.limit_id}/state")
        return float(state["used"])


async def sent(servers: Sequence[Server], requests: int, key: str, seconds: float) -> Counter[int]:
    """The statuses of the answers."""
    found: Counter[int] = Counter()
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
    headers = {"authorization": f"Bearer {key}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def ask(number: int) -> None:
            await asyncio.sleep(seconds * number / requests)
            url = servers[number % len(servers)].url + "/v1/chat/completions"
            try:
                async with session.post(url, json=body) as reply:
                    await reply.read()
                    found[reply.status] += 1
            except (aiohttp.ClientError, OSError):
                found[0] += 1

        await asyncio.gather(*(ask(number) for number in range(requests)))
    return found
