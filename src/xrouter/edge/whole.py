"""A reply for requests that nobody waits for: one whole chat answer, or an error."""

from __future__ import annotations

from typing_extensions import override

from xrouter.domain.answer import ChatDelta, Usage
from xrouter.domain.counting import TokenCount
from xrouter.domain.embeddings import EmbeddingsAnswer
from xrouter.domain.errors import InternalError, XRouterError
from xrouter.domain.images import ImagesAnswer
from xrouter.domain.ports import Allowance, Reply, Served


class WholeReply(Reply):
    """`answer` and `refuse` are for its heirs; everything else would be a defect."""

    @property
    @override
    def started(self) -> bool:
        return False

    @override
    def allow(self, allowance: Allowance) -> None:
        return

    @override
    def asked(self, served: Served) -> None:
        return

    @override
    async def start(self, served: Served) -> None:
        raise _never()

    @override
    async def deltas(self, deltas: list[ChatDelta]) -> None:
        raise _never()

    @override
    async def end(self, usage: Usage | None) -> None:
        raise _never()

    @override
    async def fail(self, error: XRouterError) -> None:
        raise _never()

    @override
    async def embeddings(self, answer: EmbeddingsAnswer, served: Served) -> None:
        raise _never()

    @override
    async def images(self, answer: ImagesAnswer, served: Served) -> None:
        raise _never()

    @override
    async def count(self, count: TokenCount, served: Served) -> None:
        raise _never()

    @override
    async def open_raw(self, served: Served, content_type: str) -> None:
        raise _never()

    @override
    async def pass_on(self, data: bytes) -> None:
        raise _never()

    @override
    async def close_raw(self) -> None:
        raise _never()

    @override
    async def break_raw(self) -> None:
        raise _never()


def _never() -> InternalError:
    return InternalError("A request in the background is answered whole.")
