"""The history as llama.cpp's server takes it, whatever the model."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest

_PARTS = {
    "text": None,
    "image_url": "vision",
    "input_audio": "audio",
    "input_video": "vision",
    "video_url": "vision",
}
"""Content parts that the server reads, and what the model must be able to for them."""


def refuse_custom_calls(request: ChatRequest) -> None:
    """The server knows only functions, in the history too."""
    for index, message in enumerate(request.messages):
        for number, call in enumerate(message.tool_calls or ()):
            if call.type != "function":
                raise InvalidRequest(
                    f"Tool calls of type '{call.type}' are not supported by this model; "
                    "only 'function' is.",
                    code="unsupported_value",
                    param=f"messages[{index}].tool_calls[{number}].type",
                )


def refuse_parts(request: ChatRequest) -> None:
    """Content that the server reads for no model (files)."""
    for param, kind in _kinds(request):
        if kind not in _PARTS:
            raise InvalidRequest(
                f"Content of type '{kind}' is not supported by this model.",
                code="unsupported_value",
                param=param,
            )


def refuse_unseen(request: ChatRequest, *, vision: bool, audio: bool) -> None:
    """Pictures for a model that does not see, sounds for one that does not hear."""
    able = {"vision": vision, "audio": audio}
    for param, kind in _kinds(request):
        if not able.get(_PARTS.get(kind) or "", True):
            raise InvalidRequest(
                f"This model does not take content of type '{kind}'.",
                code="unsupported_value",
                param=param,
                hint="For the operator: the server was started without a projector (--mmproj).",
            )


def _kinds(request: ChatRequest) -> list[tuple[str, str]]:
    """Every content part: where it is, and its type."""
    return [
        (f"messages[{index}].content[{place}]", str(part.get("type")))
        for index, message in enumerate(request.messages)
        if isinstance(message.content, list)
        for place, part in enumerate(message.content)
    ]


def has_media(request: ChatRequest) -> bool:
    """Whether there is anything but text in the history."""
    return any(_PARTS.get(kind) for _, kind in _kinds(request))


def repaired(raw: Raw) -> Raw:
    """The messages without what the server chokes on; the very same bytes when all is well.

    Nulls (but for content) and empty lists of calls are left out, calls get their type and at
    least empty arguments, `developer` is `system`, `reasoning` is called as the server calls it,
    and a refusal is what the assistant said.
    """
    messages = msgspec.json.decode(raw, type=list[dict[str, Raw]])
    changed = False
    for message in messages:
        changed |= _repair(message)
    return Raw(msgspec.json.encode(messages)) if changed else raw


def _repair(message: dict[str, Raw]) -> bool:
    """Whether anything had to be changed."""
    empty = [name for name, value in message.items() if _says_nothing(name, value)]
    for name in empty:
        del message[name]
    changed = bool(empty)
    if bytes(message["role"]) == b'"developer"':
        message["role"] = Raw(b'"system"')
        changed = True
    changed |= _rename(message, "reasoning", "reasoning_content")
    changed |= _rename(message, "refusal", "content")
    if "tool_calls" in message:
        changed |= _repair_calls(message)
    return changed


def _rename(message: dict[str, Raw], name: str, known: str) -> bool:
    """Put a field that the server does not read into one that it reads, unless that is set."""
    if name not in message:
        return False
    value = message.pop(name)
    if bytes(message.get(known, Raw(b"null"))) in (b"null", b'""'):
        message[known] = value
    return True


def _repair_calls(message: dict[str, Raw]) -> bool:
    calls = msgspec.json.decode(message["tool_calls"], type=list[dict[str, Any]])
    changed = False
    for call in calls:
        if "type" not in call:
            call["type"] = "function"
            changed = True
        function = call.get("function")
        if isinstance(function, dict) and not _has_arguments(function):
            function["arguments"] = "{}"
            changed = True
    if changed:
        message["tool_calls"] = Raw(msgspec.json.encode(calls))
    return changed


def _has_arguments(function: dict[str, Any]) -> bool:
    """Whether there are any; {} as an object are."""
    given = function.get("arguments")
    return isinstance(given, dict) or bool(given.strip() if isinstance(given, str) else given)


def _says_nothing(name: str, value: Raw) -> bool:
    text = bytes(value)
    return (text == b"null" and name != "content") or (text == b"[]" and name == "tool_calls")
