"""A history in OpenAI's shape as Anthropic's: system apart, two roles in turn, results first."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.chat import FunctionCall, Message
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.anthropic.content import Block, PartReader, text_block

FORMAT = "anthropic-claude-v1"
"""What marks reasoning that Claude has signed; other models' signatures are refused there."""
_SIGNED_BY_CLAUDE = (None, "", FORMAT)
_THINKING = ("thinking", "redacted_thinking")
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ODD = re.compile(r"[^a-zA-Z0-9_-]")


class History(Struct):
    """system: its blocks. messages: roles in turn, each with blocks. dropped: what was lost."""

    system: list[Block]
    messages: list[dict[str, Any]]
    dropped: set[str]

    def spoken_system(self, more: list[str]) -> str | list[Block] | None:
        """As `system` is sent: plain text unless a block has a mark of the prompt cache."""
        blocks = [*self.system, *(text_block(text) for text in more)]
        if any("cache_control" in block for block in blocks):
            return blocks
        return "\n\n".join(block["text"] for block in blocks) or None

    def called(self) -> list[str]:
        """Names of the tools that were called, each once."""
        blocks = (block for message in self.messages for block in message["content"])
        return list(dict.fromkeys(block["name"] for block in blocks if "input" in block))

    def thinking_is_over(self) -> bool:
        """Whether thinking cannot begin here: the turn goes on that was begun without it."""
        for message in reversed(self.messages):
            content = message["content"]
            if message["role"] == "assistant":
                return content[0]["type"] not in _THINKING
            if content[0]["type"] != "tool_result":
                return False
        return False


def read_history(messages: list[Message]) -> History:
    """Translate. Raises InvalidRequest that names the message at fault."""
    reader = _Reader()
    for index, message in enumerate(messages):
        reader.read(message, f"messages[{index}]")
    return reader.done()


def tool_id(given: str) -> str:
    """An id as Anthropic takes it; the same for a call and its result, others for others."""
    if _ID.fullmatch(given):
        return given
    return f"{_ODD.sub('_', given)[:40]}_{hashlib.sha256(given.encode()).hexdigest()[:16]}"


class _Reader:
    def __init__(self) -> None:
        self._parts = PartReader()
        self._history = History([], [], self._parts.dropped)
        self._legacy = 0

    def read(self, message: Message, where: str) -> None:
        role = message.role
        if message.name is not None and role != "function":
            self._history.dropped.add("messages.name")
        if role in ("system", "developer"):
            self._history.system += self._parts.texts(message.content, f"{where}.content")
        elif role == "user":
            self._user(message, where)
        elif role == "assistant":
            self._put("assistant", self._said(message, where))
        else:
            self._result(message, where)

    def done(self) -> History:
        """Raises InvalidRequest when there is nothing to answer."""
        messages = self._history.messages
        if not messages:
            raise InvalidRequest(
                "There is no message of the user to answer.",
                code="invalid_value",
                param="messages",
            )
        last = messages[-1]
        if last["role"] == "assistant" and last["content"][-1]["type"] == "text":
            last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()
        return self._history

    def _user(self, message: Message, where: str) -> None:
        blocks = self._parts.blocks(message.content, f"{where}.content")
        if not blocks:
            raise InvalidRequest(
                "Anthropic does not take an empty message.",
                code="invalid_value",
                param=f"{where}.content",
            )
        self._put("user", blocks)

    def _said(self, message: Message, where: str) -> list[Block]:
        blocks = self._thoughts(message)
        blocks += self._parts.texts(message.content, f"{where}.content")
        if message.refusal and message.refusal.strip():
            blocks.append(text_block(message.refusal))
        for number, call in enumerate(message.tool_calls or ()):
            if call.function is None:
                raise InvalidRequest(
                    "Calls of custom tools cannot be said to Anthropic.",
                    code="unsupported_value",
                    param=f"{where}.tool_calls[{number}]",
                )
            place = f"{where}.tool_calls[{number}].function.arguments"
            blocks.append(_use(tool_id(call.id), call.function, place))
        if message.function_call is not None:
            self._legacy += 1
            place = f"{where}.function_call.arguments"
            blocks.append(_use(f"call_{self._legacy}", message.function_call, place))
        return blocks

    def _result(self, message: Message, where: str) -> None:
        name = f"call_{self._legacy}" if message.role == "function" else message.tool_call_id or ""
        block: Block = {"type": "tool_result", "tool_use_id": tool_id(name)}
        content = self._parts.blocks(message.content, f"{where}.content")
        if content:
            plain = len(content) == 1 and content[0].keys() == {"type", "text"}
            block["content"] = content[0]["text"] if plain else content
        self._put("user", [block])

    def _put(self, role: str, blocks: list[Block]) -> None:
        """Neighbours of one role are one message; results of tools stand first in theirs."""
        if not blocks:
            return
        messages = self._history.messages
        if not messages or messages[-1]["role"] != role:
            messages.append({"role": role, "content": blocks})
            return
        content: list[Block] = messages[-1]["content"]
        content += blocks
        content.sort(key=lambda block: block["type"] != "tool_result" if role == "user" else 0)

    def _thoughts(self, message: Message) -> list[Block]:
        """What Claude has signed goes back as it was; all other reasoning is not taken there."""
        blocks: list[Block] = []
        for detail in message.reasoning_details or ():
            block = _thought(detail)
            if block is None:
                self._history.dropped.add("messages.reasoning_details")
            else:
                blocks.append(block)
        if (message.reasoning_content or message.reasoning) and not message.reasoning_details:
            self._history.dropped.add("messages.reasoning_content")
        return blocks


def _thought(detail: dict[str, Any]) -> Block | None:
    if detail.get("format") not in _SIGNED_BY_CLAUDE:
        return None
    if detail.get("type") == "reasoning.text" and detail.get("signature"):
        thinking = str(detail.get("text") or "")
        return {"type": "thinking", "thinking": thinking, "signature": detail["signature"]}
    if detail.get("type") == "reasoning.encrypted" and detail.get("data"):
        return {"type": "redacted_thinking", "data": detail["data"]}
    return None


def _use(call_id: str, function: FunctionCall, where: str) -> Block:
    try:
        given = msgspec.json.decode(function.arguments) if function.arguments.strip() else {}
    except (msgspec.DecodeError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise InvalidRequest(f"'{where}' must be a JSON object.", code="invalid_value", param=where)
    return {"type": "tool_use", "id": call_id, "name": function.name, "input": given}
