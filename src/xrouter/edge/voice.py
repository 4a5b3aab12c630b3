"""How a dialect says things. Pure: from our words to bytes, without waiting."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from xrouter.domain.answer import ChatAnswer, ChatDelta, Usage
from xrouter.domain.counting import TokenCount
from xrouter.domain.embeddings import EmbeddingsAnswer
from xrouter.domain.errors import XRouterError
from xrouter.domain.images import ImagesAnswer
from xrouter.domain.ports import Served

encode = msgspec.json.Encoder().encode


class Voice:
    """One request's way of being answered; a dialect overrides what its operation needs.

    streaming: the caller asked for a stream. Everything returned may be empty: nothing is sent.
    dropped: names of parameters that the dialect has accepted and given up, for x-xrouter-dropped.
    """

    streaming = False
    dropped: tuple[str, ...] = ()

    def start(self, served: Served) -> bytes:
        """What opens a stream."""
        raise NotImplementedError

    def deltas(self, deltas: list[ChatDelta]) -> bytes:
        """Whole frames for the pieces."""
        raise NotImplementedError

    def end(self, usage: Usage | None) -> bytes:
        """What closes a stream properly."""
        raise NotImplementedError

    def fail(self, error: XRouterError) -> bytes:
        """What tells inside an open stream that it broke, and closes it."""
        raise NotImplementedError

    def answer(self, answer: ChatAnswer, served: Served) -> bytes:
        """The body of a whole answer."""
        raise NotImplementedError

    def embeddings(self, answer: EmbeddingsAnswer, served: Served) -> Iterator[bytes]:
        """The body of an embeddings answer, in pieces so that other requests get their turn."""
        raise NotImplementedError

    def images(self, answer: ImagesAnswer, served: Served) -> bytes:
        """The body of an answer with pictures."""
        raise NotImplementedError

    def count(self, count: TokenCount, served: Served) -> bytes:
        """The body of a count of tokens."""
        raise NotImplementedError

    def refuse(self, error: XRouterError) -> bytes:
        """The body of an error."""
        return encode(error.body())
