"""The history as llama.cpp and the model's template take it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from xrouter.domain.chat import ChatRequest, text_of
from xrouter.domain.errors import InvalidRequest

STRICT = ("false", "true", "plain")
"""Values of `strict_roles`; "plain" besides turns calls of tools and their results into text."""

_JOINT = "\n\n"
_OPENING = "Hello."
"""Said by the user where a history begins with the assistant and the template forbids it."""


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


def repaired(raw: Raw) -> Raw:
    """The messages without what the server chokes on; the very same bytes when all is well.

    Nulls (but for content) and empty lists of calls are left out, calls get their type, and
    `developer` is `system`.
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
    if "tool_calls" in message:
        calls = msgspec.json.decode(message["tool_calls"], type=list[dict[str, Raw]])
        untyped = [call for call in calls if "type" not in call]
        for call in untyped:
            call["type"] = Raw(b'"function"')
        if untyped:
            message["tool_calls"] = Raw(msgspec.json.encode(calls))
            changed = True
    return changed


def _says_nothing(name: str, value: Raw) -> bool:
    text = bytes(value)
    return (text == b"null" and name != "content") or (text == b"[]" and name == "tool_calls")


def in_strict_order(raw: Raw, mode: str) -> list[dict[str, Any]]:
    """One system message, then user and assistant in turns, beginning with the user.

    Turns of tools stay as they are in mode "true", and become text in mode "plain".
    """
    messages: list[dict[str, Any]] = msgspec.json.decode(raw)
    if mode == "plain":
        messages = _without_tools(messages)
    system = [text_of(m.get("content")) for m in messages if m["role"] == "system"]
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] != "system":
            _append(turns, message)
    if not turns:
        return [{"role": "user", "content": _JOINT.join(system)}]
    if turns[0]["role"] != "user":
        turns.insert(0, {"role": "user", "content": _OPENING})
    if any(system):
        turns.insert(0, {"role": "system", "content": _JOINT.join(filter(None, system))})
    return turns


def _append(turns: list[dict[str, Any]], message: dict[str, Any]) -> None:
    """Add a turn, or join it to the last one of the same role."""
    last = turns[-1] if turns else None
    if last is None or last["role"] != message["role"] or not (_joins(last) and _joins(message)):
        turns.append(message)
        return
    first, second = last.get("content"), message.get("content")
    if isinstance(first, list) or isinstance(second, list):
        content: Any = _parts(first) + _parts(second)
    else:
        content = _JOINT.join(filter(None, (first, second)))
    turns[-1] = {**last, "content": content}


def _joins(message: dict[str, Any]) -> bool:
    return message["role"] in ("user", "assistant") and "tool_calls" not in message


def _parts(content: str | list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _without_tools(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names: dict[str, str] = {}
    plain: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] in ("tool", "function"):
            name = names.get(message.get("tool_call_id", "")) or message.get("name") or "the tool"
            text = f"Tool result for {name}: {text_of(message.get('content'))}"
            plain.append({"role": "user", "content": text})
        elif "tool_calls" in message:
            calls = [call["function"] for call in message["tool_calls"]]
            names |= {
                str(call.get("id")): str(call["function"].get("name"))
                for call in message["tool_calls"]
            }
            said = (text_of(message.get("content")), msgspec.json.encode(calls).decode())
            plain.append({"role": "assistant", "content": _JOINT.join(filter(None, said))})
        else:
            plain.append(message)
    return plain
