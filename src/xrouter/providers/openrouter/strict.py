"""Some parties behind OpenRouter are strict about histories, and it passes their refusals on.

Ids of tool calls have to be nine letters and digits there, and no user may speak directly after a
tool's result. Histories that were begun with another model are seldom so.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec
from msgspec import Raw

_REFUSAL = re.compile(
    r"Tool call id was .{0,200} but must be|Unexpected role 'user' after role 'tool'"
)
_FITS = re.compile(r"[a-zA-Z0-9]{9}")
_LENGTH = 9
_BETWEEN = {"role": "assistant", "content": "Done."}

Message = dict[str, Any]


def is_strict(message: str) -> bool:
    """Whether the text of an error is such a refusal."""
    return _REFUSAL.search(message) is not None


def mended(body: bytes) -> bytes | None:
    """The body with a history that they take; None where there is nothing to mend."""
    fields = msgspec.json.decode(body, type=dict[str, Raw])
    given = msgspec.json.decode(fields["messages"], type=list[Message])
    messages: list[Message] = []
    for message in given:
        if message.get("role") == "user" and messages and messages[-1].get("role") == "tool":
            messages.append(_BETWEEN)
        messages.append(_with_short_ids(message))
    if messages == given:
        return None
    fields["messages"] = Raw(msgspec.json.encode(messages))
    return msgspec.json.encode(fields)


def _with_short_ids(message: Message) -> Message:
    if isinstance(message.get("tool_call_id"), str):
        return {**message, "tool_call_id": _short(message["tool_call_id"])}
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    return {**message, "tool_calls": [_with_short_id(call) for call in calls]}


def _with_short_id(call: Any) -> Any:
    if not isinstance(call, dict) or not isinstance(call.get("id"), str):
        return call
    return {**call, "id": _short(call["id"])}


def _short(given: str) -> str:
    """The id as it is where it fits, else the beginning of its hash: calls and results alike."""
    if _FITS.fullmatch(given):
        return given
    return hashlib.sha256(given.encode(errors="replace")).hexdigest()[:_LENGTH]
