"""Anthropic's messages as those of chat completions.

Results of tools become messages of their own, before what else the user says in the same message;
pictures and documents in them follow as what the user says, for tools can only answer with text.
"""

from __future__ import annotations

import re
from typing import Any

from xrouter.domain.errors import InvalidRequest
from xrouter.edge.dialects.anthropic.blocks import (
    PartReader,
    Placed,
    is_foreign,
    kind_of,
    plain,
    text_in,
    unsupported,
)
from xrouter.edge.dialects.anthropic.places import Place
from xrouter.edge.dialects.anthropic.thoughts import detail_of
from xrouter.edge.dialects.anthropic.types import Block, Turn
from xrouter.edge.voice import encode

Message = dict[str, Any]

_ERROR = "Error: "
_STANDS_FOR = {"image_url": "[image: see below]", "file": "[document: see below]"}
_BILLING = "x-anthropic-billing-header:"
_CHANGING = re.compile(r"\bcch=[^;\s]*")


class History:
    """messages: of the chat body; places: where each is from. dropped: what was left out.

    steady: what changes with every request of a coding agent, and nothing reads, is made constant.
    """

    def __init__(self, *, marks: bool, steady: bool) -> None:
        self.messages: list[Message] = []
        self.places: list[Place] = []
        self._reader = PartReader(marks=marks)
        self._steady = steady
        self._spoken: list[Placed] = []

    @property
    def dropped(self) -> list[str]:
        """Names of what was left out."""
        return list(self._reader.dropped)

    def say_system(self, content: str | list[Block], where: str) -> None:
        """A system message. Raises InvalidRequest for anything but text."""
        parts = self._reader.read_all(content, where)
        for placed in parts:
            if placed.part["type"] != "text":
                raise unsupported(placed.part["type"], placed.origin)
        if self._steady and parts:
            self._hold_still(parts[0].part)
        if parts:
            self._put_system(parts, where)

    def read(self, turn: Turn, where: str) -> None:
        """One message. Raises InvalidRequest that names the block at fault."""
        content = turn.content
        if turn.role == "system":
            self.say_system(content, f"{where}.content")
        elif turn.role == "assistant":
            self._assistant(content, where)
        elif isinstance(content, str) or not content:
            self._put({"role": "user", "content": content}, where, [])
        else:
            self._user(content, where)

    def _user(self, blocks: list[Block], where: str) -> None:
        rest: list[Placed] = []
        attached: list[Placed] = []
        for index, block in enumerate(blocks):
            place = f"{where}.content[{index}]"
            if kind_of(block, place) == "tool_result":
                attached += self._result(block, place)
            else:
                rest += self._reader.read(block, place)
        said = [*attached, *rest]
        if said:
            self._put({"role": "user", "content": plain(said)}, where, said)

    def _result(self, block: Block, where: str) -> list[Placed]:
        """A tool's message; what follows as the user's is returned."""
        content = block.get("content")
        if content is not None and not isinstance(content, str | list):
            raise InvalidRequest(
                f"Invalid type for '{where}.content': expected a string or an array.",
                code="invalid_type",
                param=f"{where}.content",
            )
        given = self._reader.read_all(content or "", f"{where}.content")
        self._reader.note_rest(block, "tool_result")
        attached = [placed for placed in given if placed.part["type"] != "text"]
        parts = [_as_text(placed) for placed in given] or [_as_text(Placed({"text": ""}, where))]
        if block.get("is_error"):
            parts[0].part["text"] = _ERROR + parts[0].part["text"]
        self._reader.mark(parts[-1].part, block)
        message = {
            "role": "tool",
            "tool_call_id": text_in(block, "tool_use_id", where),
            "content": plain(parts, "\n"),
        }
        self._put(message, where, parts)
        return attached

    def _assistant(self, content: str | list[Block], where: str) -> None:
        if isinstance(content, str):
            self._put({"role": "assistant", "content": content}, where, [])
            return
        parts: list[Placed] = []
        thoughts: list[Block] = []
        calls: list[dict[str, Any]] = []
        origins: list[str] = []
        for index, block in enumerate(content):
            place = f"{where}.content[{index}]"
            kind = kind_of(block, place)
            if kind in ("thinking", "redacted_thinking"):
                thoughts.append(block)
                self._reader.note_rest(block, kind)
            elif kind == "tool_use":
                calls.append(self._call(block, place))
                origins.append(place)
            elif kind == "text" or is_foreign(kind):
                parts += self._reader.read(block, place)
            else:
                raise unsupported(kind, place)
        if not (parts or calls or thoughts):
            return
        message: Message = {"role": "assistant", "content": plain(parts) if parts else None}
        if not parts and not calls:
            message["content"] = ""
        if calls:
            message["tool_calls"] = calls
        message |= _thinking(thoughts)
        self._put(message, where, parts, origins)

    def _call(self, block: Block, where: str) -> dict[str, Any]:
        given = block.get("input")
        if given is not None and not isinstance(given, dict):
            raise InvalidRequest(
                f"Invalid type for '{where}.input': expected an object.",
                code="invalid_type",
                param=f"{where}.input",
            )
        if block.get("cache_control") is not None:
            self._reader.drop("messages.tool_use.cache_control")
        self._reader.note_rest(block, "tool_use")
        function = {
            "name": text_in(block, "name", where),
            "arguments": encode(given or {}).decode(),
        }
        return {"id": text_in(block, "id", where), "type": "function", "function": function}

    def _hold_still(self, part: dict[str, Any]) -> None:
        text = part["text"]
        if text.startswith(_BILLING):
            line, end, rest = text.partition("\n")
            part["text"] = _CHANGING.sub("cch=00000", line) + end + rest
            if part["text"] != text:
                self._reader.drop("system.cch")

    def _put_system(self, parts: list[Placed], where: str) -> None:
        """Neighbours are one message: many templates take no second one."""
        if self.messages and self.messages[-1]["role"] == "system":
            del self.messages[-1]
            where = self.places.pop().origin
            parts = [*self._spoken, *parts]
        self._spoken = parts
        self._put({"role": "system", "content": plain(parts, "\n\n")}, where, parts)

    def _put(
        self, message: Message, where: str, parts: list[Placed], calls: list[str] | None = None
    ) -> None:
        self.messages.append(message)
        self.places.append(Place(where, [placed.origin for placed in parts], calls or []))


def _thinking(blocks: list[Block]) -> Message:
    """Reasoning as text for everyone, and as objects where a provider has signed it."""
    details = [detail for detail in map(detail_of, blocks) if detail is not None]
    texts = [str(block.get("thinking") or "") for block in blocks]
    text = "\n\n".join(filter(None, texts))
    return {
        **({"reasoning_content": text} if text else {}),
        **({"reasoning_details": details} if details else {}),
    }


def _as_text(placed: Placed) -> Placed:
    """A copy of a text part, or a text that stands for a part that follows."""
    part = placed.part
    if part.get("type", "text") == "text":
        return Placed({**part, "type": "text"}, placed.origin)
    return Placed({"type": "text", "text": _STANDS_FOR[part["type"]]}, placed.origin)
