"""The history in the order that a model's chat template demands."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec
from msgspec import Raw

from xrouter.domain.chat import text_of
from xrouter.providers.llamacpp.template import Template

Messages = list[dict[str, Any]]

_JOINT = "\n\n"
_FILLERS = {"user": "Hello.", "assistant": "OK."}
"""Said where the template demands a turn that the history has not."""
_GO_ON = {"role": "user", "content": "Go on."}
"""Said where the server could not continue what the assistant said: in an answer of a schema."""

_NINE = re.compile(r"[A-Za-z0-9]{9}")


def arranged(raw: Raw, template: Template, instruction: str = "") -> Raw | Messages:
    """The messages as the template takes them; the very same bytes where it takes all.

    instruction: what is to be said by the system besides.
    """
    if template.late_system and template.tools and not template.nine and not instruction:
        return raw
    messages: Messages = msgspec.json.decode(raw)
    if not template.tools:
        messages = _without_tools(messages)
    if template.nine:
        _shorten_ids(messages)
    if instruction and messages[-1]["role"] == "assistant":
        messages.append(dict(_GO_ON))
    if template.late_system:
        return _with_instruction(messages, instruction)
    system = [text_of(m.get("content")) for m in messages if _is_system(m)] + [instruction]
    turns = [message for message in messages if not _is_system(message)]
    if template.turns:
        turns = _in_turns(turns)
    return _with_system(turns, _JOINT.join(filter(None, system)), template)


def _is_system(message: dict[str, Any]) -> bool:
    return bool(message["role"] == "system")


def _with_instruction(messages: Messages, instruction: str) -> Messages:
    """The instruction said first of all, together with a system message that is there already."""
    if not instruction:
        return messages
    spoken = {"role": "system", "content": instruction}
    if messages and _is_system(messages[0]):
        return [_joined(messages[0], spoken), *messages[1:]]
    return [spoken, *messages]


def _with_system(turns: Messages, system: str, template: Template) -> Messages:
    """The system's words at the beginning, or said by the user where the template has no system.

    Words of the system alone are said by the user, too: some templates would drop them.
    """
    if not system:
        return turns
    if not turns:
        return [{"role": "user", "content": system}]
    if template.system:
        return [{"role": "system", "content": system}, *turns]
    spoken = {"role": "user", "content": system}
    if turns[0]["role"] != "user":
        return [spoken, *turns]
    return [_joined(spoken, turns[0]), *turns[1:]]


def _in_turns(messages: Messages) -> Messages:
    """User and assistant in turns, the user first; calls of tools and results do not count."""
    turns: Messages = []
    expected = "user"
    for message in messages:
        role = message["role"]
        last = turns[-1] if turns else None
        if last is not None and last["role"] == role and role in _FILLERS:
            turns[-1] = _joined(last, message)
            if "tool_calls" in message and "tool_calls" not in last:
                expected = role  # it was counted, and is a call now
            continue
        if role in _FILLERS and "tool_calls" not in message:
            if role != expected:
                turns.append({"role": expected, "content": _FILLERS[expected]})
            expected = "assistant" if role == "user" else "user"
        elif not turns:
            turns.append({"role": "user", "content": _FILLERS["user"]})
            expected = "assistant"
        turns.append(message)
    return turns


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two messages of one role as one."""
    said, more = first.get("content"), second.get("content")
    if isinstance(said, list) or isinstance(more, list):
        content: Any = _parts(said) + _parts(more)
    else:
        content = _JOINT.join(filter(None, (said, more)))
    calls = [*first.get("tool_calls", ()), *second.get("tool_calls", ())]
    return {**first, **second, "content": content} | ({"tool_calls": calls} if calls else {})


def _parts(content: str | list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _without_tools(messages: Messages) -> Messages:
    """Calls of tools and their results as text."""
    names: dict[str, str] = {}
    plain: Messages = []
    for message in messages:
        if message["role"] in ("tool", "function"):
            name = names.get(message.get("tool_call_id", "")) or message.get("name") or "the tool"
            text = f"Tool result for {name}: {text_of(message.get('content'))}"
            plain.append({"role": "user", "content": text})
        elif "tool_calls" in message:
            calls = [call["function"] for call in message["tool_calls"]]
            ids = [str(call.get("id")) for call in message["tool_calls"]]
            names |= dict(zip(ids, (str(call.get("name")) for call in calls), strict=True))
            said = (text_of(message.get("content")), _as_text(calls))
            plain.append({"role": "assistant", "content": _JOINT.join(filter(None, said))})
        else:
            plain.append(message)
    return plain


def _as_text(calls: list[dict[str, Any]]) -> str:
    """Calls as the model is told to write them."""
    told = [{"name": call.get("name"), "arguments": _value(call)} for call in calls]
    return msgspec.json.encode({"tool_calls": told}).decode()


def _value(call: dict[str, Any]) -> Any:
    given = call.get("arguments")
    try:
        return msgspec.json.decode(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        return given


def _shorten_ids(messages: Messages) -> None:
    for message in messages:
        if "tool_call_id" in message:
            message["tool_call_id"] = nine(message["tool_call_id"])
        for call in message.get("tool_calls", ()):
            call["id"] = nine(call.get("id"))


def nine(call_id: Any) -> str:
    """An id of nine letters and digits, always the same for the same id."""
    text = str(call_id or "")
    if _NINE.fullmatch(text):
        return text
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:9]
