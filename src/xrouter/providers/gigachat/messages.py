"""The history in GigaChat's terms.

One system message and only as the first; content always a string; at most one call in an assistant
message, its result right behind it. Several calls of one OpenAI message become as many pairs of
call and result [inferred: not documented, the only form that loses nothing].
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from xrouter.domain.chat import Message, ToolCall, first_other_part, text_of
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.gigachat.names import state_of, upstream_name

Wire = dict[str, Any]
_UNREADABLE = (ValueError, RecursionError)
_MAX_CALLS = 256
_RESULTS = ("tool", "function")


class Call(Struct):
    """A call of the history and, once it is met, the content of its result."""

    id: str
    name: str
    arguments: Raw
    text: str = ""
    result: str | None = None


class History(Struct):
    """All messages read. system: the texts of all system messages. calls: those still open."""

    system: list[str] = []
    turns: list[Wire | Call] = []
    calls: list[Call] = []
    named: bool = False

    def wire(self, instructions: list[str]) -> list[Wire]:
        """The `messages` of the request, with `instructions` added to the system text.

        Raises InvalidRequest when nothing is left to send.
        """
        system = "\n\n".join([*self.system, *instructions])
        messages: list[Wire] = [{"role": "system", "content": system}] if system else []
        for turn in self.turns:
            messages += _pair(turn) if isinstance(turn, Call) else [turn]
        if not messages:
            raise InvalidRequest(
                "'messages' holds no text at all.", code="invalid_value", param="messages"
            )
        return messages


def read_history(messages: list[Message]) -> History:
    """Read all messages. Raises InvalidRequest naming what cannot be said to GigaChat."""
    history = History()
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        text = _text(message, where)
        role = message.role
        history.named = history.named or (message.name is not None and role not in _RESULTS)
        if role in ("system", "developer"):
            if text:
                history.system.append(text)
        elif role == "assistant":
            _read_assistant(history, message, text, where)
        elif role == "user":
            history.turns.append({"role": "user", "content": text})
        elif role == "tool":
            _open_call(history, message, where).result = _as_object(text)
        elif role == "function":
            _open_named(history, message, where).result = _as_object(text)
        else:
            raise InvalidRequest(
                f"Invalid value for '{where}.role': '{role[:40]}'.",
                code="invalid_value",
                param=f"{where}.role",
            )
    return history


def _pair(call: Call) -> list[Wire]:
    said: Wire = {
        "role": "assistant",
        "content": call.text,
        "function_call": {"name": call.name, "arguments": call.arguments},
    }
    state = state_of(call.id)
    if state is not None:
        said["functions_state_id"] = state
    if call.result is None:
        return [said]
    return [said, {"role": "function", "name": call.name, "content": call.result}]


def _text(message: Message, where: str) -> str:
    """The content as a string. Raises InvalidRequest for parts that are no text."""
    content = message.content
    if isinstance(content, list) and message.role == "assistant":
        content = [
            {"type": "text", "text": part.get("refusal")} if part.get("type") == "refusal" else part
            for part in content
        ]
    other = first_other_part(content)
    if other is not None:
        index, kind = other
        raise InvalidRequest(
            f"Content parts of type '{kind[:40]}' are not supported for GigaChat; only text is.",
            code="unsupported_value",
            param=f"{where}.content[{index}]",
        )
    return text_of(content) or message.refusal or ""


def _read_assistant(history: History, message: Message, text: str, where: str) -> None:
    if len(message.tool_calls or ()) > _MAX_CALLS:
        raise InvalidRequest(
            f"'{where}.tool_calls' may hold {_MAX_CALLS} calls at most.",
            code="array_above_max_length",
            param=f"{where}.tool_calls",
        )
    calls = [
        _call(call, f"{where}.tool_calls[{index}]")
        for index, call in enumerate(message.tool_calls or ())
    ]
    if message.function_call is not None and not calls:
        function = ToolCall(function=message.function_call)
        calls = [_call(function, where, "function_call")]
    if not calls:
        history.turns.append({"role": "assistant", "content": text})
        return
    calls[0].text = text
    history.turns += calls
    history.calls = calls


def _call(call: ToolCall, where: str, field: str = "function") -> Call:
    if call.function is None:
        raise InvalidRequest(
            f"Tool calls of type '{call.type[:40]}' are not supported for GigaChat.",
            code="unsupported_value",
            param=f"{where}.type",
        )
    arguments = call.function.arguments.strip() or "{}"
    if not isinstance(_parsed(arguments), dict):
        raise InvalidRequest(
            f"'{where}.{field}.arguments' must be the text of a JSON object: "
            "GigaChat takes the arguments of earlier calls as objects.",
            code="invalid_value",
            param=f"{where}.{field}.arguments",
        )
    name = upstream_name(call.function.name)
    return Call(id=call.id, name=name, arguments=Raw(arguments.encode()))


def _open_call(history: History, message: Message, where: str) -> Call:
    """The unanswered call that a tool message belongs to."""
    unanswered = [call for call in history.calls if call.result is None]
    if not message.tool_call_id and len(unanswered) == 1:
        return unanswered[0]
    for call in unanswered:
        if message.tool_call_id and call.id == message.tool_call_id:
            return call
    raise InvalidRequest(
        f"'{where}.tool_call_id' names no unanswered call of a preceding assistant message.",
        code="invalid_value",
        param=f"{where}.tool_call_id",
    )


def _open_named(history: History, message: Message, where: str) -> Call:
    """The unanswered call that a legacy function message belongs to."""
    for call in history.calls:
        if call.result is None and message.name and call.name == upstream_name(message.name):
            return call
    raise InvalidRequest(
        f"'{where}.name' does not name the function of a preceding unanswered call.",
        code="invalid_value",
        param=f"{where}.name",
    )


def _as_object(text: str) -> str:
    """The result of a function as the text of a JSON object, which is all GigaChat accepts."""
    value = _parsed(text)
    if isinstance(value, dict):
        return text
    if value is _NO_JSON:
        return msgspec.json.encode({"result": text}).decode()
    return f'{{"result":{text.strip()}}}'


_NO_JSON = object()


def _parsed(text: str) -> Any:
    """The JSON value, or _NO_JSON."""
    try:
        return msgspec.json.decode(text)
    except _UNREADABLE:
        return _NO_JSON
