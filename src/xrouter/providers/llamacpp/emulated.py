"""Reads the answers of models that call tools in JSON (see `emulate`), whole or in pieces."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.answer import ChatAnswer, ChatDelta, ToolCallDelta
from xrouter.domain.chat import FunctionCall, ToolCall
from xrouter.domain.usage import new_id

_SAYS = re.compile(r'\s*\{\s*"response"\s*:\s*"')
_OTHER = re.compile(r'\s*\{\s*"(?:response|tool_calls)"\s*:\s*[^\s"]')
_BEGIN = re.compile(r'\s*(?:\{\s*(?:"[a-z_]{0,10}(?:"\s*(?::\s*)?)?)?)?')
"""What may become one of them."""
_TEXT = re.compile(r'(?:[^"\\]+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
_HALF = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")
_LONGEST_ESCAPE = 12
_MAX_HEAD = 200

_string = json.JSONDecoder(strict=False)


class Call(Struct, frozen=True):
    """A call that was read. arguments: JSON text."""

    id: str
    name: str
    arguments: str


class Reading:
    """One alternative. What is not of the demanded form is text."""

    def __init__(self) -> None:
        self._state = "head"
        self._held = ""
        self.calls: list[Call] = []

    def feed(self, text: str) -> str:
        """A piece of what the model says; the part of the answer's text that is known by it."""
        if self._state == "plain":
            return text
        if self._state == "over":
            return ""
        self._held += text
        if self._state == "head":
            self._begin()
        if self._state == "text":
            return self._said()
        return self._all() if self._state == "plain" else ""

    def close(self) -> str:
        """At the end: the rest of the text; `calls` is known then."""
        if self._state in ("text", "over"):
            return ""
        try:
            answer = msgspec.json.decode(self._held)
        except (ValueError, RecursionError):
            return self._all()
        self.calls = _calls_in(answer)
        if self.calls:
            return ""
        if isinstance(answer, dict) and "response" in answer:
            said = answer["response"]
            return said if isinstance(said, str) else msgspec.json.encode(said).decode()
        return self._all()

    def _begin(self) -> None:
        head = _SAYS.match(self._held)
        if head is not None:
            self._state, self._held = "text", self._held[head.end() :]
        elif _OTHER.match(self._held):
            self._state = "whole"
        elif len(self._held) > _MAX_HEAD or not _BEGIN.fullmatch(self._held):
            self._state = "plain"

    def _said(self) -> str:
        """The text that the held part of a JSON string surely is."""
        found = _TEXT.match(self._held)
        end = found.end() if found is not None else 0
        half = _HALF.search(self._held[:end])
        if half is not None and self._held[end : end + 1] in ("", "\\"):
            end = half.start()
        text = _unescaped(self._held[:end])
        self._held = self._held[end:]
        if self._held.startswith('"'):
            self._state = "over"
        elif len(self._held) > _LONGEST_ESCAPE:  # no JSON, whatever it is
            self._state = "plain"
            text += self._all()
        return text

    def _all(self) -> str:
        held, self._held = self._held, ""
        return held


def _unescaped(text: str) -> str:
    """Text of a JSON string; halves of pairs become what cannot be read."""
    if "\\" not in text:
        return text
    value: str = _string.decode(f'"{text}"')
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _calls_in(answer: Any) -> list[Call]:
    """The calls of an answer of the form, [] when it is not of the form or has none."""
    given = answer.get("tool_calls") if isinstance(answer, dict) else None
    calls = []
    for call in given if isinstance(given, list) else ():
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            return []
        arguments = msgspec.json.encode(call.get("arguments") or {}).decode()
        calls.append(Call(new_id("call_"), call["name"], arguments))
    return calls


class Emulated:
    """All alternatives of an answer."""

    def __init__(self) -> None:
        self._readings: dict[int, Reading] = {}

    def whole(self, answer: ChatAnswer) -> ChatAnswer:
        """The answer with its calls as calls."""
        for choice in answer.choices:
            reading, message = Reading(), choice.message
            text = reading.feed(message.content or "")
            text += reading.close()
            message.content = text or None
            if not reading.calls:
                message.content = text
                continue
            message.tool_calls = [
                ToolCall(call.id, "function", FunctionCall(call.name, call.arguments))
                for call in reading.calls
            ]
            if choice.finish_reason == "stop":
                choice.finish_reason = "tool_calls"
        return answer

    def pieces(self, deltas: list[ChatDelta]) -> list[ChatDelta]:
        """The deltas with text instead of JSON, and with calls at the end."""
        told = []
        for delta in deltas:
            if delta.text is not None or delta.finish_reason is not None:
                self._read(delta)
            if delta != ChatDelta(delta.choice):
                told.append(delta)
        return told

    def _read(self, delta: ChatDelta) -> None:
        reading = self._readings.setdefault(delta.choice, Reading())
        text = reading.feed(delta.text or "")
        if delta.finish_reason is not None:
            text += reading.close()
            if reading.calls:
                delta.tool_calls = [
                    ToolCallDelta(index, call.id, call.name, call.arguments)
                    for index, call in enumerate(reading.calls)
                ]
                if delta.finish_reason == "stop":
                    delta.finish_reason = "tool_calls"
        delta.text = text or None
