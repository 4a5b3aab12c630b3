"""One answer, as its reader has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from xrouter.domain.errors import UpstreamMalformed, XRouterError
from xrouter.wire.connection import READ_BUFFER, Connection
from xrouter.wire.inflate import Inflater

FINISH_S = 1.0


class Exchange:
    """One answer, from its headers on. `headers` have lower-case names.

    release: what to do with the connection when the answer is over or was let go.
    on_close: called once, then.
    """

    __slots__ = (
        "_connection",
        "_error",
        "_finishing",
        "_inflater",
        "_max_body",
        "_release",
        "headers",
        "on_close",
        "status",
    )

    def __init__(
        self,
        connection: Connection,
        max_body: int,
        finishing: set[asyncio.Task[None]],
        release: Callable[[Connection], None],
    ) -> None:
        """Raises UpstreamMalformed for a content encoding we do not know."""
        self._finishing = finishing
        self.on_close: Callable[[], None] | None = None
        self.status = connection.status
        self.headers = headers = connection.headers
        self._connection = connection
        self._max_body = max_body
        self._release: Callable[[Connection], None] | None = release
        self._error: XRouterError | None = None
        self._inflater: Inflater | None = None
        if "content-encoding" in headers:
            self._inflate(headers["content-encoding"].strip().lower())

    def _inflate(self, encoding: str) -> None:
        if encoding not in ("", "identity"):
            self._inflater = Inflater(encoding, self._max_body)
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
        if self._inflater is None and self._release is not None and self._connection.ended:
            return self._rest()
        parts: list[bytes] = []
        room = self._max_body
        while part := await self.chunk():
            room -= len(part)
            if room < 0:
                raise self._too_large()
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _rest(self) -> bytes:
        """The body of an answer that has come to its end: mostly it comes with its head."""
        body = self._connection.rest()
        if len(body) > self._max_body:
            raise self._too_large()
        self.close()
        return body

    def close(self) -> None:
        """Let go of the connection: aborted, unless the body has come to its end. Never waits."""
        release, self._release = self._release, None
        if release is not None:
            release(self._connection)
            self._error = self._connection.error
        if self.on_close is not None:
            told, self.on_close = self.on_close, None
            told()

    def finish(self) -> None:
        """All that matters was read: give the body a moment to end by itself, then close.

        So the connection goes back to the pool instead of being aborted. Never waits.
        """
        if self._connection.ended or self._release is None:
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
        if self._release is None:  # the connection is another's now
            if self._error is not None:
                raise self._error
            return b""
        try:
            part = await self._connection.chunk()
        except (asyncio.CancelledError, XRouterError):
            self.close()
            raise
        if not part:
            self.close()
        return part

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
