"""Pieces of tool calls from the compatible API, put in order for OpenAI's clients."""

from __future__ import annotations

from typing import Any

from xrouter.domain.answer import ToolCallDelta
from xrouter.domain.chat import FunctionCall
from xrouter.providers.yandexgpt.payload import arguments_text, as_dict, as_text
from xrouter.providers.yandexgpt.terms import Terms, new_call_id


class _Call:
    """A call that is being told. `waiting`: arguments that came before the name."""

    def __init__(self, given: str | None) -> None:
        self.given = given
        self.index: int | None = None
        self.waiting = ""


class CallPieces:
    """Gives each call one index without gaps, one id, and its name once.

    Empty strings count as absent. A new id at a used index begins a new call.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._calls: dict[int, _Call] = {}
        self._taken: set[str] = set()
        self._latest = -1
        self.count = 0
        self.said: list[FunctionCall] = []

    def feed(self, items: list[Any]) -> list[ToolCallDelta]:
        """The pieces of one chunk."""
        deltas = []
        for item in map(as_dict, items):
            delta = self._piece(item)
            if delta is not None:
                deltas.append(delta)
                self._remember(delta)
        return deltas

    def _piece(self, item: dict[str, Any]) -> ToolCallDelta | None:
        function = as_dict(item.get("function"))
        arguments = function.get("arguments")
        text = "" if arguments is None else arguments_text(arguments)
        call = self._call(item.get("index"), as_text(item.get("id")))
        if call.index is not None:
            return ToolCallDelta(call.index, arguments=text) if text and self._keeps(call) else None
        call.waiting += text
        name = as_text(function.get("name"))
        if name is None:
            return None
        call.index = self.count
        self.count += 1
        if not self._keeps(call):
            return None
        call_id = outward_id(call.given, self._taken, self._terms)
        return ToolCallDelta(call.index, call_id, name, call.waiting)

    def _call(self, index: Any, given: str | None) -> _Call:
        """The call that a piece belongs to; one without an index belongs to the latest."""
        numbered = isinstance(index, int) and not isinstance(index, bool)
        if numbered:
            self._latest = index
        elif given is not None or self._latest < 0:
            self._latest = len(self._calls)
        call = self._calls.get(self._latest)
        if call is None or (given is not None and call.given not in (None, given)):
            call = self._calls[self._latest] = _Call(given)
        call.given = call.given or given
        return call

    def _remember(self, delta: ToolCallDelta) -> None:
        if delta.name is not None:
            self.said.append(FunctionCall(delta.name, delta.arguments))
        elif self.said:
            self.said[-1].arguments += delta.arguments

    def _keeps(self, call: _Call) -> bool:
        """Only the first call goes out where one was asked for."""
        return call.index == 0 or not self._terms.one_call


def outward_id(given: str | None, taken: set[str], terms: Terms) -> str:
    """The id that the caller sees: theirs where it is one, else a new one."""
    usable = given is not None and not terms.own and given not in taken
    chosen = given if usable and given is not None else new_call_id()
    taken.add(chosen)
    return chosen
