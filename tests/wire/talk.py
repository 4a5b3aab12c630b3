"""What the transport tests say to a provider and hear from it."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

import pytest
from tests.wire.rawserver import Conn, RawServer, Request

from xrouter.wire.client import Client, Exchange
from xrouter.wire.types import Route, WireReply, WireRequest

patient = partial(Route, connect=20.0)
"""Routes on which a slow machine may connect."""

ROUTE = patient()
MAX_BODY = 1 << 20
"""Of the client fixture."""


def post(url: str, body: bytes = b'{"a":1}') -> WireRequest:
    """A request with a secret in its headers and in its query."""
    headers = {"authorization": "Bearer s3cret", "content-type": "application/json"}
    return WireRequest("POST", f"{url}/v1/chat?key=s3cret", headers, body)


async def begin(client: Client, server: RawServer) -> tuple[asyncio.Task[Exchange], Conn, Request]:
    """A request that has arrived and is not answered."""
    task = asyncio.create_task(client.open(post(server.url), ROUTE))
    conn = await server.accept()
    return task, conn, await conn.request()


async def opened(client: Client, server: RawServer, *sent: bytes) -> tuple[Exchange, Conn]:
    """An exchange whose answer begins with `sent`, and the other end of it."""
    task, conn, _ = await begin(client, server)
    await conn.send(*sent)
    return await task, conn


async def drain(exchange: Exchange, into: list[bytes] | deque[bytes]) -> None:
    while chunk := await exchange.chunk():
        into.append(chunk)


async def fetch(client: Client, url: str, route: Route = ROUTE) -> WireReply:
    return await client.fetch(post(url), route, timeout=20)


async def cancel(task: asyncio.Task[Exchange] | asyncio.Task[bytes]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def polite(conn: Conn) -> None:
    """Answer each request with its number on this connection."""
    number = 0
    while True:
        await conn.request()
        number += 1
        await conn.reply(b"%d" % number)
