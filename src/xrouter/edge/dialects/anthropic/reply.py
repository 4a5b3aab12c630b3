"""The way back, with errors and names of parameters in the caller's words."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime

import msgspec
from typing_extensions import override

from xrouter.domain.answer import ChatAnswer, ChatDelta, Usage
from xrouter.domain.counting import TokenCount
from xrouter.domain.errors import XRouterError
from xrouter.domain.ports import Allowance, Reply, Served
from xrouter.edge.asgi import Header
from xrouter.edge.dialects.anthropic.errors import as_told_here
from xrouter.edge.dialects.anthropic.places import Places
from xrouter.edge.outlet import Outlet
from xrouter.edge.whole import WholeReply


class Retelling(WholeReply):
    """Stands before the reply that does the work, and that writes into `out`."""

    def __init__(self, reply: Reply, places: Places, out: Outlet) -> None:
        self._reply = reply
        self._places = places
        self._out = out

    @property
    @override
    def started(self) -> bool:
        return self._reply.started

    @override
    def allow(self, allowance: Allowance) -> None:
        self._reply.allow(allowance)
        self._out.headers += _limit(allowance)

    @override
    def asked(self, served: Served) -> None:
        self._reply.asked(served)

    @override
    async def start(self, served: Served) -> None:
        await self._reply.start(self._named(served))

    @override
    async def deltas(self, deltas: list[ChatDelta]) -> None:
        await self._reply.deltas(deltas)

    @override
    async def end(self, usage: Usage | None) -> None:
        await self._reply.end(usage)

    @override
    async def fail(self, error: XRouterError) -> None:
        await self._reply.fail(self._retold(error))

    @override
    async def refuse(self, error: XRouterError) -> None:
        await self._reply.refuse(self._retold(error))

    @override
    async def answer(self, answer: ChatAnswer, served: Served) -> None:
        await self._reply.answer(answer, self._named(served))

    @override
    async def count(self, count: TokenCount, served: Served) -> None:
        await self._reply.count(count, self._named(served))

    def _named(self, served: Served) -> Served:
        return msgspec.structs.replace(served, dropped=self._places.dropped(served.dropped))

    def _retold(self, error: XRouterError) -> XRouterError:
        self._places.retell(error)
        return as_told_here(error)


def _limit(state: Allowance) -> list[Header]:
    """A limit, the way clients of this API read it: the reset is a point in time."""
    name = b"anthropic-ratelimit-" + state.meter.encode()
    reset = datetime.fromtimestamp(math.ceil(time.time() + max(0.0, state.reset_s)), UTC)
    return [
        (name + b"-limit", b"%d" % state.limit),
        (name + b"-remaining", b"%d" % max(0, state.remaining)),
        (name + b"-reset", reset.strftime("%Y-%m-%dT%H:%M:%SZ").encode()),
    ]
