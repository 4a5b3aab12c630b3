"""Stop 9: pass deltas on as they come, and keep the tally."""

from __future__ import annotations

from collections.abc import Awaitable

from xrouter.domain.deadline import Deadline
from xrouter.domain.errors import UpstreamMalformed, UpstreamTimeout
from xrouter.domain.ports import Reply
from xrouter.flow.errands import Passage
from xrouter.flow.stream import DeltaStream
from xrouter.flow.tally import Tally

BINARY = "application/octet-stream"


async def pass_on(passage: Passage, reply: Reply, tally: Tally, idle: float) -> None:
    """An answer as it comes, until its end; at once, when it is to be read before.

    Raises UpstreamError when it breaks off or stalls.
    """
    exchange, reader = passage.exchange, passage.reader
    whole = None if reader is None else reader(await _in_time(exchange.read(), idle))
    tally.raw = True
    await reply.open_raw(tally.served(), exchange.headers.get("content-type", BINARY))
    if whole is not None:
        await reply.pass_on(whole)
        return
    while data := await _in_time(exchange.chunk(), idle):
        await reply.pass_on(data)


async def _in_time(reading: Awaitable[bytes], idle: float) -> bytes:
    try:
        with Deadline(idle):
            return await reading
    except TimeoutError:
        raise UpstreamTimeout(f"The provider was silent for {idle:g} s.") from None


async def relay(stream: DeltaStream, reply: Reply, tally: Tally) -> None:
    """Until the proper end. Raises UpstreamError when the stream breaks or ends unfinished."""
    await reply.start(tally.served())
    while (deltas := await stream.next()) is not None:
        tally.count(deltas)
        await reply.deltas(deltas)
    if not tally.finish_reasons:
        raise UpstreamMalformed("The provider's stream ended without a finish reason.")
