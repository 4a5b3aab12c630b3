from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from tests.edge.harness import open_house
from typing_extensions import override

from xrouter.app.accept import CROWD, Acceptor
from xrouter.app.sockets import bound, listen
from xrouter.domain.errors import OperatorError

CLIENTS = CROWD + 30
TURNS = 20


class Door:
    def __init__(self) -> None:
        self.inside: list[asyncio.BaseTransport] = []

    def count(self) -> int:
        return len(self.inside)


class One(asyncio.Protocol):
    def __init__(self, door: Door) -> None:
        self._door = door

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._door.inside.append(transport)


@pytest.fixture
def clients() -> Iterator[list[socket.socket]]:
    made: list[socket.socket] = []
    yield made
    for each in made:
        each.close()


async def test_a_crowd_is_let_in_within_a_few_turns_of_the_loop(
    clients: list[socket.socket],
) -> None:
    door, listeners = Door(), listen("127.0.0.1", 0)
    acceptor = Acceptor(listeners, lambda: One(door))
    clients += [socket.create_connection(acceptor.address) for _ in range(CLIENTS)]
    acceptor.start(2048)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    assert door.count() == CLIENTS
    acceptor.close()
    for transport in door.inside:
        transport.close()


async def test_nobody_is_let_in_after_the_end(clients: list[socket.socket]) -> None:
    door, listeners = Door(), listen("127.0.0.1", 0)
    acceptor = Acceptor(listeners, lambda: One(door))
    acceptor.start(2048)
    address, was_open = acceptor.address, acceptor.is_open
    acceptor.close()
    acceptor.close()
    assert (was_open, acceptor.is_open) == (True, False)
    with pytest.raises(ConnectionRefusedError):
        clients.append(socket.create_connection(address))
    assert door.count() == 0


async def test_who_pauses_lets_in_later(
    clients: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    door, listeners = Door(), listen("127.0.0.1", 0)
    acceptor = Acceptor(listeners, lambda: One(door))
    acceptor.start(2048)
    later: list[Callable[[], object]] = []

    def call_later(seconds: float, what: Callable[..., object], *arguments: object) -> None:
        assert seconds == 0.02
        later.append(partial(what, *arguments))

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "call_later", call_later)
        acceptor.pause(listeners[0], 0.02)
    clients.append(socket.create_connection(acceptor.address))
    for _ in range(TURNS):
        await asyncio.sleep(0)
    assert door.count() == 0
    later.pop()()
    async with asyncio.timeout(60):
        while door.count() == 0:
            await asyncio.sleep(0.005)
    acceptor.close()
    door.inside[0].close()


def test_an_address_that_is_taken_is_told() -> None:
    with listen("127.0.0.1", 0)[0] as taken, pytest.raises(OperatorError, match="Cannot listen on"):
        bound("127.0.0.1", taken.getsockname()[1])


async def test_a_server_lets_in_until_it_leaves() -> None:
    async with open_house() as house:
        assert house.server.accepts
        host, port = house.server.address
        assert (host, port > 0) == ("127.0.0.1", True)
    assert not house.server.accepts
