"""Stop 9: pass deltas on as they come, and keep the tally."""

from __future__ import annotations

from xrouter.domain.errors import UpstreamMalformed
from xrouter.domain.ports import Reply
from xrouter.flow.stream import UpstreamStream
from xrouter.flow.tally import Tally


async def relay(stream: UpstreamStream, reply: Reply, tally: Tally) -> None:
    """Until the proper end. Raises UpstreamError when the stream breaks or ends unfinished."""
    await reply.start(tally.served())
    while (deltas := await stream.next()) is not None:
        tally.count(deltas)
        await reply.deltas(deltas)
    if not tally.finish_reasons:
        raise UpstreamMalformed("The provider's stream ended without a finish reason.")
