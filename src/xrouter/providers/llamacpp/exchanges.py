"""Calls of llama.cpp where they differ from OpenAI's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from typing_extensions import override

from xrouter.domain.answer import AnswerMessage, ChatAnswer, ChatDelta, Usage
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import XRouterError
from xrouter.providers.base import ChatExchange
from xrouter.providers.llamacpp.emulated import Emulated
from xrouter.providers.llamacpp.template import ANY, Template, TemplateBook, matters
from xrouter.providers.shapes.openai_chat import OpenAIChat
from xrouter.wire.types import Errand, WireReply, WireRequest


class Made(Struct):
    """A request for a template. emulated: reads the answer where tools are called in JSON."""

    wire: WireRequest
    dropped: tuple[str, ...] = ()
    emulated: Emulated | None = None


class LlamaCppChat(OpenAIChat):
    """Asks as the model's chat template demands, which it finds out before where it matters.

    Cuts the answer down to what was asked for where the server cannot be told to: it calls several
    tools also when `parallel_tool_calls` is false, so only the first call is passed on; it tells
    likelihoods only together with those of rivals: where none were asked for, the adapter asks for
    one, and the list is emptied here.
    """

    def __init__(
        self,
        request: ChatRequest,
        model: str,
        book: TemplateBook,
        make: Callable[[Template], Made],
        template: Template | None = None,
    ) -> None:
        """make: the request for a template; template: the one to begin with, if it is known."""
        known = template or book.known(model)
        self._asks = known is None and matters(request)
        self._template = known or ANY
        made = make(self._template)
        super().__init__(made.wire, book.reader, made.dropped)
        self._emulated = made.emulated
        self._request, self._model, self._book, self._make = request, model, book, make
        self.only_first_call = request.parallel_tool_calls is False
        self._no_rivals = request.logprobs is True and not request.top_logprobs
        self._wanted = request.n or 1
        self._told_usages = 0
        self._sum: Usage | None = None

    @override
    def before(self) -> Errand[None] | None:
        return self._find_out() if self._asks else None

    def _find_out(self) -> Errand[None]:
        self._template = yield from self._book.ask(self._model)
        self._asks = False
        made = self._make(self._template)
        self.wire, self.dropped, self._emulated = made.wire, made.dropped, made.emulated

    @override
    def instead(self, error: XRouterError) -> ChatExchange | None:
        """Once more where the error tells something new of the template."""
        learned = self._book.learn(self._model, self._template, error)
        if learned is None:
            return None
        return LlamaCppChat(self._request, self._model, self._book, self._make, learned)

    @override
    def answer(self, reply: WireReply) -> ChatAnswer:
        answer = super().answer(reply)
        if len(answer.choices) > 1:
            answer.usage = _of_all_choices(answer)
        return answer if self._emulated is None else self._emulated.whole(answer)

    @override
    def feed(self, name: str, data: bytes) -> list[ChatDelta]:
        return self._told(super().feed(name, data))

    @override
    def end(self) -> list[ChatDelta]:
        return self._told(super().end())

    def _told(self, deltas: list[ChatDelta]) -> list[ChatDelta]:
        return deltas if self._emulated is None else self._emulated.pieces(deltas)

    @override
    def _put_usage(self, given: Any, deltas: list[ChatDelta]) -> None:
        """In a stream each alternative has a usage of its own, at its end: all are told as one."""
        told: list[ChatDelta] = []
        super()._put_usage(given, told)
        for usage in (delta.usage for delta in told if delta.usage is not None):
            self._sum = _both(self._sum, usage) if self._wanted > 1 else usage
            self._told_usages += 1
        if self._told_usages >= self._wanted:
            self._tell_usage(deltas)

    @override
    def _close(self) -> list[ChatDelta]:
        """A usage that lacks alternatives is not told: it would be taken for that of all."""
        deltas = super()._close()
        if self._told_usages >= self.alternatives:
            self._tell_usage(deltas)
        return deltas

    def _tell_usage(self, deltas: list[ChatDelta]) -> None:
        usage, self._sum = self._sum, None
        if usage is not None:
            deltas.append(ChatDelta(usage=usage))

    @override
    def likelihoods(self, given: Any) -> Any:
        tokens = given.get("content") if self._no_rivals and isinstance(given, dict) else None
        for token in tokens if isinstance(tokens, list) else ():
            if isinstance(token, dict):
                token["top_logprobs"] = []
        return given


def _both(before: Usage | None, usage: Usage) -> Usage:
    """What two alternatives used together; they share the prompt."""
    if before is not None:
        usage.prompt_tokens = max(usage.prompt_tokens, before.prompt_tokens)
        usage.cached_tokens = max(usage.cached_tokens, before.cached_tokens)
        usage.completion_tokens += before.completion_tokens
    return usage


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
