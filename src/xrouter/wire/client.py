"""The only upstream sockets: sends a request, hands back the answer as it arrives.

    exchange = await client.open(request, route)
    try:
        while chunk := await exchange.chunk():
            ...
    finally:
        exchange.close()

Whoever is cancelled in `open`, `chunk` or `read` leaves no connection behind: the provider sees
the close at once. Redirects are not followed, cookies not kept, the environment's proxies ignored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache, partial

from xrouter.domain.errors import NotReady, UpstreamTimeout
from xrouter.wire import errors
from xrouter.wire.address import Address, address
from xrouter.wire.connection import Connection, Limits, StaleConnection
from xrouter.wire.dial import Dialler
from xrouter.wire.exchange import Exchange
from xrouter.wire.pool import Pool, Way
from xrouter.wire.public import is_public
from xrouter.wire.tls import TlsContexts
from xrouter.wire.types import Route, WireReply, WireRequest

__all__ = ["Client", "Exchange", "Route"]

_REDIRECTS = range(300, 400)
_BODILESS = ("GET", "HEAD", "DELETE")
_USUAL = {"accept-encoding": "identity", "user-agent": "xrouter", "accept": "*/*"}


class Client:
    """Speaks HTTP/1.1 to all providers; one for each process. Its connections are pooled.

    max_body: most bytes of an answer that is read whole, or inflated.
    accepts: which IP addresses a route that is `public_only` may lead to.
    """

    def __init__(
        self,
        *,
        max_body: int = 32 << 20,
        limits: Limits = Limits(),  # noqa: B008 - it is frozen
        accepts: Callable[[str], bool] = is_public,
    ) -> None:
        self._max_body = max_body
        self._pool = Pool()
        self._out: set[Connection] = set()
        self._dialler = Dialler(TlsContexts(), limits, accepts, self._out.discard)
        self._finishing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def open(self, request: WireRequest, route: Route) -> Exchange:
        """Send, and return when the answer's headers are in.

        Only connecting has a timeout of its own (`route.connect`): bound the rest by cancelling.
        Raises UpstreamUnreachable, UpstreamTimeout, UpstreamMalformed.
        """
        if self._closed:
            raise NotReady("The router is shutting down.")
        method, body = request.method, request.body
        to, way, start = _known(method, request.url, route, tuple(request.headers.items()))
        if body or method not in _BODILESS:
            head = b"%bcontent-length: %d\r\n\r\n" % (start, len(body))
        else:
            head = start + b"\r\n"
        connection = self._pool.take(way)
        while True:
            if connection is None:
                connection = await self._dialler.dial(to, route)
                self._out.add(connection)
            try:
                await connection.ask(head, body)
                if connection.status in _REDIRECTS:
                    raise errors.sent_elsewhere(connection.status, to.origin)
                released = partial(self._released, way)
                return Exchange(connection, self._max_body, self._finishing, released)
            except StaleConnection:  # only of one that was kept: a new one cannot be
                connection.abort()
                connection = None
            except BaseException:
                connection.abort()
                raise

    async def fetch(self, request: WireRequest, route: Route, *, timeout: float) -> WireReply:  # noqa: ASYNC109 - one deadline over several steps
        """Send and read the whole answer within `timeout` seconds. Raises as `open` and `read`."""
        try:
            async with asyncio.timeout(timeout):
                exchange = await self.open(request, route)
                try:
                    body = await exchange.read()
                finally:
                    exchange.close()
        except TimeoutError:
            late = UpstreamTimeout(f"The provider did not answer within {timeout:g} s.")
            raise errors.addressed(late, address(request.url).origin) from None
        return WireReply(exchange.status, exchange.headers, body)

    async def close(self) -> None:
        """Abort all connections. Later calls raise NotReady."""
        self._closed = True
        for task in self._finishing:
            task.cancel()
        await asyncio.gather(*self._finishing, return_exceptions=True)
        self._pool.close()
        for connection in list(self._out):
            connection.abort()

    def _released(self, way: Way, connection: Connection) -> None:
        if connection.kept() and not self._closed:
            self._pool.put(way, connection)


@lru_cache(maxsize=512)
def _known(
    method: str, url: str, route: Route, headers: tuple[tuple[str, str], ...]
) -> tuple[Address, Way, bytes]:
    """Where a request goes, by which way, and its head but for the length of the body.

    Mostly it is that of the request before. Raises UpstreamDenied for a header that cannot be sent.
    """
    to, proxy = address(url), route.proxy
    target, names = to.target, {name for name, _ in headers}
    by_proxy = proxy is not None and not to.secure
    if by_proxy:
        target = f"http://{to.authority}{target}"
    lines = [f"{method} {target} HTTP/1.1", f"host: {to.authority}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += [f"{name}: {value}" for name, value in _USUAL.items() if name not in names]
    if by_proxy and (user := address(proxy or "", "proxy").user):
        lines.append(f"proxy-authorization: Basic {user}")
    text = "\r\n".join([*lines, ""])
    breaks = len(lines)
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise errors.bad_header(to.origin)
    return to, Way(to.secure, to.authority, route), text.encode()
