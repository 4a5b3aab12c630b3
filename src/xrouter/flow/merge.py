"""Several streams as one: the alternatives of a provider that gives one answer a call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from typing_extensions import override

from xrouter.domain.answer import ChatDelta
from xrouter.flow.stream import DeltaStream, UpstreamStream

Said = tuple[int, list[ChatDelta] | Exception | None]
"""Who spoke, and what: pieces, an error, or None at its end."""


class MergedStream(DeltaStream):
    """Each stream is opened and read by a task of its own; the pieces come as they are said.

    A slow reader holds all of them: there is room for one piece of each. The usage in a piece is
    that of its alternative alone.
    """

    def __init__(self, opening: list[Callable[[], Awaitable[UpstreamStream]]]) -> None:
        self._said: asyncio.Queue[Said] = asyncio.Queue(maxsize=len(opening))
        self._tasks = [
            asyncio.get_running_loop().create_task(self._read(index, opens))
            for index, opens in enumerate(opening)
        ]
        self._running = len(opening)
        self._first: list[ChatDelta] | None = None

    async def listen(self) -> None:
        """Wait until one of them has spoken."""
        self._first = await self._next()

    @override
    async def next(self) -> list[ChatDelta] | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._next()

    @override
    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _next(self) -> list[ChatDelta] | None:
        while self._running:
            index, said = await self._said.get()
            if isinstance(said, Exception):
                raise said
            if said is None:
                self._running -= 1
                continue
            for delta in said:
                delta.choice = index
            return said
        return None

    async def _read(self, index: int, opens: Callable[[], Awaitable[UpstreamStream]]) -> None:
        stream: UpstreamStream | None = None
        try:
            stream = await opens()
            while (deltas := await stream.next()) is not None:
                await self._said.put((index, deltas))
            await self._said.put((index, None))
        except Exception as error:  # noqa: BLE001 - whoever reads the stream is told
            await self._said.put((index, error))
        finally:
            if stream is not None:
                stream.close()
