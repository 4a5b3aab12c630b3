"""Makes connections: DNS, TCP to whichever address is first, TLS, tunnels through proxies."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from itertools import zip_longest

from msgspec import Struct

from xrouter.domain.errors import XRouterError
from xrouter.wire import errors
from xrouter.wire.address import Address, address
from xrouter.wire.connection import FIRST_FINAL, Connection, Limits, StaleConnection
from xrouter.wire.tls import TlsContexts
from xrouter.wire.types import Route

HEAD_START_S = 0.25
"""How long one address is tried before the next one may overtake it."""

_REDIRECT = 300
_NOTHING_LEFT = "no address is left"

_Place = tuple[int, tuple[str, int] | tuple[str, int, int, int]]
"""Address family, and what `connect` wants of it."""


class Dialler(Struct, frozen=True):
    """Makes connections. accepts: which IP addresses a route that is `public_only` may lead to."""

    contexts: TlsContexts
    limits: Limits
    accepts: Callable[[str], bool]
    on_lost: Callable[[Connection], None]

    async def dial(self, to: Address, route: Route) -> Connection:
        """A fresh connection. Raises UpstreamUnreachable, UpstreamTimeout."""
        tls = await self.contexts.get(route) if to.secure else None
        try:
            async with asyncio.timeout(route.connect):
                if route.proxy is None:
                    return await self._direct(to, route, tls)
                return await self._through(address(route.proxy, "proxy"), to, route, tls)
        except TimeoutError:
            raise errors.too_slow(to.origin) from None

    async def _direct(self, to: Address, route: Route, tls: ssl.SSLContext | None) -> Connection:
        try:
            return await self._made(await self._reach(to, route, to.origin), to, tls)
        except OSError as error:
            raise errors.not_connected(error, to.origin) from None

    async def _through(
        self, proxy: Address, to: Address, route: Route, tls: ssl.SSLContext | None
    ) -> Connection:
        """By a proxy: plain requests are told to it whole, TLS goes through a tunnel."""
        own = await self.contexts.get(Route(ca_bundle=route.ca_bundle)) if proxy.secure else None
        try:
            sock = await self._reach(proxy, route, to.origin)
            first = await self._made(sock, proxy, own)
        except OSError as error:
            raise errors.proxy_down(error, to.origin) from None
        if tls is None:
            return first
        try:
            await self._open_tunnel(first, proxy, to)
            return await self._inside(first, to, tls)
        except BaseException:
            first.abort()
            raise

    async def _open_tunnel(self, first: Connection, proxy: Address, to: Address) -> None:
        host = f"[{to.host}]" if ":" in to.host else to.host
        place = f"{host}:{to.port}"
        user = f"proxy-authorization: Basic {proxy.user}\r\n" if proxy.user else ""
        head = f"CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n{user}\r\n"
        try:
            await first.ask(head.encode())
        except (XRouterError, StaleConnection):
            raise errors.proxy_down(None, to.origin) from None
        if not FIRST_FINAL <= first.status < _REDIRECT:
            raise errors.proxy_refused(first.status, to.origin)

    async def _inside(self, first: Connection, to: Address, tls: ssl.SSLContext) -> Connection:
        """TLS with the provider, within the tunnel."""
        made = self._connection(to)
        try:
            transport = await asyncio.get_running_loop().start_tls(
                first.transport, made, tls, server_hostname=to.host
            )
        except OSError as error:
            raise errors.not_connected(error, to.origin) from None
        if transport is None:
            raise errors.not_connected(None, to.origin)
        made.hand_over(transport)
        return made

    def _connection(self, to: Address) -> Connection:
        return Connection(to.origin, self.limits, self.on_lost)

    async def _made(
        self, sock: socket.socket, to: Address, tls: ssl.SSLContext | None
    ) -> Connection:
        """A protocol on a connected socket. Raises OSError."""
        try:
            _, made = await asyncio.get_running_loop().create_connection(
                lambda: self._connection(to),
                sock=sock,
                ssl=tls,
                server_hostname=to.host if tls else None,
            )
        except BaseException:
            sock.close()
            raise
        return made

    async def _reach(self, to: Address, route: Route, where: str) -> socket.socket:
        """A connected socket. Raises OSError, UpstreamUnreachable."""
        accepts = self.accepts if route.public_only else None
        if accepts is not None and to.is_ip and not accepts(to.host):
            raise errors.not_public()
        places = await _resolved(to, accepts)
        if not places:
            raise errors.unknown_host(where)
        return await _race(places)


async def _resolved(to: Address, accepts: Callable[[str], bool] | None) -> list[_Place]:
    """Addresses, those of both families in turn; [] for an unknown host."""
    loop = asyncio.get_running_loop()
    flags = socket.AI_NUMERICHOST if to.is_ip else 0
    try:
        found = await loop.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM, flags=flags)
    except OSError:
        return []
    places: list[_Place] = [
        (family, place)  # type: ignore[misc]
        for family, _, _, _, place in found
        if accepts is None or accepts(str(place[0]))
    ]
    first = [place for place in places if place[0] == places[0][0]]
    second = [place for place in places if place[0] != places[0][0]]
    mixed = (each for pair in zip_longest(first, second) for each in pair)
    return [each for each in mixed if each is not None]


async def _race(places: list[_Place]) -> socket.socket:
    """Connect to the first that lets us; the next begins when one fails or takes its time.

    Raises the last OSError when all have failed.
    """
    if len(places) == 1:
        return await _connected(places[0])
    left, running = list(places), set[asyncio.Task[socket.socket]]()
    failure = OSError(_NOTHING_LEFT)
    try:
        while left or running:
            if left:
                running.add(asyncio.create_task(_connected(left.pop(0))))
            wait_s = HEAD_START_S if left else None
            done, running = await asyncio.wait(
                running, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is None:
                    running |= done - {task}
                    return task.result()
                failure = error if isinstance(error, OSError) else failure
        raise failure
    finally:
        await _let_go(running)


async def _let_go(losers: set[asyncio.Task[socket.socket]]) -> None:
    for task in losers:
        task.cancel()
    for made in await asyncio.gather(*losers, return_exceptions=True):
        if isinstance(made, socket.socket):
            made.close()


async def _connected(place: _Place) -> socket.socket:
    family, where = place
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock
