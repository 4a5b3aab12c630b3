"""How the Responses API says things: one object, or events in their fixed order."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from typing_extensions import override

from xrouter.domain.answer import ChatAnswer, ChatDelta, Usage
from xrouter.domain.errors import CallerError, XRouterError
from xrouter.domain.ports import Served
from xrouter.edge.dialects.responses.body import ResponsesBody
from xrouter.edge.dialects.responses.output import COMPLETED, IN_PROGRESS, Event, Item, Output
from xrouter.edge.dialects.responses.request import Asked
from xrouter.edge.voice import Voice, encode
from xrouter.flow.fold import deltas_of

INCOMPLETE = "incomplete"
FAILED = "failed"
_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
_CODES = ("context_length_exceeded", "insufficient_quota", "rate_limit_exceeded")
_ECHOED = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "safety_identifier",
    "service_tier",
    "user",
)
_DEFAULTS: dict[str, Any] = {
    "metadata": {},
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}


class Ended(Struct, frozen=True):
    """A response that is whole. body: the object; items: its output as it must come back.

    dropped: what was given up of the request, as far as it is known.
    """

    body: dict[str, Any]
    items: list[Item]
    dropped: tuple[str, ...]


class Manner(Struct, frozen=True):
    """What a voice says besides: the id of the response, what was asked, who is told of the end."""

    id: str
    body: ResponsesBody
    asked: Asked
    ended: Callable[[Ended], None]


class Draft:
    """A response object on its way."""

    def __init__(self, manner: Manner) -> None:
        body = manner.body
        reasoning = body.reasoning
        summary = reasoning and (reasoning.summary or reasoning.generate_summary)
        sealed = body.included("reasoning.encrypted_content")
        self.output = Output(
            manner.id, manner.asked.tooling, summarised=bool(summary), sealed=sealed
        )
        self.dropped = manner.asked.dropped
        self.over = False
        self._manner = manner
        self._finish = "stop"
        self._object: dict[str, Any] = {
            "id": manner.id,
            "object": "response",
            "created_at": int(time.time()),
            "status": IN_PROGRESS,
            "background": bool(body.background),
            "error": None,
            "incomplete_details": None,
            "model": body.model,
            "output": [],
            "reasoning": {
                "effort": reasoning.effort if reasoning else None,
                "summary": summary or None,
            },
            "store": body.stored,
            "usage": None,
            **_echo(body),
        }

    def served_by(self, served: Served) -> None:
        """Who answers."""
        self._object["model"] = served.model
        self.dropped = (*self._manner.asked.dropped, *served.dropped)

    def grow(self, delta: ChatDelta) -> list[Event]:
        """What the delta adds; only one alternative is told."""
        if delta.choice:
            return []
        self._finish = delta.finish_reason or self._finish
        return self.output.grow(delta)

    def so_far(self) -> dict[str, Any]:
        """The object without output, as the first events have it."""
        return self._object

    def end(self, usage: Usage | None) -> dict[str, Any]:
        """The whole object: completed, or incomplete with the reason."""
        reason = _REASONS.get(self._finish)
        if reason is not None:
            self._object["incomplete_details"] = {"reason": reason}
        return self._whole(COMPLETED if reason is None else INCOMPLETE, usage)

    def fail(self, error: XRouterError) -> dict[str, Any]:
        """The object of a response that broke."""
        self._object["error"] = {"code": _code(error), "message": error.message}
        return self._whole(FAILED, None)

    def item_status(self) -> str:
        """Of items that are open at the end."""
        return INCOMPLETE if self._finish in _REASONS else COMPLETED

    def _whole(self, status: str, usage: Usage | None) -> dict[str, Any]:
        whole = self._object
        whole["status"] = status
        whole["output"] = self.output.items
        whole["usage"] = None if usage is None else usage_object(usage)
        if status == COMPLETED:
            whole["completed_at"] = int(time.time())
        self.over = True
        self._manner.ended(Ended(whole, self.output.sealed(), self.dropped))
        return whole


class _Voice(Voice):
    """Has a draft, and refuses in the words of this API."""

    def __init__(self, manner: Manner) -> None:
        self._draft = Draft(manner)
        self._asked = manner.asked
        self.dropped = manner.asked.dropped

    @override
    def refuse(self, error: XRouterError) -> bytes:
        return self._asked.refusal(error)


class WholeVoice(_Voice):
    """Answers with one object."""

    @override
    def answer(self, answer: ChatAnswer, served: Served) -> bytes:
        draft = self._draft
        draft.served_by(served)
        for delta in deltas_of(answer):
            draft.grow(delta)
        draft.output.close(draft.item_status())
        return encode(draft.end(answer.usage))


class StreamVoice(_Voice):
    """Answers with events, numbered from 0."""

    streaming = True

    def __init__(self, manner: Manner) -> None:
        super().__init__(manner)
        self._number = 0

    @override
    def start(self, served: Served) -> bytes:
        self._draft.served_by(served)
        return self._begin()

    @override
    def deltas(self, deltas: list[ChatDelta]) -> bytes:
        grown = [event for delta in deltas for event in self._draft.grow(delta)]
        return self._frames(grown)

    @override
    def end(self, usage: Usage | None) -> bytes:
        draft = self._draft
        events = draft.output.close(draft.item_status())
        whole = draft.end(usage)
        return self._frames([*events, {"type": f"response.{whole['status']}", "response": whole}])

    @override
    def fail(self, error: XRouterError) -> bytes:
        """Also for a stream that only a heartbeat has opened."""
        begun = b"" if self._number else self._begin()
        events = self._draft.output.close(INCOMPLETE)
        whole = self._draft.fail(error)
        return begun + self._frames([*events, {"type": "response.failed", "response": whole}])

    def _begin(self) -> bytes:
        so_far = self._draft.so_far()
        kinds = ("response.created", "response.in_progress")
        return self._frames([{"type": kind, "response": so_far} for kind in kinds])

    def _frames(self, events: list[Event]) -> bytes:
        frames: list[bytes] = []
        for event in events:
            event["sequence_number"] = self._number
            self._number += 1
            frames.append(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), encode(event)))
        return b"".join(frames)


def usage_object(usage: Usage) -> dict[str, Any]:
    """Token counts in this API's words."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens or 0,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _echo(body: ResponsesBody) -> dict[str, Any]:
    """The request's parameters, as the answer repeats them."""
    said: dict[str, Any] = dict.fromkeys(_ECHOED) | _DEFAULTS
    for name in said:
        raw = body.fields.get(name)
        if raw is not None and bytes(raw) != b"null":
            said[name] = msgspec.json.decode(raw)
    return said


def _code(error: XRouterError) -> str:
    if error.code in _CODES:
        return error.code
    if isinstance(error, CallerError):
        return "invalid_prompt"
    return "server_is_overloaded" if error.status in (503, 529) else "server_error"
