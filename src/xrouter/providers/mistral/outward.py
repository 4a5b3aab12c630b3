"""From deltas as the provider means them to deltas as the caller asked for them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from xrouter.domain.answer import ChatDelta, ToolCallDelta, Usage
from xrouter.domain.chat import FunctionCall
from xrouter.providers.mistral.content import Part
from xrouter.providers.mistral.messages import CUSTOM_INPUT
from xrouter.providers.mistral.thinking import detail_of, signature_in

_CACHED = ("num_cached_tokens", "cached_tokens")


class Outward:
    """One alternative of a stream.

    echo: what the answer may repeat at its beginning, and is left out then. custom: functions that
    stand for custom tools: their arguments are held back to the end, to be read whole.
    """

    def __init__(self, echo: str, custom: frozenset[str], *, legacy: bool) -> None:
        self._echo = echo
        self._held = ""
        self._custom = custom
        self._legacy = legacy
        self._inputs: dict[int, list[str]] = {}
        self._thoughts: list[str] = []
        self._signature: str | None = None

    def think(self, content: list[Any]) -> None:
        """Note what a piece says of the thinking that goes on, beside its text."""
        self._signature = signature_in(content) or self._signature

    def turned(self, delta: ChatDelta) -> ChatDelta:
        """The delta, changed in place."""
        over = delta.finish_reason is not None
        if self._echo or self._held:
            self._leave_out(delta, over=over)
        if delta.reasoning:
            self._thoughts.append(delta.reasoning)
        if self._thoughts and (over or delta.text or delta.tool_calls):
            detail = detail_of("".join(self._thoughts), self._signature)
            delta.extra = {**(delta.extra or {}), "reasoning_details": [detail]}
            self._thoughts, self._signature = [], None
        if self._custom:
            self._gather(delta, over=over)
        if self._legacy:
            _make_legacy(delta)
        return delta

    def _leave_out(self, delta: ChatDelta, *, over: bool) -> None:
        """Hold text back as long as it may be the echo; what is none is told after all."""
        text = delta.text or ""
        size = min(len(text), len(self._echo))
        if text[:size] == self._echo[:size]:
            self._held += text[:size]
            self._echo = self._echo[size:]
            text = text[size:]
            if not self._echo:
                self._held = ""
            elif over:
                text, self._held, self._echo = self._held, "", ""
        else:
            text, self._held, self._echo = self._held + text, "", ""
        delta.text = text or None

    def _gather(self, delta: ChatDelta, *, over: bool) -> None:
        told: list[ToolCallDelta] = []
        for piece in delta.tool_calls or ():
            if piece.name in self._custom:
                self._inputs[piece.index] = [piece.arguments]
                told.append(ToolCallDelta(piece.index, piece.id, piece.name, custom=True))
            elif piece.index in self._inputs:
                self._inputs[piece.index].append(piece.arguments)
            else:
                told.append(piece)
        if over:
            told += [
                ToolCallDelta(index, arguments=input_of("".join(texts)), custom=True)
                for index, texts in self._inputs.items()
            ]
            self._inputs = {}
        delta.tool_calls = told or None


def _make_legacy(delta: ChatDelta) -> None:
    for piece in delta.tool_calls or ():
        call = delta.legacy_call or FunctionCall("", "")
        delta.legacy_call = FunctionCall(piece.name or call.name, call.arguments + piece.arguments)
    delta.tool_calls = None
    if delta.finish_reason == "tool_calls":
        delta.finish_reason = "function_call"


def input_of(arguments: str) -> str:
    """The text for a custom tool; what came, when the model did not keep to the one argument."""
    try:
        given = msgspec.json.decode(arguments, type=dict[str, Raw])
        return msgspec.json.decode(given[CUSTOM_INPUT], type=str)
    except (ValueError, RecursionError, KeyError):
        return arguments


def with_cached(usage: Usage) -> Usage:
    """Usage with the cached tokens under any of the names in use, and without nulls."""
    details: Part = {k: v for k, v in (usage.details or {}).items() if v is not None}
    for name in _CACHED:
        value = details.get(name)
        if not usage.cached_tokens and isinstance(value, int) and value > 0:
            usage.cached_tokens = min(value, usage.prompt_tokens)
    usage.details = details
    return usage
