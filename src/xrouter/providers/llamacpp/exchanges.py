"""Calls of llama.cpp where they differ from OpenAI's."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct
from typing_extensions import override

from xrouter.domain.answer import Usage
from xrouter.domain.errors import UpstreamMalformed
from xrouter.providers.base import CountExchange
from xrouter.providers.shapes.openai_chat import OpenAIChat
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.wire.types import WireReply, WireRequest


class LlamaCppChat(OpenAIChat):
    """With several alternatives each has a usage of its own at its end."""

    def __init__(
        self, wire: WireRequest, errors: ErrorReader, dropped: tuple[str, ...], *, several: bool
    ) -> None:
        super().__init__(wire, errors, dropped)
        self._several = several
        self._sum: Usage | None = None

    @override
    def merged(self, usage: Usage) -> Usage:
        before = self._sum
        if self._several and before is not None:
            usage.prompt_tokens = max(usage.prompt_tokens, before.prompt_tokens)
            usage.cached_tokens = max(usage.cached_tokens, before.cached_tokens)
            usage.completion_tokens += before.completion_tokens
        self._sum = usage
        return usage


class _Tokens(Struct):
    tokens: list[Raw]


class LlamaCppCount(CountExchange):
    """One request for each text."""

    def __init__(self, wires: list[WireRequest]) -> None:
        self.wires = wires

    @override
    def answer(self, replies: Sequence[WireReply]) -> list[int]:
        try:
            return [len(msgspec.json.decode(r.body, type=_Tokens).tokens) for r in replies]
        except (ValueError, RecursionError):
            raise UpstreamMalformed("The provider's count of tokens cannot be read.") from None
