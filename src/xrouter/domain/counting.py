"""Counting tokens before anything is asked."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from xrouter.domain.chat import ChatRequest


class CountRequest(Struct, kw_only=True):
    """Either `texts`, counted one by one, or a `chat` request, counted as the prompt it makes."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    texts: list[str] | None = None
    chat: ChatRequest | None = None


class TokenCount(Struct, frozen=True):
    """parts: tokens of each text in order, or one number for a chat.

    estimated: the provider has no tokenizer to ask, or not for this; the numbers are ours.
    """

    parts: tuple[int, ...]
    estimated: bool = False

    @property
    def tokens(self) -> int:
        """All of them."""
        return sum(self.parts)
