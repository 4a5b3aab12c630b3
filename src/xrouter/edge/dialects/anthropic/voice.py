"""How the Messages API says things: one object, or events in their fixed order."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from typing_extensions import override

from xrouter.domain.answer import ChatAnswer, ChatDelta, Usage
from xrouter.domain.counting import TokenCount
from xrouter.domain.errors import XRouterError
from xrouter.domain.ports import Served
from xrouter.edge.dialects.anthropic.errors import envelope, refusal
from xrouter.edge.dialects.anthropic.output import Event, Output
from xrouter.edge.dialects.anthropic.types import Block, InputTokenCount
from xrouter.edge.voice import Voice, encode
from xrouter.flow.fold import deltas_of

_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_NATIVE = frozenset({"stop_sequence", "pause_turn", "refusal", "model_context_window_exceeded"})
"""Reasons that a provider of this API tells, and that have no word in chat completions."""
_REFUSED = {"type": "refusal", "category": None, "explanation": None}


class Manner(Struct, frozen=True):
    """serial: the ULID of the visit. stops: the stop sequences asked for."""

    serial: str
    request_id: str
    dropped: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()


class Ending:
    """Why the answer ended, as far as it has been told."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._finish = "stop"
        self._told: dict[str, Any] = {}
        self._refused = False

    def hear(self, delta: ChatDelta) -> None:
        """Take what a delta says of the end."""
        self._finish = delta.finish_reason or self._finish
        self._refused = self._refused or bool(delta.refusal)
        if delta.choice_extra:
            self._told |= delta.choice_extra

    def say(self, *, calls: bool) -> dict[str, Any]:
        """stop_reason, stop_sequence, and stop_details of a refusal. calls: tools were called."""
        reason = _REASONS[self._finish]
        if calls and reason == "end_turn":
            reason = "tool_use"
        if self._refused and reason == "end_turn":
            reason = "refusal"
        native = self._told.get("native_finish_reason")
        if isinstance(native, str) and native in _NATIVE:
            reason = native
        sequence = self._sequence(reason) if reason in ("end_turn", "stop_sequence") else None
        if sequence is not None:
            reason = "stop_sequence"
        details = {"stop_details": dict(_REFUSED)} if reason == "refusal" else {}
        return {"stop_reason": reason, "stop_sequence": sequence, **details}

    def _sequence(self, reason: str) -> str | None:
        """The sequence that was hit, where the provider says it or there is only one."""
        told = self._told.get("stop_reason")
        if isinstance(told, str) and told in self._stops:
            return told
        if reason == "stop_sequence" and len(self._stops) == 1:
            return self._stops[0]
        return None


class _MessageVoice(Voice):
    """What both kinds of answers have in common."""

    def __init__(self, manner: Manner) -> None:
        self.dropped = manner.dropped
        self._manner = manner
        self._output = Output()
        self._ending = Ending(manner.stops)

    @override
    def refuse(self, error: XRouterError) -> bytes:
        return refusal(error, self._manner.request_id)

    def _message(
        self, served: Served, content: list[Block], end: dict[str, Any], usage: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "id": "msg_" + self._manner.serial,
            "type": "message",
            "role": "assistant",
            "model": served.model,
            "content": content,
            **end,
            "usage": usage,
        }

    def _hear(self, delta: ChatDelta) -> list[Event]:
        """Only one alternative is told."""
        if delta.choice:
            return []
        self._ending.hear(delta)
        return self._output.grow(delta)


class WholeVoice(_MessageVoice):
    """Answers with one object."""

    @override
    def answer(self, answer: ChatAnswer, served: Served) -> bytes:
        for delta in deltas_of(answer):
            self._hear(delta)
        self._output.close()
        end = self._ending.say(calls=self._output.has_calls)
        return encode(self._message(served, self._output.blocks, end, usage_object(answer.usage)))


class StreamVoice(_MessageVoice):
    """Answers with events."""

    streaming = True

    @override
    def start(self, served: Served) -> bytes:
        usage = {**usage_object(None), "output_tokens": 1}
        message = self._message(served, [], {"stop_reason": None, "stop_sequence": None}, usage)
        return _frames([{"type": "message_start", "message": message}, {"type": "ping"}])

    @override
    def deltas(self, deltas: list[ChatDelta]) -> bytes:
        return _frames([event for delta in deltas for event in self._hear(delta)])

    @override
    def end(self, usage: Usage | None) -> bytes:
        events = self._output.close()
        delta = self._ending.say(calls=self._output.has_calls)
        last = {"type": "message_delta", "delta": delta, "usage": usage_object(usage)}
        return _frames([*events, last, {"type": "message_stop"}])

    @override
    def fail(self, error: XRouterError) -> bytes:
        return _frames([envelope(error, self._manner.request_id)])


class CountVoice(_MessageVoice):
    """Says how many tokens a prompt has."""

    @override
    def count(self, count: TokenCount, served: Served) -> bytes:
        return encode(InputTokenCount(input_tokens=count.tokens))


def usage_object(usage: Usage | None) -> dict[str, Any]:
    """Token counts in this API's words: what was cached is not among the input."""
    usage = usage or Usage()
    written = usage.cache_write_tokens or 0
    told: dict[str, Any] = {
        "input_tokens": max(0, usage.prompt_tokens - usage.cached_tokens - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
    if usage.reasoning_tokens:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return told


def _frames(events: list[Event]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), encode(event)) for event in events
    )
