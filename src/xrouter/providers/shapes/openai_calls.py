"""Tool calls of services that speak OpenAI's language, whole or in pieces.

Pieces come in many states: without index, with gaps, all with index 0, id and name repeated on
each, arguments as an object, nothing at all for a call without arguments. They leave in one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.domain.answer import ToolCallDelta
from xrouter.domain.chat import FunctionCall, ToolCall
from xrouter.domain.errors import UpstreamMalformed
from xrouter.domain.usage import new_id

MAX_CALLS = 512
NO_ARGUMENTS = "{}"


def whole_calls(items: Any) -> list[ToolCall] | None:
    """The calls of a whole message; None for none. Ids are made up where missing."""
    if not isinstance(items, list) or not items:
        return None
    calls: list[ToolCall] = []
    seen: set[str] = set()
    for item in items[:MAX_CALLS]:
        if not isinstance(item, dict):
            raise _nameless()
        call_id = item.get("id")
        if not isinstance(call_id, str) or not call_id or call_id in seen:
            call_id = new_id("call_")
        seen.add(call_id)
        calls.append(_whole(call_id, item))
    return calls


def _whole(call_id: str, item: dict[str, Any]) -> ToolCall:
    custom = isinstance(item.get("custom"), dict)
    called = item["custom"] if custom else item.get("function")
    name = called.get("name") if isinstance(called, dict) else None
    if not isinstance(called, dict) or not isinstance(name, str) or not name:
        raise _nameless()
    if custom:
        text = arguments_of(called.get("input"))
        return ToolCall(call_id, "custom", custom={**called, "input": text})
    arguments = arguments_of(called.get("arguments")) or NO_ARGUMENTS
    return ToolCall(call_id, "function", FunctionCall(name, arguments))


def legacy_call(value: Any) -> FunctionCall | None:
    """The answer to the legacy `functions`, whole or a piece of it (then the name may be "")."""
    if not isinstance(value, dict):
        return None
    name = value.get("name")
    return FunctionCall(name if isinstance(name, str) else "", arguments_of(value.get("arguments")))


def arguments_of(value: Any) -> str:
    """Arguments as JSON text, "" for none; some services send the object itself."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


class _Call:
    """One call that is being told. index: -1 until the name is known."""

    __slots__ = ("custom", "given_id", "index", "name", "told")

    def __init__(self, given_id: str | None, *, custom: bool) -> None:
        self.given_id = given_id
        self.custom = custom
        self.index = -1
        self.name: str | None = None
        self.told: list[str] = []

    @property
    def complete(self) -> bool:
        """Whether its arguments are JSON already."""
        if not self.told or not self.told[-1].endswith("}"):
            return False
        try:
            msgspec.json.decode("".join(self.told), type=dict[str, msgspec.Raw])
        except ValueError:
            return False
        return True


class _Piece:
    """What one item of `delta.tool_calls` says."""

    __slots__ = ("custom", "given_id", "index", "name", "text", "whole")

    def __init__(self, item: dict[str, Any]) -> None:
        custom = item.get("custom")
        self.custom = isinstance(custom, dict)
        body = custom if self.custom else item.get("function")
        body = body if isinstance(body, dict) else {}
        name, index, given_id = body.get("name"), item.get("index"), item.get("id")
        content = body.get("input" if self.custom else "arguments")
        self.name = name if isinstance(name, str) and name else None
        self.index = index if isinstance(index, int) else None
        self.given_id = given_id if isinstance(given_id, str) and given_id else None
        self.whole = isinstance(content, dict)
        self.text = arguments_of(content)

    def continues(self, call: _Call) -> bool:
        """Whether it belongs to the call of the same index; a repeated name alone says little."""
        if self.given_id is not None and self.given_id == call.given_id:
            return True
        if self.name is None or call.name is None:
            return True
        both_have_ids = self.given_id is not None and call.given_id is not None
        if both_have_ids or self.name != call.name or self.whole or self.index is None:
            return False
        return not (self.text.startswith("{") and call.complete)


class CallPieces:
    """The calls of one alternative of a stream: pieces in, repaired pieces out.

    only_first: calls after the first one are read, but not passed on.
    """

    __slots__ = ("_by_index", "_last", "_only_first", "_opened")

    def __init__(self, *, only_first: bool = False) -> None:
        self._only_first = only_first
        self._by_index: dict[int, _Call] = {}
        self._last: _Call | None = None
        self._opened: list[_Call] = []

    def feed(self, items: Any) -> list[ToolCallDelta]:
        """Read `delta.tool_calls` of one chunk."""
        if not isinstance(items, list):
            return []
        deltas: list[ToolCallDelta] = []
        for item in items:
            if isinstance(item, dict):
                self._read(_Piece(item), deltas)
        return self._wanted(deltas)

    def close(self) -> list[ToolCallDelta]:
        """At the finish: `{}` for calls without arguments. Raises for a call without a name."""
        if self._last is not None and self._last.index < 0:
            raise _nameless()
        silent = [call for call in self._opened if not call.told and not call.custom]
        for call in silent:
            call.told.append(NO_ARGUMENTS)
        return self._wanted([ToolCallDelta(c.index, arguments=NO_ARGUMENTS) for c in silent])

    def _wanted(self, deltas: list[ToolCallDelta]) -> list[ToolCallDelta]:
        return [delta for delta in deltas if delta.index == 0] if self._only_first else deltas

    def _read(self, piece: _Piece, deltas: list[ToolCallDelta]) -> None:
        call = self._find(piece) or self._start(piece)
        if piece.whole and call.told:
            return  # the same call, sent again
        text = piece.text
        if call.index >= 0:
            if text:
                deltas.append(ToolCallDelta(call.index, arguments=text, custom=call.custom))
        elif piece.name is not None:
            call.index, call.name = len(self._opened), piece.name
            self._opened.append(call)
            call_id = call.given_id or new_id("call_")
            deltas.append(ToolCallDelta(call.index, call_id, call.name, text, call.custom))
        elif text:
            raise _nameless()
        if text:
            call.told.append(text)

    def _find(self, piece: _Piece) -> _Call | None:
        """The call that the piece continues, or None when it begins one."""
        if piece.index is None and piece.given_id is not None:
            same = self._with_id(piece.given_id)
            if same is not None:
                return same
        known = self._last if piece.index is None else self._by_index.get(piece.index)
        return known if known is not None and piece.continues(known) else None

    def _start(self, piece: _Piece) -> _Call:
        if len(self._opened) >= MAX_CALLS:
            raise UpstreamMalformed(f"The provider's answer has more than {MAX_CALLS} tool calls.")
        if self._last is not None and self._last.index < 0:
            raise _nameless()
        taken = piece.given_id is not None and self._with_id(piece.given_id) is not None
        call = _Call(None if taken else piece.given_id, custom=piece.custom)
        if piece.index is not None:
            self._by_index[piece.index] = call
        self._last = call
        return call

    def _with_id(self, given_id: str) -> _Call | None:
        return next((call for call in self._opened if call.given_id == given_id), None)


def _nameless() -> UpstreamMalformed:
    return UpstreamMalformed("The provider's answer has a tool call without a name.")
