"""The history in GigaChat's terms.

One system message and only as the first; content always a string; at most one call in an assistant
message, its result right behind it. Several calls of one OpenAI message become as many pairs of
call and result [inferred: not documented, the only form that loses nothing]. A message has one
attachment at most: a user's message with several files becomes as many messages.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from xrouter.domain.chat import Fields, Message, ToolCall, first_other_part, text_of
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.gigachat.media import Media, read_media
from xrouter.providers.gigachat.names import state_of, upstream_name

Wire = dict[str, Any]
_UNREADABLE = (ValueError, RecursionError)
_MAX_CALLS = 256
_RESULTS = ("tool", "function")
_MAX_DROPPED = 32
_MAX_NAME = 40
_TEXT_KEYS = frozenset({"type", "text", "refusal"})
_DETAILS = ("auto", None)
_KEYS = frozenset(Message.__struct_fields__)
_EMPTY = (b"null", b"[]", b"{}", b'""')


class Call(Struct):
    """A call of the history and, once it is met, the content of its result."""

    id: str
    name: str
    arguments: Raw
    text: str = ""
    result: str | None = None


class History(Struct):
    """All messages read. system: the texts of all system messages. calls: those still open.

    media: files to be uploaded; each one's id belongs into the `attachments` of its message, which
    is one of `turns`. dropped: paths of what could not be said.
    """

    system: list[str] = []
    turns: list[Wire | Call] = []
    calls: list[Call] = []
    media: list[Media] = []
    dropped: list[str] = []

    def drop(self, path: str) -> None:
        """Name what could not be said, once."""
        if path not in self.dropped and len(self.dropped) < _MAX_DROPPED:
            self.dropped.append(path)

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


def read_history(messages: list[Message], *, fetch_images: bool = False) -> History:
    """Read all messages. Raises InvalidRequest naming what cannot be said to GigaChat.

    fetch_images: whether images may be named by http address.
    """
    history = History()
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = message.role
        _note_dropped(history, message)
        if role == "user" and isinstance(message.content, list):
            _read_parts(history, message.content, where, fetch=fetch_images)
            continue
        text = _text(message, where)
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


def note_unknown(history: History, fields: Fields) -> None:
    """Name the keys of messages, as the client wrote them, that no message has here."""
    for message in msgspec.json.decode(fields["messages"], type=list[dict[str, Raw]]):
        for key, value in message.items():
            if key not in _KEYS and bytes(value) not in _EMPTY:
                history.drop(f"messages.{key[:_MAX_NAME]}")


def _note_dropped(history: History, message: Message) -> None:
    if message.name is not None and message.role not in _RESULTS:
        history.drop("messages.name")
    if message.reasoning_content or message.reasoning:
        history.drop("messages.reasoning_content")
    if message.reasoning_details:
        history.drop("messages.reasoning_details")
    if message.refusal and text_of(message.content):
        history.drop("messages.refusal")
    for part in message.content if isinstance(message.content, list) else ():
        for path in _lost_of(part):
            history.drop(f"messages.{path}")


def _lost_of(part: dict[str, Any]) -> list[str]:
    """What of a content part does not go out."""
    if part.get("type") in ("text", "input_text", "refusal"):
        return [key[:_MAX_NAME] for key, value in part.items() if value and key not in _TEXT_KEYS]
    lost = ["cache_control"] if part.get("cache_control") else []
    image = part.get("image_url")
    detail = image.get("detail") if isinstance(image, dict) else part.get("detail")
    return lost if detail in _DETAILS else [*lost, "image_url.detail"]


def _read_parts(history: History, parts: list[dict[str, Any]], where: str, *, fetch: bool) -> None:
    """A user's message of parts: as many messages as it has files, and one at least.

    Text stays with the file before it. A file without text is called by its kind: whether a
    message may be empty is not documented.
    """
    turn: Wire = {"role": "user", "content": ""}
    history.turns.append(turn)
    texts: list[str] = []
    filled = False
    for index, part in enumerate(parts):
        path = f"{where}.content[{index}]"
        kind = part.get("type")
        if kind in ("text", "input_text"):
            if isinstance(part.get("text"), str):
                texts.append(part["text"])
                turn["content"] = "\n".join(texts) or turn["content"]
            continue
        if filled:
            turn, texts = {"role": "user", "content": ""}, []
            history.turns.append(turn)
        media = read_media(part, path, turn, fetch=fetch)
        if media is None:
            raise _no_text(str(kind), path)
        turn["content"] = "\n".join(texts) or f"[{media.kind}]"
        history.media.append(media)
        filled = True


def _no_text(kind: str, where: str) -> InvalidRequest:
    return InvalidRequest(
        f"Content parts of type '{kind[:40]}' are not supported for GigaChat here.",
        code="unsupported_value",
        param=where,
    )


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
        raise _no_text(kind, f"{where}.content[{index}]")
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
