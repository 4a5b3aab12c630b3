"""Stop 9: pass deltas on as they come, and keep the tally."""

from __future__ import annotations

from xrouter.domain.deadline import Deadline
from xrouter.domain.errors import UpstreamMalformed, UpstreamTimeout
from xrouter.domain.ports import Reply
from xrouter.flow.stream import DeltaStream
from xrouter.flow.tally import Tally
from xrouter.wire.client import Exchange

BINARY = "application/octet-stream"


async def pass_on(exchange: Exchange, reply: Reply, tally: Tally, idle: float) -> None:
    """An answer as it comes, until its end. Raises UpstreamError when it breaks off or stalls."""
    tally.raw = True
    await reply.open_raw(tally.served(), exchange.headers.get("content-type", BINARY))
    while data := await _chunk(exchange, idle):
        await reply.pass_on(data)


async def _chunk(exchange: Exchange, idle: float) -> bytes:
    try:
        with Deadline(idle):
            return await exchange.chunk()
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
