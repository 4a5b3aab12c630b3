"""What the chats of both APIs have in common: other ways to ask, pictures first, usage after."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

from msgspec import Struct
from typing_extensions import override

from xrouter.domain.answer import ChatDelta
from xrouter.domain.chat import FunctionCall
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.providers.base import ChatExchange
from xrouter.providers.yandexgpt.terms import Terms
from xrouter.wire.types import Errand, WireRequest

Counting = Callable[[str, Sequence[FunctionCall]], Errand[list[ChatDelta]]]
"""From what was said to the usage."""


class Asked(Struct, frozen=True, kw_only=True):
    """One chat call. See `ChatExchange` for wire, dropped, copies.

    first: what must be fetched before, or None. again: another way to ask, for when this one is
    refused, or None. counting: None where there is no tokenizer.
    """

    wire: WireRequest
    terms: Terms
    dropped: tuple[str, ...] = ()
    copies: int = 1
    first: Callable[[], Errand[None]] | None = None
    again: Callable[[], ChatExchange] | None = None
    counting: Counting | None = None


class AskedChat(ChatExchange):
    """The same for both APIs."""

    def __init__(self, asked: Asked) -> None:
        self.wire = asked.wire
        self.dropped = asked.dropped
        self.copies = asked.copies
        self._asked = asked
        self._terms = asked.terms
        self._done = False

    @override
    def before(self) -> Errand[None] | None:
        return None if self._asked.first is None else self._asked.first()

    @override
    def instead(self, error: XRouterError) -> ChatExchange | None:
        """Once more with less, if the provider would not take what was asked for.

        Which 400 means that is not documented: every one that says nothing else does.
        """
        if self._asked.again is None or type(error) is not InvalidRequest:
            return None
        return self._asked.again()

    @override
    def after(self) -> Errand[list[ChatDelta]] | None:
        said = self.uncounted()
        if said is None or self._asked.counting is None:
            return None
        return self._asked.counting(*said)

    @override
    def feed(self, name: str, data: bytes) -> list[ChatDelta]:
        return [] if self._done else self.read(data)

    @override
    def end(self) -> list[ChatDelta]:
        return [] if self._done else self.broken_off()

    @property
    @override
    def finished(self) -> bool:
        return self._done

    @abstractmethod
    def read(self, data: bytes) -> list[ChatDelta]:
        """Read one event of an answer that has not ended."""

    @abstractmethod
    def broken_off(self) -> list[ChatDelta]:
        """The body ended before the last word. Raises UpstreamMalformed unless all is there."""

    @abstractmethod
    def uncounted(self) -> tuple[str, Sequence[FunctionCall]] | None:
        """What the provider said, text and calls, if it told no usage for it."""
