"""The JSON object in what a model said: without the Markdown fences and the words around it."""

from __future__ import annotations

import re

import msgspec

_START = re.compile(r'\{\s*["}]')
_OPEN = re.compile(r"\{\s*$")
_MARKS = re.compile(r'["\\{}\[\]]')
_MAX_TRIES = 64
_MAX_HELD = 1 << 16
_MAX_KEPT = 4 << 20


def is_object(text: str) -> bool:
    """Whether the text is a JSON object and nothing else."""
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (ValueError, RecursionError):
        return False


def outermost_object(text: str) -> str | None:
    """The first outermost JSON object in the text, None when there is none."""
    if is_object(text):
        return text.strip()
    place = 0
    for _ in range(_MAX_TRIES):
        start = _START.search(text, place)
        if start is None:
            return None
        scanner = ObjectStream()
        found = scanner.feed(text[start.start() :])
        if scanner.complete:
            return found
        place = start.start() + 1
    return None


class ObjectStream:
    """Lets the first JSON object of a text through, piece by piece; what is around it stays back.

    complete: the object has ended and is valid. held: what was said before it began.
    """

    def __init__(self) -> None:
        self.held = ""
        self._kept: list[str] = []
        self._size = 0
        self._depth = 0
        self._quoted = False
        self._escaped = False
        self._ended = False

    @property
    def complete(self) -> bool:
        """Whether a valid object was let through to its end."""
        return self._ended and self._size <= _MAX_KEPT and is_object("".join(self._kept))

    def feed(self, text: str) -> str:
        """The next piece of the object."""
        if self._ended:
            return ""
        if not self._kept:
            text = self.held + text
            start = _START.search(text)
            if start is None:
                self.held = self._bounded(text)
                return ""
            self.held, text = "", text[start.start() :]
        piece = text[: self._scan(text)]
        self._size += len(piece)
        if self._size <= _MAX_KEPT:
            self._kept.append(piece)
        return piece

    def _bounded(self, text: str) -> str:
        """Words before the object; of very many only the end, where it may begin."""
        if len(text) <= _MAX_HELD:
            return text
        opened = _OPEN.search(text)
        return "{" if opened is not None else ""

    def _scan(self, text: str) -> int:
        """Where the object ends in the text; the text's length when it goes on."""
        place = 0
        if self._escaped:
            self._escaped, place = False, 1
        while (mark := _MARKS.search(text, place)) is not None:
            place = mark.end()
            sign = mark[0]
            if sign == "\\" and self._quoted:
                self._escaped = place >= len(text)
                place += 1
            elif sign == '"':
                self._quoted = not self._quoted
            elif not self._quoted and sign in "{[":
                self._depth += 1
            elif not self._quoted and sign in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self._ended = True
                    return place
        return len(text)
