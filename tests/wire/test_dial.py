"""Ways to an address: several of them, and addresses as operators write them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from tests.wire.rawserver import RawServer
from tests.wire.talk import fetch, polite

from xrouter.domain.errors import UpstreamUnreachable
from xrouter.wire import dial
from xrouter.wire.address import Address, address
from xrouter.wire.client import Client


@pytest.mark.parametrize(
    "text, authority, target, origin",
    [
        ("http://host", "host", "/", "http://host:80"),
        ("https://host/v1?a=b#c", "host", "/v1?a=b", "https://host:443"),
        ("https://host:443/v1", "host", "/v1", "https://host:443"),
        ("https://host:8443/", "host:8443", "/", "https://host:8443"),
        ("http://[::1]:8080/x", "[::1]:8080", "/x", "http://[::1]:8080"),
        ("https://модели.рф/путь", "xn--d1acjlcm.xn--p1ai", "/%D0%BF%D1%83%D1%82%D1%8C",
         "https://xn--d1acjlcm.xn--p1ai:443"),
        ("http://host/a%2Fb c", "host", "/a%2Fb%20c", "http://host:80"),
    ],
)  # fmt: skip
def test_addresses(text: str, authority: str, target: str, origin: str) -> None:
    made = address(text)
    assert (made.authority, made.target, made.origin) == (authority, target, origin)


@pytest.mark.parametrize(
    "text", ["http://a b/", "http://h\r\nx", "socks5://h:1", "//h", "http://:80"]
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(UpstreamUnreachable):
        address(text)


@pytest.fixture
async def polite_server() -> AsyncIterator[RawServer]:
    async with RawServer(polite).listening() as started:
        yield started


async def test_an_address_that_refuses_is_passed_over(
    client: Client, polite_server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _resolving(monkeypatch, "::1", "127.0.0.2", "127.0.0.1")
    url = f"http://provider.example:{polite_server.port}"
    assert (await fetch(client, url)).body == b"1"


async def test_an_address_that_is_silent_is_overtaken(
    client: Client, polite_server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = asyncio.Event()
    connected = dial._connected

    async def slow(place: dial._Place) -> socket.socket:
        if place[1][0] == "127.0.0.3":
            await stuck.wait()
        return await connected(place)

    monkeypatch.setattr(dial, "_connected", slow)
    monkeypatch.setattr(dial, "HEAD_START_S", 0.01)
    _resolving(monkeypatch, "127.0.0.3", "127.0.0.1")
    url = f"http://provider.example:{polite_server.port}"
    assert (await fetch(client, url)).body == b"1"


async def test_when_all_refuse_it_says_why(
    client: Client, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _resolving(monkeypatch, "127.0.0.1", "127.0.0.2")
    with pytest.raises(UpstreamUnreachable, match="refused"):
        await fetch(client, f"http://provider.example:{unused_tcp_port}")


def _resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """DNS answers with these."""

    async def resolved(to: Address, _accepts: object) -> list[dial._Place]:
        kinds = [socket.AF_INET6 if ":" in each else socket.AF_INET for each in addresses]
        return [(kind, (each, to.port)) for kind, each in zip(kinds, addresses, strict=True)]

    monkeypatch.setattr(dial, "_resolved", resolved)


def test_families_take_turns() -> None:
    async def resolve() -> list[str]:
        loop = asyncio.get_running_loop()
        found = [(6, "::1"), (6, "::2"), (4, "127.0.0.1"), (4, "127.0.0.2")]
        infos = [
            (socket.AF_INET6 if n == 6 else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 80))
            for n, each in found
        ]

        async def getaddrinfo(*_args: object, **_kw: object) -> list[object]:
            return list(infos)

        loop.getaddrinfo = getaddrinfo  # type: ignore[assignment,method-assign]
        return [str(place[0]) for _, place in await dial._resolved(address("http://h"), None)]

    assert asyncio.run(resolve()) == ["::1", "127.0.0.1", "::2", "127.0.0.2"]
