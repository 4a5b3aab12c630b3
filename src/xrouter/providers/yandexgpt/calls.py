"""Tool calls in a history, and which result belongs to which call.

The provider's own models know no ids: results are matched by name, and (inferred) by order where
a function was called twice. Clients always send the assistant's message back, so everything can
be found in the same history and nothing has to be remembered.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from xrouter.domain.chat import FunctionCall, Message
from xrouter.domain.errors import InvalidRequest


class Call(Struct, frozen=True):
    """A call made in the history. order: counts calls through the whole history.

    inward: the id that the compatible API expects: the name, for a repetition (inferred) with a
    suffix.
    where: path of the function's object in the request.
    """

    name: str
    arguments: str
    order: int
    inward: str
    where: str


class CallBook:
    """The calls seen so far, by the ids that the client knows.

    Ids that are used twice in one message (some gateways pass the provider's own on) stand for
    their calls in turn.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, list[Call]] = {}
        self._last: list[Call] = []
        self._count = 0

    def calls_of(self, message: Message, where: str) -> list[Call]:
        """The calls of an assistant's message, remembered from now on."""
        found = [
            self._call(call.function, f"{where}.tool_calls[{index}].function")
            for index, call in enumerate(message.tool_calls or [])
        ]
        if not found and message.function_call is not None:
            found = [self._call(message.function_call, f"{where}.function_call")]
        self._last = _distinct(found)
        named: dict[str, list[Call]] = {}
        for call, given in zip(self._last, message.tool_calls or [], strict=False):
            named.setdefault(given.id, []).append(call)
        self._by_id |= named
        return self._last

    def called_by(self, message: Message, where: str) -> Call:
        """The call that a `tool` (or legacy `function`) message answers."""
        if message.role == "function":
            return self._named(message.name, where)
        if message.tool_call_id:
            calls = self._by_id.get(message.tool_call_id)
            if calls is None:
                raise InvalidRequest(
                    f"'{where}.tool_call_id' does not name a call made earlier in 'messages'.",
                    code="invalid_value",
                    param=f"{where}.tool_call_id",
                )
            return calls[0] if len(calls) == 1 else calls.pop(0)
        if len(self._last) == 1:
            return self._last[0]
        raise InvalidRequest(
            f"Missing required parameter: '{where}.tool_call_id'.",
            code="missing_required_parameter",
            param=f"{where}.tool_call_id",
        )

    def _named(self, name: str | None, where: str) -> Call:
        for call in self._last:
            if call.name == name:
                return call
        raise InvalidRequest(
            f"'{where}.name' does not name a function called just before.",
            code="invalid_value",
            param=f"{where}.name",
        )

    def _call(self, function: FunctionCall | None, where: str) -> Call:
        if function is None:
            raise InvalidRequest(
                "Only calls of functions are supported by this model.",
                code="unsupported_value",
                param=where,
            )
        self._count += 1
        return Call(function.name, function.arguments, self._count, function.name, where)


def _distinct(calls: list[Call]) -> list[Call]:
    """The same calls with their names as ids, told apart by suffixes within the message."""
    taken: set[str] = set()
    renamed = []
    for call in calls:
        inward, number = call.name, 1
        while inward in taken:
            number += 1
            inward = f"{call.name}_{number}"
        taken.add(inward)
        renamed.append(msgspec.structs.replace(call, inward=inward))
    return renamed
