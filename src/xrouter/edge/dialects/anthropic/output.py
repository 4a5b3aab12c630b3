"""The content of an answer, grown from deltas block by block, and the events of its growth.

Blocks never interleave: one is closed before the next begins. Calls that providers tell side by
side wait for their turn, and text in between waits for the calls.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.answer import ChatDelta, ToolCallDelta
from xrouter.domain.usage import new_id
from xrouter.edge.dialects.anthropic.thoughts import (
    Detail,
    is_open,
    said,
    sealed_block,
    signature_of,
)
from xrouter.edge.dialects.anthropic.types import Block
from xrouter.telemetry.logs import log

Event = dict[str, Any]

TEXT, THINKING, TOOL_USE = "text", "thinking", "tool_use"


class _Call(Struct):
    """A call and the pieces of its input so far."""

    id: str
    name: str
    pieces: list[str] = []

    def input(self) -> dict[str, Any] | None:
        """The input as far as it is known; None when it is no JSON object."""
        text = "".join(self.pieces).strip()
        if not text:
            return {}
        try:
            given = msgspec.json.decode(text)
        except (ValueError, RecursionError):
            return None
        return given if isinstance(given, dict) else None

    def is_whole(self) -> bool:
        """Whether nothing can follow; a call without input may yet get one."""
        ends = bool(self.pieces) and self.pieces[-1].rstrip().endswith("}")
        return ends and self.input() is not None


class Output:
    """blocks: so far. Only the last one grows."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._open: str | None = None
        self._pieces: list[str] = []
        self._detail: Detail = {}
        self._told_apart = False
        """Whether the open thinking was told by `reasoning`, so objects only repeat it."""
        self._calls: dict[int, _Call] = {}
        self._live: _Call | None = None
        self._waiting: list[_Call] = []
        self._held: list[ChatDelta] = []

    @property
    def has_calls(self) -> bool:
        """Whether a tool is called."""
        return bool(self._calls)

    def grow(self, delta: ChatDelta) -> list[Event]:
        """What the delta adds."""
        events: list[Event] = []
        if delta.text or delta.refusal or delta.reasoning or _details(delta):
            if self._calls_go_on():
                self._held.append(delta)
            else:
                events += self._speak(delta)
        for piece in delta.tool_calls or ():
            events += self._call(piece)
        return events

    def close(self) -> list[Event]:
        """Nothing more comes."""
        events = self._turn_calls(last=True)
        for delta in self._held:
            events += self._speak(delta)
        self._held = []
        return events + self._stop()

    def _speak(self, delta: ChatDelta) -> list[Event]:
        events = self._think(delta.reasoning or "", _details(delta))
        for text in (delta.text, delta.refusal):
            if text:
                events += self._say(TEXT, text)
        return events

    def _think(self, text: str, details: list[Detail]) -> list[Event]:
        events: list[Event] = []
        if text and (self._open == THINKING or not any(map(said, details))):
            events += self._say(THINKING, text)
            self._told_apart = True
        for detail in details:
            if is_open(detail):
                events += self._take(detail)
            else:
                block = sealed_block(detail)
                events += [*self._stop(), self._begin(None, block, dict(block)), self._end()]
        return events

    def _take(self, detail: Detail) -> list[Event]:
        """An object with a piece of thinking, or the whole of it once more; a signature ends it."""
        events: list[Event] = []
        text = said(detail)
        repeats = self._told_apart if self._open == THINKING else self._was_told(text)
        if text and not repeats:
            events += self._say(THINKING, text)
        if self._open != THINKING:
            if not detail.get("signature"):
                return events
            events += self._start_thinking()
        self._detail |= {k: v for k, v in detail.items() if v is not None}
        if detail.get("signature"):
            events += self._stop()
        return events

    def _was_told(self, text: str) -> bool:
        thoughts = [block["thinking"] for block in self.blocks if block["type"] == THINKING]
        return bool(thoughts) and thoughts[-1] == text

    def _say(self, kind: str, text: str) -> list[Event]:
        events: list[Event] = []
        if self._open != kind:
            events += self._start_thinking() if kind == THINKING else self._start_text()
        self._pieces.append(text)
        events.append(self._delta({"type": f"{kind}_delta", kind: text}))
        return events

    def _start_text(self) -> list[Event]:
        block = {"type": TEXT, TEXT: ""}
        return [*self._stop(), self._begin(TEXT, block, dict(block))]

    def _start_thinking(self) -> list[Event]:
        block = {"type": THINKING, THINKING: "", "signature": ""}
        events = [*self._stop(), self._begin(THINKING, block, dict(block))]
        self._detail = {}
        self._told_apart = False
        return events

    def _call(self, piece: ToolCallDelta) -> list[Event]:
        call = self._calls.get(piece.index)
        if call is None:
            call = _Call(piece.id or new_id("toolu_"), piece.name or "")
            self._calls[piece.index] = call
            self._waiting.append(call)
        if piece.arguments:
            call.pieces.append(piece.arguments)
            if call is self._live:
                return [self._delta(_json(piece.arguments))]
        return self._turn_calls() if self._waiting else []

    def _calls_go_on(self) -> bool:
        if self._held or self._waiting:
            return True
        return self._live is not None and not self._live.is_whole()

    def _turn_calls(self, *, last: bool = False) -> list[Event]:
        """Let the next call speak when the one before is over. last: all of them are."""
        events: list[Event] = []
        while self._waiting and (last or self._live is None or self._live.is_whole()):
            events += self._stop()
            call = self._live = self._waiting.pop(0)
            block = {"type": TOOL_USE, "id": call.id, "name": call.name, "input": {}}
            events.append(self._begin(TOOL_USE, block, dict(block)))
            if call.pieces:
                events.append(self._delta(_json("".join(call.pieces))))
        return events

    def _begin(self, kind: str | None, block: Block, shown: Block) -> Event:
        self._open = kind
        self._pieces = []
        self.blocks.append(block)
        return self._event("content_block_start", content_block=shown)

    def _stop(self) -> list[Event]:
        """Close the open block, if there is one."""
        kind, self._open = self._open, None
        if kind is None:
            return []
        block = self.blocks[-1]
        events: list[Event] = []
        if kind == TOOL_USE:
            block["input"] = self._input()
        else:
            block[kind] = "".join(self._pieces)
        if kind == THINKING and self._detail:
            signature = block["signature"] = signature_of(self._detail)
            if signature:
                events.append(self._delta({"type": "signature_delta", "signature": signature}))
        return [*events, self._end()]

    def _input(self) -> dict[str, Any]:
        call, self._live = self._live, None
        given = {} if call is None else call.input()
        if given is None:
            log.warning("tool_input_is_no_object", tool=call.name if call else "")
        return given or {}

    def _delta(self, delta: dict[str, Any]) -> Event:
        return self._event("content_block_delta", delta=delta)

    def _end(self) -> Event:
        return self._event("content_block_stop")

    def _event(self, kind: str, **more: Any) -> Event:
        return {"type": kind, "index": len(self.blocks) - 1, **more}


def _details(delta: ChatDelta) -> list[Detail]:
    given = (delta.extra or {}).get("reasoning_details")
    if not isinstance(given, list):
        return []
    return [detail for detail in given if isinstance(detail, dict)]


def _json(piece: str) -> dict[str, Any]:
    return {"type": "input_json_delta", "partial_json": piece}
