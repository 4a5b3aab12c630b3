"""The history as the provider takes it: fields cleaned, ids of nine characters, roles in order.

The order it demands: one system message first, then user and assistant in turns; after calls of
tools exactly their results, after results the assistant; last a user, a result, or an assistant's
message that is to be continued.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.chat import ChatRequest, text_of
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.mistral.content import Dropped, Part, chunks_of, content_of, joined, keep
from xrouter.providers.mistral.ids import CallIds
from xrouter.providers.mistral.thinking import FIELDS, thinking_of

BRIDGE = "Done."
"""What the assistant says between the results of tools and the user who speaks at once."""

CUSTOM_INPUT = "input"
"""The one argument of the function that a custom tool becomes."""

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_READ = {
    "system": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset(
        {"role", "content", "tool_calls", "function_call", "refusal", "prefix", *FIELDS}
    ),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
    "function": frozenset({"role", "content", "name"}),
}


class History(Struct):
    """echo: text of the last message, which the answer repeats and the caller does not expect."""

    messages: list[Part]
    echo: str = ""


def history_of(request: ChatRequest, dropped: Dropped, *, thinks: bool) -> History:
    """Translate the messages. Raises InvalidRequest for what can be put into no order."""
    given = msgspec.json.decode(request.fields["messages"], type=list[dict[str, Any]])
    reader = _Reader(_ids_of(request), dropped, thinks=thinks)
    for index, message in enumerate(given):
        reader.read(message, f"messages[{index}]")
    return reader.history(len(given))


def _ids_of(request: ChatRequest) -> CallIds:
    calls = [call.id for message in request.messages for call in message.tool_calls or ()]
    return CallIds(calls + [message.tool_call_id or "" for message in request.messages])


class _Reader:
    """Takes messages one by one."""

    def __init__(self, ids: CallIds, dropped: Dropped, *, thinks: bool) -> None:
        self._ids = ids
        self._dropped = dropped
        self._thinks = thinks
        self._system: str | list[Part] = ""
        self._turns: list[Part] = []
        self._open: dict[str, str] = {}  # id of a call without result -> name of its function

    def read(self, message: Part, where: str) -> None:
        role = str(message["role"])
        if role not in _ROLES:
            raise InvalidRequest(
                f"Invalid value for '{where}.role': '{role[:40]}'.",
                code="invalid_value",
                param=f"{where}.role",
            )
        role = "system" if role == "developer" else role
        message = keep(message, _READ[role], "messages", self._dropped)
        shape = "tool" if role == "function" else role
        content = content_of(message.get("content"), shape, where, self._dropped)
        if role == "system":
            self._system = joined(self._system, content)
        elif role in ("tool", "function"):
            self._result(message, content, where)
        else:
            self._refuse_unanswered(where)
            if role == "user":
                self._user(content)
            else:
                self._assistant(message, content, where)

    def history(self, count: int) -> History:
        """All messages in order. count: how many there were."""
        self._refuse_unanswered(f"messages[{count - 1}]")
        echo = ""
        if not self._turns:
            return History([{"role": "user", "content": self._system}])
        last = self._turns[-1]
        if last["role"] == "assistant":
            text = text_of(last["content"])
            if any(chunk["type"] == "thinking" for chunk in chunks_of(last["content"])):
                self._dropped.add("messages.reasoning_content")
            echo = "" if last.get("prefix") else text
            last |= {"content": text, "prefix": True}
        for turn in self._turns[:-1]:
            if turn.pop("prefix", None):
                self._dropped.add("messages.prefix")
        system = [{"role": "system", "content": self._system}] if self._system else []
        return History(system + self._turns, echo)

    def _user(self, content: str | list[Part]) -> None:
        last = self._turns[-1]["role"] if self._turns else None
        if last == "tool":
            self._turns.append({"role": "assistant", "content": BRIDGE})
        if last == "user":
            self._turns[-1]["content"] = joined(self._turns[-1]["content"], content)
        else:
            self._turns.append({"role": "user", "content": content})

    def _assistant(self, message: Part, content: str | list[Part], where: str) -> None:
        calls = self._calls(message, where)
        refusal = message.get("refusal")
        if isinstance(refusal, str) and refusal:
            content = joined(content, refusal)
        thoughts = thinking_of(message, self._dropped, thinks=self._thinks)
        if thoughts and (content or calls):
            content = thoughts + chunks_of(content)
        if not content and not calls:
            return
        turn: Part = {"role": "assistant", "content": content}
        if self._turns and self._turns[-1]["role"] == "assistant":
            turn = self._turns.pop()
            turn["content"] = joined(turn["content"], content)
        if calls:
            turn["tool_calls"] = calls
        if message.get("prefix") is True:
            turn["prefix"] = True
        self._turns.append(turn)

    def _calls(self, message: Part, where: str) -> list[Part]:
        given = list(message.get("tool_calls") or ())
        legacy = message.get("function_call")
        if legacy is not None and not given:
            given = [{"id": where, "function": legacy}]
        calls = [self._call(one, f"{where}.tool_calls[{n}]") for n, one in enumerate(given)]
        self._open = {call["id"]: call["function"]["name"] for call in calls}
        if len(self._open) < len(calls):
            raise InvalidRequest(
                f"Two calls in '{where}.tool_calls' have the same id.",
                code="invalid_value",
                param=f"{where}.tool_calls",
            )
        return calls

    def _call(self, given: Part, where: str) -> Part:
        place = "messages.tool_calls"
        call = keep(
            given, frozenset({"id", "type", "function", "custom", "index"}), place, self._dropped
        )
        inner = call.get("custom") or call.get("function")
        name = inner.get("name") if isinstance(inner, dict) else None
        if not isinstance(inner, dict) or not isinstance(name, str) or not name:
            raise InvalidRequest(
                f"Missing required parameter: '{where}.function.name'.",
                code="missing_required_parameter",
                param=f"{where}.function.name",
            )
        if call.get("custom"):
            arguments = msgspec.json.encode({CUSTOM_INPUT: inner.get("input") or ""}).decode()
        else:
            keep(inner, frozenset({"name", "arguments"}), f"{place}.function", self._dropped)
            arguments = inner.get("arguments") or "{}"
        return {
            "id": self._ids.of(call.get("id") or where),
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }

    def _result(self, message: Part, content: str | list[Part], where: str) -> None:
        call_id = self._answered(message, where)
        name = message.get("name") or self._open[call_id]
        del self._open[call_id]
        result = {"role": "tool", "content": content, "tool_call_id": call_id, "name": name}
        self._turns.append(result)

    def _answered(self, message: Part, where: str) -> str:
        """The provider's id of the call that a result belongs to."""
        given, name = message.get("tool_call_id"), message.get("name")
        if given:
            field, found = "tool_call_id", [self._ids.of(given)]
        elif message["role"] == "function":
            field, found = "name", [one for one, named in self._open.items() if named == name]
        else:
            field, found = "tool_call_id", list(self._open) if len(self._open) == 1 else []
        if not found or found[0] not in self._open:
            raise InvalidRequest(
                f"'{where}.{field}' names no unanswered call of the assistant's message before it.",
                code="invalid_value",
                param=f"{where}.{field}",
            )
        return found[0]

    def _refuse_unanswered(self, where: str) -> None:
        if self._open:
            raise InvalidRequest(
                "An assistant message with 'tool_calls' must be followed by tool messages "
                "responding to each 'tool_call_id'; there is no result for: "
                f"{', '.join(self._open.values())[:200]}.",
                code="invalid_value",
                param=where,
            )
