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
import io
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache

import aiohttp
from aiohttp.helpers import is_ip_address as is_ip
from multidict import CIMultiDict
from yarl import URL

from xrouter.domain.errors import (
    NotReady,
    UpstreamMalformed,
    UpstreamTimeout,
    UpstreamUnreachable,
    XRouterError,
)
from xrouter.wire.connection import FIRST_FINAL, Connector, StaleConnection, is_public
from xrouter.wire.errors import FOREIGN, addressed, bad_address, origin, translate
from xrouter.wire.inflate import Inflater
from xrouter.wire.tls import TlsContexts
from xrouter.wire.types import Route, WireReply, WireRequest

__all__ = ["Client", "Exchange", "Route"]

READ_BUFFER = 64 << 10
LARGE_BODY = 1 << 20
FINISH_S = 1.0


class Exchange:
    """One answer, from its headers on. `headers` have lower-case names.

    on_close: called once, when the answer is over or was let go.
    """

    __slots__ = (
        "_content",
        "_error",
        "_finishing",
        "_inflater",
        "_max_body",
        "_response",
        "headers",
        "on_close",
        "status",
    )

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        max_body: int,
        finishing: set[asyncio.Task[None]],
    ) -> None:
        """Raises UpstreamMalformed for a content encoding we do not know."""
        self._finishing = finishing
        self.on_close: Callable[[], None] | None = None
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self._response = response
        self._content = response.content
        self._max_body = max_body
        self._error: XRouterError | None = None
        self._inflater: Inflater | None = None
        encoding = self.headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            self._inflater = Inflater(encoding, max_body)
            self.headers.pop("content-encoding")
            self.headers.pop("content-length", None)

    async def chunk(self) -> bytes:
        """The next bytes as soon as any have come, b"" at the proper end.

        Raises UpstreamMalformed for a body that broke off, UpstreamUnreachable for a reset.
        """
        if self._inflater is None:
            return await self._arrived()
        return await self._inflated(self._inflater)

    async def read(self) -> bytes:
        """All the rest. Raises as `chunk`, and UpstreamMalformed when it is too large."""
        announced = self.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_body:
            raise self._too_large()
        parts: list[bytes] = []
        room = self._max_body
        while part := await self.chunk():
            room -= len(part)
            if room < 0:
                raise self._too_large()
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Let go of the connection: aborted, unless the body has come to its end. Never waits."""
        if not self._response.closed:
            self._response.close()
        if self.on_close is not None:
            told, self.on_close = self.on_close, None
            told()

    def finish(self) -> None:
        """All that matters was read: give the body a moment to end by itself, then close.

        So the connection goes back to the pool instead of being aborted. Never waits.
        """
        if self._content.at_eof() or self._error is not None:
            self.close()
            return
        task = asyncio.get_running_loop().create_task(self._read_on())
        self._finishing.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        """Also for a task that was cancelled before its first step."""
        self._finishing.discard(task)
        self.close()

    async def _read_on(self) -> None:
        room = READ_BUFFER
        with suppress(TimeoutError, XRouterError):
            async with asyncio.timeout(FINISH_S):
                while room > 0 and (rest := await self._arrived()):
                    room -= len(rest)

    async def _arrived(self) -> bytes:
        if self._error is not None:
            raise self._error
        try:
            return await self._content.readany()
        except asyncio.CancelledError:
            self.close()
            raise
        except FOREIGN as error:
            self._error = translate(error, origin(self._response.url))
        self.close()
        # What came before the break still counts; the error is raised by the next call.
        rest = self._content._read_nowait(-1)  # noqa: SLF001 - the public one raises
        if rest:
            return rest
        raise self._error

    async def _inflated(self, inflater: Inflater) -> bytes:
        try:
            while not (piece := inflater.take()):
                raw = await self._arrived()
                if not raw:
                    inflater.end()
                    return b""
                inflater.feed(raw)
        except UpstreamMalformed:
            self.close()
            raise
        return piece

    def _too_large(self) -> UpstreamMalformed:
        self.close()
        return UpstreamMalformed(f"The provider's answer has more than {self._max_body} bytes.")


class Client:
    """Speaks HTTP/1.1 to all providers; one for each process. Its connections are pooled.

    max_body: most bytes of an answer that is read whole, or inflated.
    max_headers: most header fields of an answer; max_header: most bytes of one of them.
    accepts: which IP addresses a route that is `public_only` may lead to.
    """

    def __init__(
        self,
        *,
        max_body: int = 32 << 20,
        max_headers: int = 128,
        max_header: int = 16 << 10,
        accepts: Callable[[str], bool] = is_public,
    ) -> None:
        self._max_body = max_body
        self._max_headers = max_headers
        self._max_header = max_header
        self._contexts = TlsContexts()
        self._accepts = accepts
        self._session: aiohttp.ClientSession | None = None
        self._strangers: aiohttp.ClientSession | None = None
        self._finishing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def open(self, request: WireRequest, route: Route) -> Exchange:
        """Send, and return when the answer's headers are in.

        Only connecting has a timeout of its own (`route.connect`): bound the rest by cancelling.
        Raises UpstreamUnreachable, UpstreamTimeout, UpstreamMalformed.
        """
        url = _address(request.url, "base_url")
        try:
            try:
                response = await self._send(request, url, route)
            except StaleConnection:
                response = await self._send(request, url, route)
        except FOREIGN as error:
            raise translate(error, origin(url)) from None
        try:
            if response.status < FIRST_FINAL or 300 <= response.status < 400:  # noqa: PLR2004 - HTTP's
                raise _not_an_answer(response, url)
            return Exchange(response, self._max_body, self._finishing)
        except BaseException:
            response.close()
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
            where = origin(_address(request.url, "base_url"))
            late = UpstreamTimeout(f"The provider did not answer within {timeout:g} s.")
            raise addressed(late, where) from None
        return WireReply(exchange.status, exchange.headers, body)

    async def close(self) -> None:
        """Abort all connections. Later calls raise NotReady."""
        self._closed = True
        for task in self._finishing:
            task.cancel()
        await asyncio.gather(*self._finishing, return_exceptions=True)
        for session in (self._session, self._strangers):
            if session is not None:
                await session.close()

    async def _send(self, request: WireRequest, url: URL, route: Route) -> aiohttp.ClientResponse:
        session = self._strangers if route.public_only else self._session
        if session is None or self._closed:
            session = self._start(public_only=route.public_only)
        if route.public_only and is_ip(url.host) and not self._accepts(url.host or ""):
            raise UpstreamUnreachable("The address is not on the public internet.")
        headers = CIMultiDict(request.headers)
        headers.setdefault("accept-encoding", "identity")
        headers.setdefault("user-agent", "xrouter")
        tls: ssl.SSLContext | bool = True
        if route.ca_bundle or route.client_cert or route.client_key:
            tls = await self._contexts.get(route)
        return await session.request(
            request.method,
            url,
            data=_payload(request.body),
            headers=headers,
            allow_redirects=False,
            proxy=None if route.proxy is None else _address(route.proxy, "proxy"),
            ssl=tls,
            timeout=_timeout(route.connect),
        )

    def _start(self, *, public_only: bool) -> aiohttp.ClientSession:
        """Make the session, which needs a running loop."""
        if self._closed:
            raise NotReady("The router is shutting down.")
        session = aiohttp.ClientSession(
            connector=Connector(self._accepts if public_only else None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BUFFER,
            max_line_size=self._max_header,
            max_field_size=self._max_header,
            max_headers=self._max_headers,
        )
        # GET would be sent again on fresh connections, too; `open` knows better.
        session._retry_connection = False  # noqa: SLF001 - there is no public switch
        if public_only:
            self._strangers = session
        else:
            self._session = session
        return session


@lru_cache(maxsize=1024)
def _address(text: str, setting: str) -> URL:
    """Parse an absolute address. Raises UpstreamUnreachable that names the setting."""
    try:
        url = URL(text)
    except ValueError:
        raise bad_address(setting) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise bad_address(setting)
    if setting == "base_url" and (url.user or url.password):
        raise bad_address(setting)
    return url


@lru_cache(maxsize=64)
def _timeout(connect: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect)


def _payload(body: bytes) -> bytes | io.BytesIO | None:
    """Large bodies go in pieces, so that other calls get their turn."""
    if len(body) > LARGE_BODY:
        return io.BytesIO(body)
    return body or None


def _not_an_answer(response: aiohttp.ClientResponse, url: URL) -> XRouterError:
    error = UpstreamMalformed(
        f"The provider answered with status {response.status}, which sends us elsewhere.",
        hint="Redirects are not followed; put the final address into the endpoint's base_url.",
        upstream_status=response.status,
    )
    return addressed(error, origin(url))
