from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from xrouter.app.sockets import listen
from xrouter.app.workers.spread import ABSENT, Spread, SpreadAcceptor
from xrouter.domain.errors import OperatorError


class Worker:
    """Has connections."""

    def __init__(self, spread: Spread, number: int, sockets: Any) -> None:
        self.connections: set[asyncio.BaseTransport] = set()
        self.acceptor = SpreadAcceptor(
            [each.dup() for each in sockets],
            lambda: _One(self),
            spread,
            number,
            lambda: len(self.connections),
        )
        self.acceptor.start(100)


class _One(asyncio.Protocol):
    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._worker.connections.add(transport)
        self._transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        assert isinstance(self._transport, asyncio.Transport)
        self._transport.write(data)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._worker.connections.discard(self._transport)


class Place:
    """A port, and workers that come one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.sockets = listen("127.0.0.1", 0)
        self.spread = Spread(folder, 3)
        for number in (1, 2, 3):
            self.spread.note(number, ABSENT)
        self.workers: list[Worker] = []
        self.writers: list[asyncio.StreamWriter] = []

    def start(self, count: int = 1) -> None:
        for _ in range(count):
            number = len(self.workers) + 1
            self.workers.append(Worker(Spread(self._folder, 3), number, self.sockets))

    async def connect(self, count: int) -> list[int]:
        """At the same time; how many each of the workers has then."""
        await asyncio.gather(*(self._one() for _ in range(count)))
        return [len(each.connections) for each in self.workers]

    async def _one(self) -> None:
        port = self.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        self.writers.append(writer)
        writer.write(b"x")
        assert await reader.read(1) == b"x"

    async def close(self) -> None:
        for writer in self.writers:
            writer.close()
        for each in self.workers:
            each.acceptor.close()
            for transport in list(each.connections):
                transport.close()
        await asyncio.sleep(0)
        for listener in self.sockets:
            listener.close()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path)
    yield place
    await place.close()


async def test_those_who_have_fewer_get_the_next(place: Place) -> None:
    place.start()
    assert await place.connect(20) == [20]
    place.start(2)
    first, second, third = await place.connect(40)
    assert first + second + third == 60
    assert first < 28, "a third of them would be 33"


async def test_who_is_behind_is_waited_for_but_not_for_ever(place: Place) -> None:
    """One is said to have none, and never accepts."""
    place.start()
    place.spread.note(2, 0)
    assert await place.connect(10) == [10]


async def test_what_waits_is_left_to_the_others(place: Place) -> None:
    place.start(2)
    place.workers[0].acceptor.close()
    assert await place.connect(9) == [0, 9]


def test_all_addresses_of_a_name_are_listened_on() -> None:
    for host in ("localhost", "0.0.0.0", "127.0.0.1"):
        (listener,) = listen(host, 0)
        with pytest.raises(OperatorError, match="Cannot listen on"):
            listen("127.0.0.1", listener.getsockname()[1])
        listener.close()
    with pytest.raises(OperatorError):
        listen("no.such.name.invalid", 0)
