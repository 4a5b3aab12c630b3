"""What the simulated Anthropic insists on in messages: blocks, and the order of calls and results.

Neighbours of one role are one message. Each call is answered in the very next message, whose
results stand before everything else.
"""

from __future__ import annotations

import re
from typing import Any

Block = dict[str, Any]

NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_PARTS = {
    "user": ("text", "image", "document", "tool_result", "search_result"),
    "assistant": ("text", "tool_use", "thinking", "redacted_thinking"),
}
_FIELDS = {
    "text": ("text", "citations"),
    "image": ("source",),
    "document": ("source", "title", "context", "citations"),
    "search_result": ("source", "title", "content", "citations"),
    "tool_use": ("id", "name", "input", "caller"),
    "tool_result": ("tool_use_id", "content", "is_error"),
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
}
_NEEDED = {
    "text": ("text",),
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
    "tool_result": ("tool_use_id",),
}
_UNMARKED = ("thinking", "redacted_thinking")
_SOURCES = {
    "base64": ("media_type", "data"),
    "url": ("url",),
    "file": ("file_id",),
    "text": ("media_type", "data"),
    "content": ("content",),
}
_INSIDE = ("text", "image", "document", "search_result", "tool_reference")


class Refusal(Exception):
    """An answer with this status and message."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def forbid_extra(given: Block, known: tuple[str, ...], where: str) -> None:
    """Raise Refusal for a field that is not known."""
    for name in given:
        if name not in known:
            raise Refusal(f"{where}.{name}: Extra inputs are not permitted")


def read_turns(messages: Any) -> list[tuple[str, list[Block]]]:
    """Roles in turn with their blocks, checked. Raises Refusal."""
    if not isinstance(messages, list) or not messages:
        raise Refusal("messages: at least one message is required")
    turns: list[tuple[str, list[Block]]] = []
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in _PARTS:
            raise Refusal(f'{where}: Unexpected role "{role}". Allowed: user, assistant')
        forbid_extra(message, ("role", "content"), where)
        blocks = _blocks(message.get("content"), _PARTS[role], f"{where}.content")
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    _check_calls(turns)
    _check_end(turns[-1])
    return turns


def check_system(system: Any) -> None:
    """A text or text blocks. Raises Refusal."""
    if system is not None and not isinstance(system, str):
        _blocks(system, ("text",), "system")


def _check_calls(turns: list[tuple[str, list[Block]]]) -> None:
    open_calls: set[str] = set()
    for index, (_, blocks) in enumerate(turns):
        where = f"messages.{index}"
        kinds = [block["type"] == "tool_result" for block in blocks]
        answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if answered - open_calls:
            raise Refusal(
                f"{where}.content.0: unexpected `tool_use_id` found in `tool_result` blocks"
            )
        if open_calls - answered:
            raise Refusal(
                f"{where}: `tool_use` ids were found without `tool_result` blocks immediately after"
            )
        if kinds != sorted(kinds, reverse=True):
            raise Refusal(f"{where}: `tool_result` blocks must come first in the content")
        if len(answered) != sum(kinds):
            raise Refusal(f"{where}: each tool_use must have a single result")
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        open_calls = set(calls)
        if len(open_calls) != len(calls):
            raise Refusal(f"{where}: `tool_use` ids must be unique")
    if open_calls:
        raise Refusal("`tool_use` ids were found without `tool_result` blocks immediately after")


def _check_end(turn: tuple[str, list[Block]]) -> None:
    role, blocks = turn
    text = str(blocks[-1].get("text", ""))
    if role == "assistant" and text != text.rstrip():
        raise Refusal("messages: final assistant content cannot end with trailing whitespace")


def _blocks(content: Any, kinds: tuple[str, ...], where: str) -> list[Block]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list) or not content:
        raise Refusal(f"{where}: all messages must have non-empty content")
    for number, block in enumerate(content):
        kind = block.get("type") if isinstance(block, dict) else None
        if kind not in kinds:
            raise Refusal(f"{where}.{number}: Input tag '{kind}' found using 'type' is unexpected")
        marks = () if kind in _UNMARKED else ("cache_control",)
        forbid_extra(block, ("type", *_FIELDS.get(kind, ()), *marks), f"{where}.{number}.{kind}")
        check_mark(block, f"{where}.{number}.{kind}")
        _check_block(kind, block, f"{where}.{number}")
    found: list[Block] = content
    return found


def _check_block(kind: str, block: Block, where: str) -> None:
    for name in _NEEDED.get(kind, ()):
        if not isinstance(block.get(name), str):
            raise Refusal(f"{where}.{kind}.{name}: Field required")
    if kind == "text":
        if not block["text"]:
            raise Refusal("messages: text content blocks must be non-empty")
        if not block["text"].strip():
            raise Refusal("messages: text content blocks must contain non-whitespace text")
    elif kind in ("image", "document"):
        _check_source(kind, block.get("source"), where)
    elif kind == "tool_use":
        _check_use(block, where)
    elif kind == "tool_result" and isinstance(block.get("content"), list) and block["content"]:
        _blocks(block["content"], _INSIDE, f"{where}.tool_result.content")
    elif kind == "thinking" and not block["signature"]:
        raise Refusal(f"{where}.thinking.signature: Invalid `signature` in `thinking` block")


def _check_use(block: Block, where: str) -> None:
    if not isinstance(block.get("input"), dict):
        raise Refusal(f"{where}.tool_use.input: Input should be a valid dictionary")
    for name in ("id", "name"):
        if not NAME.fullmatch(str(block.get(name))):
            raise Refusal(
                f"{where}.tool_use.{name}: String should match pattern '^[a-zA-Z0-9_-]+$'"
            )


def _check_source(kind: str, source: Any, where: str) -> None:
    of = source.get("type") if isinstance(source, dict) else None
    if of not in _SOURCES or (kind == "image" and of in ("text", "content")):
        raise Refusal(f"{where}.{kind}.source: Field required")
    forbid_extra(source, ("type", *_SOURCES[of]), f"{where}.{kind}.source")
    for name in _SOURCES[of]:
        if not source.get(name):
            raise Refusal(f"{where}.{kind}.source.{of}.{name}: Field required")
    media = str(source.get("media_type", ""))
    fits = {
        ("image", "base64"): media in ("image/jpeg", "image/png", "image/gif", "image/webp"),
        ("document", "base64"): media == "application/pdf",
        ("document", "text"): media == "text/plain",
    }
    if not fits.get((kind, of), True):
        raise Refusal(f"{where}.{kind}.source.{of}.media_type: Input is not a permitted type")


def check_mark(given: Block, where: str) -> None:
    """The mark of the prompt cache. Raises Refusal."""
    mark = given.get("cache_control")
    if mark is None:
        return
    if not isinstance(mark, dict) or mark.get("type") != "ephemeral":
        raise Refusal(f"{where}.cache_control.type: Input should be 'ephemeral'")
    forbid_extra(mark, ("type", "ttl"), f"{where}.cache_control")
