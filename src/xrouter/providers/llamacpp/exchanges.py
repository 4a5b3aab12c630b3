"""Calls of llama.cpp where they differ from OpenAI's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct
from typing_extensions import override

from xrouter.domain.answer import AnswerMessage, ChatAnswer, Usage
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import UpstreamMalformed
from xrouter.providers.base import CountExchange
from xrouter.providers.shapes.openai_chat import OpenAIChat
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.wire.types import WireReply, WireRequest


class LlamaCppChat(OpenAIChat):
    """Cuts the answer down to what was asked for where the server cannot be told to.

    It calls several tools also when `parallel_tool_calls` is false: only the first call is passed
    on. It tells likelihoods only together with those of rivals: where none were asked for, the
    adapter asks for one, and the list is emptied here.
    """

    def __init__(
        self,
        wire: WireRequest,
        errors: ErrorReader,
        dropped: tuple[str, ...],
        request: ChatRequest,
    ) -> None:
        super().__init__(wire, errors, dropped)
        self.only_first_call = request.parallel_tool_calls is False
        self._no_rivals = request.logprobs is True and not request.top_logprobs
        self._sum: Usage | None = None

    @override
    def answer(self, reply: WireReply) -> ChatAnswer:
        answer = super().answer(reply)
        if len(answer.choices) > 1:
            answer.usage = _of_all_choices(answer)
        return answer

    @override
    def merged(self, usage: Usage) -> Usage:
        """In a stream each alternative has a usage of its own, at its end."""
        before = self._sum
        if before is not None and self.alternatives > 1:
            usage.prompt_tokens = max(usage.prompt_tokens, before.prompt_tokens)
            usage.cached_tokens = max(usage.cached_tokens, before.cached_tokens)
            usage.completion_tokens += before.completion_tokens
        self._sum = usage
        return usage

    @override
    def likelihoods(self, given: Any) -> Any:
        tokens = given.get("content") if self._no_rivals and isinstance(given, dict) else None
        for token in tokens if isinstance(tokens, list) else ():
            if isinstance(token, dict):
                token["top_logprobs"] = []
        return given


def _of_all_choices(answer: ChatAnswer) -> Usage | None:
    """The usage of a whole answer with several alternatives, whose server tells the first one's.

    Nothing in the answer says how many tokens the others have, so they are estimated by their
    length, at the rate of the first, and the usage is marked. A server whose usage is larger than
    what its `timings` say of the first alternative has counted them all: nothing is added.
    """
    usage = answer.usage
    if usage is None:
        return None
    timings = ((answer.meta.extra if answer.meta else None) or {}).get("timings")
    counted = timings.get("predicted_n") if isinstance(timings, dict) else None
    if isinstance(counted, int) and usage.completion_tokens > counted:
        return usage
    first, *others = (_size(choice.message) for choice in answer.choices)
    told = usage.completion_tokens
    usage.completion_tokens += round(told * sum(others) / first) if first else told * len(others)
    usage.estimated = True
    return usage


def _size(message: AnswerMessage) -> int:
    """Characters of all that it says."""
    calls = [call.function for call in message.tool_calls or () if call.function is not None]
    said = len(message.content or "") + len(message.reasoning or "")
    return said + sum(len(call.name) + len(call.arguments) for call in calls)


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
