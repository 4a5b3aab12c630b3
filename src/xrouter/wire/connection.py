"""Connections: what aiohttp's own do not do, or do otherwise.

- Closing is aborting. A polite close first waits until the other side has read what we still had
  to send, which a stuck provider never does; TLS would wait for a farewell, too. While an answer
  is due the connection is reset, so that the other side learns of it without reading anything.
- A connection from the pool that dies before any byte of the answer is told apart
  (`StaleConnection`), so that exactly this case, and no other, can be tried again.
- A reset in the middle of a body is a reset, not a clean end, even where only the end of the
  connection marks the end of the body.
- Damaged framing in the middle of a body reaches its reader, who would otherwise wait for ever.
- A connection on which bytes lie that nobody asked for is not used again.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from socket import AF_INET, SO_LINGER, SOL_SOCKET, AddressFamily

import aiohttp
from aiohttp.abc import ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from typing_extensions import override

KEEP_ALIVE_S = 15.0
FIRST_FINAL = 200

_RESET = struct.pack("ii", 1, 0)  # linger on, for no time: closing sends a reset


_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
_SEGMENT_ROUTING = IPv6Network("5f00::/16")


class StaleConnection(aiohttp.ClientConnectionError):
    """A connection from the pool was dropped before the answer's first byte."""


class Handler(ResponseHandler):
    """The protocol of one connection."""

    _requests = 0
    _heard = False  # a byte has come since the last request was sent
    _interim = False  # what was read last was a 1xx, so the answer is still to come
    _paused_once = False  # reading was paused since the last request was sent

    @override
    def data_received(self, data: bytes) -> None:
        if data:
            self._heard = True
        super().data_received(data)
        damage = self._exception
        if damage is not None:
            body = self._payload
            if body is not None and not body.is_eof() and body.exception() is None:
                body.set_exception(damage)

    @override
    async def read(self) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
        """Wait for the head of an answer. Called when a request is on its way, before any byte."""
        if not self._interim:
            self._requests += 1
            self._heard = False
            self._paused_once = self._reading_paused
        try:
            answer = await super().read()
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if self._requests > 1 and not self._heard:
                raise StaleConnection from None
            raise
        self._interim = answer[0].code < FIRST_FINAL
        return answer

    @override
    def pause_reading(self) -> None:
        self._paused_once = True
        super().pause_reading()

    @override
    def resume_reading(self, resume_parser: bool = True) -> None:
        """Called after each piece that is read, and not free: skipped if nothing ever paused.

        Once something has, the parser may stop later than it was told to, so it is always woken.
        """
        if self._paused_once:
            super().resume_reading(resume_parser)

    @override
    def is_connected(self) -> bool:
        return super().is_connected() and not self._buffer

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        body = self._payload
        if exc is None or body is None or body.is_eof():
            super().connection_lost(exc)
            return
        reset = aiohttp.ClientOSError(*exc.args)
        body.set_exception(reset)  # for a reader that waits now
        super().connection_lost(exc)
        body.set_exception(reset)  # for one that comes later, whatever the parser says of it

    @override
    def close(self) -> None:
        if self.transport is not None and super().is_connected() and self._answer_due():
            socket = self.transport.get_extra_info("socket")
            socket.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
        self.abort()

    def _answer_due(self) -> bool:
        """Whether a request is out whose answer has not come to its end."""
        body = self._payload
        return self._requests > 0 and not (self._heard and body is not None and body.is_eof())


class PickyResolver(aiohttp.ThreadedResolver):
    """Leaves out of its answers the addresses that may not be connected to."""

    def __init__(self, accepts: Callable[[str], bool]) -> None:
        super().__init__()
        self._accepts = accepts

    @override
    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        allowed = [result for result in found if self._accepts(result["host"])]
        if not allowed:
            raise OSError(f"{host} has no address that may be connected to")
        return allowed


def is_public(address: str) -> bool:
    """Whether the IP address is one of the internet's."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        if ip.is_site_local or ip in _SEGMENT_ROUTING:
            return False
        inner = ip.ipv4_mapped or ip.sixtofour or _embedded(ip)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return ip.is_global and not ip.is_multicast


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a translator would connect to."""
    if ip in _NAT64 or ip in _COMPATIBLE:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return None


class Connector(aiohttp.TCPConnector):
    """A pool without a limit: limits on concurrent calls are kept elsewhere, fair and visible.

    accepts: which IP addresses may be connected to; None: all.
    """

    def __init__(self, accepts: Callable[[str], bool] | None = None) -> None:
        resolver = None if accepts is None else PickyResolver(accepts)
        super().__init__(limit=0, keepalive_timeout=KEEP_ALIVE_S, resolver=resolver)
        kind: type[ResponseHandler] = Handler
        self._factory = functools.partial(kind, loop=self._loop)
