"""The items of a conversation as the messages of chat completions.

Consecutive calls, and the text and the reasoning before them, are one assistant message; each
output is a tool message. What cannot be said there is refused by its place, never left out.
"""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.domain.errors import InvalidRequest
from xrouter.edge.dialects.responses.body import Item
from xrouter.edge.dialects.responses.reasoning import Thought, unpacked
from xrouter.edge.dialects.responses.tools import arguments_of
from xrouter.edge.mistakes import missing

Message = dict[str, Any]

_TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")


def messages_of(items: list[Item]) -> list[Message]:
    """Translate. Raises InvalidRequest that names the item at fault."""
    reader = _Reader()
    for index, item in enumerate(items):
        reader.read(item, f"input[{index}]")
    return reader.messages


class _Reader:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._thought: Thought | None = None

    def read(self, item: Item, where: str) -> None:
        kind = item.get("type") or ("message" if "role" in item else None)
        if kind == "message":
            self._message(item, where)
        elif kind == "reasoning":
            self._thought = _together(self._thought, _thought(item))
        elif kind == "function_call":
            self._call(item, where, _text(item, "arguments", where))
        elif kind == "custom_tool_call":
            self._call(item, where, arguments_of(_text(item, "input", where)))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            output = _content(item.get("output"), f"{where}.output")
            call_id = _text(item, "call_id", where)
            self.messages.append({"role": "tool", "tool_call_id": call_id, "content": output})
        else:
            raise _unsupported(kind, where)

    def _message(self, item: Item, where: str) -> None:
        role = _text(item, "role", where)
        message: Message = {"role": role}
        content = item.get("content")
        if role == "assistant" and isinstance(content, list):
            message |= _said(content, where)
        else:
            message["content"] = _content(content, f"{where}.content")
        if role == "assistant":
            self._think(message)
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
        if thought is None:
            return
        if thought.text:
            message["reasoning_content"] = thought.text
        if thought.details:
            message["reasoning_details"] = thought.details


def _together(first: Thought | None, second: Thought) -> Thought:
    """Several reasoning items in a row belong to the same message."""
    if first is None:
        return second
    return Thought(
        "\n".join(filter(None, (first.text, second.text))), first.details + second.details
    )


def _thought(item: Item) -> Thought:
    sealed = item.get("encrypted_content")
    found = unpacked(sealed) if isinstance(sealed, str) else None
    if found is not None:
        return found
    parts = [*_list(item.get("summary")), *_list(item.get("content"))]
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return Thought("\n".join(text for text in texts if isinstance(text, str)))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _said(parts: list[Any], where: str) -> Message:
    """An assistant's own parts: text and refusals."""
    texts: list[str] = []
    refusals: list[str] = []
    for index, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
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


def _content(content: Any, where: str) -> Any:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        return msgspec.json.encode(content).decode()
    return [_part(part, f"{where}[{index}]") for index, part in enumerate(content)]


def _part(part: Any, where: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _TEXTS:
        return {"type": "text", "text": _text(part, "text", where)}
    if kind == "input_image":
        return _image(part, where)
    if kind == "input_file":
        keys = ("filename", "file_data", "file_id", "file_url")
        return {"type": "file", "file": {k: part[k] for k in keys if part.get(k) is not None}}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part.get("input_audio")}
    if kind == "refusal":
        return {"type": "text", "text": _text(part, "refusal", where)}
    raise _unsupported(kind, where)


def _image(part: dict[str, Any], where: str) -> dict[str, Any]:
    given = part.get("image_url")
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str):
        raise missing(f"{where}.image_url", hint="Stored files ('file_id') are not kept here.")
    image: dict[str, Any] = {"url": url}
    if part.get("detail") is not None:
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _text(item: dict[str, Any], name: str, where: str) -> str:
    value = item.get(name)
    if isinstance(value, str):
        return value
    if value is None:
        raise missing(f"{where}.{name}")
    raise InvalidRequest(
        f"Invalid type for '{where}.{name}': expected a string.",
        code="invalid_type",
        param=f"{where}.{name}",
    )


def _unsupported(kind: Any, where: str) -> InvalidRequest:
    if kind is None:
        return missing(f"{where}.type")
    return InvalidRequest(
        f"'{str(kind)[:60]}' is not supported in '{where}'.",
        code="unsupported_value",
        param=where,
    )
