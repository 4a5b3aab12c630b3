r"""Tool calls that leak into the text instead of being calls.

    [TOOL_CALL_START]name\n{...}[TOOL_CALL_END]     with the last mark missing at times
    ```name\n{...}\n```                             a fence with the tool's name as language
    ```json\n{"name": ..., "arguments": {...}}\n```  only where it is the whole answer

They are taken for calls only when they are nothing but calls of tools that were offered, whole
and with objects for arguments; everything else stays the text that it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from xrouter.domain.chat import FunctionCall

CALL_BEGINS = "[TOOL_CALL_START]"
CALL_ENDS = "[TOOL_CALL_END]"
"""The latter also leaks by itself, where tools are required."""

JSON_FENCE = "```json\n"

_HEAD = re.compile(r"\s*(\[TOOL_CALL_START\]|```)[ \t]*([\w.-]{1,64})\s*")
_TAIL = re.compile(r"\s*(\[TOOL_CALL_END\]|```)?\s*")
_MOST = 64
_decode = json.JSONDecoder().raw_decode


def openers(names: Collection[str]) -> tuple[str, ...]:
    """What a leaked call of one of these tools begins with, wherever in the text."""
    fences = [f"```{name}\n" for name in names if name != "json"]
    return (CALL_BEGINS, *fences) if names else ()


def recovered(text: str, names: Collection[str]) -> list[FunctionCall]:
    """The calls that the text is, [] when it is anything else."""
    calls: list[FunctionCall] = []
    at = 0
    while at < len(text) and len(calls) < _MOST:
        head = _HEAD.match(text, at)
        if head is None:
            return []
        try:
            value, end = _decode(text, head.end())
        except (ValueError, RecursionError):
            return []
        call = _call(head[2], text[head.end() : end], value, names)
        tail = _TAIL.match(text, end)
        if call is None or tail is None or (head[1] == "```") != (tail[1] == "```"):
            return []
        calls.append(call)
        at = tail.end()
    return calls if at >= len(text) else []


def _call(name: str, written: str, value: Any, names: Collection[str]) -> FunctionCall | None:
    if not isinstance(value, dict):
        return None
    if name in names:
        return FunctionCall(name, written)
    inner = value.get("name")
    arguments = value.get("arguments")
    if name != "json" or set(value) != {"name", "arguments"} or not isinstance(arguments, dict):
        return None
    if not isinstance(inner, str) or inner not in names:
        return None
    return FunctionCall(inner, json.dumps(arguments, ensure_ascii=False))
