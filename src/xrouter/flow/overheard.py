"""What an answer that is passed on says of its usage: read on the way, without holding it up."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.answer import Usage
from xrouter.flow.tally import Tally
from xrouter.providers.shapes.openai_answer import usage_of
from xrouter.wire.client import Exchange as WireExchange

MAX_BODY = 2**20
"""Of JSON that is longer nothing is read."""
TAIL = 2**16
"""Of a stream of events the end alone is read: its last event tells."""

_DATA = b"data:"
_ERRORS = (ValueError, RecursionError)


class _Told(Struct):
    usage: dict[str, Any] | None = None


_told = msgspec.json.Decoder(_Told)


class Overheard:
    """Stands for the exchange. When it is closed, the tally has the usage, if there was any."""

    __slots__ = ("_exchange", "_is_stream", "_kept", "_tally", "headers")

    def __init__(self, exchange: WireExchange, tally: Tally, *, is_stream: bool) -> None:
        self.headers = exchange.headers
        self._exchange = exchange
        self._tally = tally
        self._is_stream = is_stream
        self._kept: bytearray | None = bytearray()

    async def read(self) -> bytes:
        """All the rest, as `wire.client.Exchange` does."""
        data = await self._exchange.read()
        self._keep(data)
        return data

    async def chunk(self) -> bytes:
        """The next bytes, as `wire.client.Exchange` does."""
        data = await self._exchange.chunk()
        self._keep(data)
        return data

    def close(self) -> None:
        """Once or more."""
        self._exchange.close()
        kept, self._kept = self._kept, None
        if kept:
            usage = _of_events(kept) if self._is_stream else _of_body(kept)
            if usage is not None:
                self._tally.usage = usage

    def _keep(self, data: bytes) -> None:
        if self._kept is None:
            return
        self._kept += data
        if self._is_stream:
            del self._kept[:-TAIL]
        elif len(self._kept) > MAX_BODY:
            self._kept = None


def overheard(exchange: WireExchange, tally: Tally) -> WireExchange | Overheard:
    """The exchange, listened to where its answer may tell tokens: not where it is sound or text."""
    kind = exchange.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "text/event-stream"):
        return exchange
    return Overheard(exchange, tally, is_stream=kind == "text/event-stream")


def _of_body(body: bytes | bytearray) -> Usage | None:
    try:
        return usage_of(_told.decode(body).usage)
    except _ERRORS:
        return None


def _of_events(tail: bytearray) -> Usage | None:
    """Of the last event that tells any."""
    for line in reversed(tail.splitlines()):
        if line.startswith(_DATA):
            usage = _of_body(line[len(_DATA) :])
            if usage is not None:
                return usage
    return None
