"""The items of a conversation as the messages of chat completions.

Consecutive calls, and the text and the reasoning before them, are one assistant message; each
output is a tool message. What cannot be said there is refused by its place, or named as given up.
"""

from __future__ import annotations

from typing import Any

from xrouter.domain.errors import InvalidRequest
from xrouter.edge.dialects.responses.body import Item
from xrouter.edge.dialects.responses.reasoning import Thought, unpacked
from xrouter.edge.dialects.responses.tools import arguments_of
from xrouter.edge.mistakes import missing

Message = dict[str, Any]

_TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")
_FILE_KEYS = ("filename", "file_data", "file_id", "file_url")
_MARKS = ("prompt_cache_breakpoint", "cache_control")
"""What a part may carry in any API: it goes on as it is."""


def messages_of(before: list[Item], own: list[Item]) -> tuple[list[Message], list[str]]:
    """The messages, and what of the request's own items was given up.

    before: the conversation that is gone on with. Raises InvalidRequest that names the item at
    fault.
    """
    reader = _Reader()
    for item in before:
        reader.read(item, "previous_response_id")
    reader.dropped.clear()  # that was told when they came
    for index, item in enumerate(own):
        reader.read(item, f"input[{index}]")
    reader.give_up_thought()
    return reader.messages, reader.dropped


class _Reader:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.dropped: list[str] = []
        self._thought: Thought | None = None
        self._thought_at: list[str] = []

    def read(self, item: Item, where: str) -> None:
        kind = item.get("type") or ("message" if "role" in item else None)
        if kind == "message":
            self._message(item, where)
        elif kind == "reasoning":
            self._thought = _together(self._thought, self._read_thought(item, where))
            self._thought_at.append(where)
        elif kind == "function_call":
            self._call(item, where, _text(item, "arguments", where))
        elif kind == "custom_tool_call":
            self._call(item, where, arguments_of(_text(item, "input", where)))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self.give_up_thought()
            output = self._content(item.get("output"), f"{where}.output")
            call_id = _text(item, "call_id", where)
            self.messages.append({"role": "tool", "tool_call_id": call_id, "content": output})
        else:
            raise _unsupported(kind, where)

    def give_up_thought(self) -> None:
        """Reasoning that no message of the assistant follows cannot be said."""
        if self._thought is not None:
            self.dropped += self._thought_at
            self._thought = None
            self._thought_at.clear()

    def _message(self, item: Item, where: str) -> None:
        role = _text(item, "role", where)
        message: Message = {"role": role}
        content = item.get("content")
        if role == "assistant" and isinstance(content, list):
            message |= _said(content, where)
        else:
            message["content"] = self._content(content, f"{where}.content")
        if role == "assistant":
            self._think(message)
        else:
            self.give_up_thought()
        self.messages.append(message)

    def _call(self, item: Item, where: str, arguments: str) -> None:
        call = {
            "id": _text(item, "call_id", where),
            "type": "function",
            "function": {"name": _text(item, "name", where), "arguments": arguments},
        }
        last = self.messages[-1] if self.messages else {}
        if last.get("role") != "assistant":
            last = {"role": "assistant", "content": None}
            self.messages.append(last)
        last.setdefault("tool_calls", []).append(call)
        self._think(last)

    def _think(self, message: Message) -> None:
        """Reasoning belongs to the message that follows it."""
        thought, self._thought = self._thought, None
        self._thought_at.clear()
        if thought is None:
            return
        if thought.text:
            said = message.get("reasoning_content")
            message["reasoning_content"] = f"{said}\n{thought.text}" if said else thought.text
        if thought.details:
            message["reasoning_details"] = message.get("reasoning_details", []) + thought.details

    def _read_thought(self, item: Item, where: str) -> Thought:
        sealed = item.get("encrypted_content")
        if sealed is not None:
            found = unpacked(_text(item, "encrypted_content", where))
            if found is not None:
                return found
            self.dropped.append(f"{where}.encrypted_content")  # it was sealed by somebody else
        texts = [
            _text(part, "text", f"{where}.{name}[{index}]")
            for name in ("summary", "content")
            for index, part in enumerate(_parts(item.get(name) or [], f"{where}.{name}"))
        ]
        return Thought("\n".join(texts))

    def _content(self, content: Any, where: str) -> Any:
        if content is None or isinstance(content, str):
            return content
        return [
            self._part(part, f"{where}[{index}]")
            | {mark: part[mark] for mark in _MARKS if part.get(mark) is not None}
            for index, part in enumerate(_parts(content, where))
        ]

    def _part(self, part: dict[str, Any], where: str) -> dict[str, Any]:
        kind = part.get("type")
        if kind in _TEXTS:
            return {"type": "text", "text": _text(part, "text", where)}
        if kind == "input_image":
            return _image(part, where)
        if kind == "input_file":
            if part.get("detail") is not None:
                self.dropped.append(f"{where}.detail")
            file = {key: part[key] for key in _FILE_KEYS if part.get(key) is not None}
            return {"type": "file", "file": file}
        if kind == "input_audio":
            if not isinstance(part.get("input_audio"), dict):
                raise missing(f"{where}.input_audio")
            return {"type": "input_audio", "input_audio": part["input_audio"]}
        if kind == "refusal":
            return {"type": "text", "text": _text(part, "refusal", where)}
        raise _unsupported(kind, where)


def _together(first: Thought | None, second: Thought) -> Thought:
    """Several reasoning items in a row belong to the same message."""
    if first is None:
        return second
    return Thought(
        "\n".join(filter(None, (first.text, second.text))), first.details + second.details
    )


def _said(parts: list[Any], where: str) -> Message:
    """An assistant's own parts: text and refusals."""
    texts: list[str] = []
    refusals: list[str] = []
    for index, part in enumerate(_parts(parts, f"{where}.content")):
        kind = part.get("type")
        if kind == "refusal":
            refusals.append(_text(part, "refusal", f"{where}.content[{index}]"))
        elif kind in _TEXTS:
            texts.append(_text(part, "text", f"{where}.content[{index}]"))
        else:
            raise _unsupported(kind, f"{where}.content[{index}]")
    message: Message = {"content": "".join(texts) if texts or not refusals else None}
    if refusals:
        message["refusal"] = "".join(refusals)
    return message


def _image(part: dict[str, Any], where: str) -> dict[str, Any]:
    given = part.get("image_url")
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str):
        raise missing(f"{where}.image_url", hint="Stored files ('file_id') are not kept here.")
    image: dict[str, Any] = {"url": url}
    if part.get("detail") is not None:
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _parts(value: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise _wrong_type(where, "a string or an array")
    for index, part in enumerate(value):
        if not isinstance(part, dict):
            raise _wrong_type(f"{where}[{index}]", "an object")
    return value


def _text(item: dict[str, Any], name: str, where: str) -> str:
    value = item.get(name)
    if isinstance(value, str):
        return value
    if value is None:
        raise missing(f"{where}.{name}")
    raise _wrong_type(f"{where}.{name}", "a string")


def _wrong_type(where: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid type for '{where}': expected {wanted}.", code="invalid_type", param=where
    )


def _unsupported(kind: Any, where: str) -> InvalidRequest:
    if kind is None:
        return missing(f"{where}.type")
    return InvalidRequest(
        f"'{str(kind)[:60]}' is not supported in '{where}'.",
        code="unsupported_value",
        param=where,
    )
