"""The JSON object in what a model says, without the fences and words around it."""

from __future__ import annotations

import re

import msgspec

_MARKS = re.compile(r'["\\{}]')
_MAX_HELD = 1 << 16
_MAX_KEPT = 4 << 20


class JsonText:
    """Lets the first JSON object through, piece by piece.

    held: what was said before it, with no object so far.
    """

    def __init__(self) -> None:
        self.held = ""
        self._kept: list[str] = []
        self._size = 0
        self._depth = 0
        self._quoted = False
        self._escaped = False

    @property
    def begun(self) -> bool:
        """Whether an object has begun."""
        return bool(self._kept)

    @property
    def whole(self) -> bool:
        """Whether a valid object was let through to its end."""
        if self._depth or not self._kept or self._size > _MAX_KEPT:
            return False
        try:
            return isinstance(msgspec.json.decode("".join(self._kept)), dict)
        except (ValueError, RecursionError):
            return False

    def feed(self, text: str) -> str:
        """The next piece of the object."""
        if not self._kept:
            start = text.find("{")
            if start < 0:
                self.held = (self.held + text)[:_MAX_HELD]
                return ""
            text = text[start:]
        elif not self._depth:
            return ""
        piece = text[: self._scan(text)]
        self._size += len(piece)
        if self._size <= _MAX_KEPT:
            self._kept.append(piece)
        return piece

    def _scan(self, text: str) -> int:
        """Where the object ends in the text; the text's length when it goes on."""
        place = 1 if self._escaped else 0
        self._escaped = False
        while (mark := _MARKS.search(text, place)) is not None:
            place = mark.end()
            if mark[0] == '"':
                self._quoted = not self._quoted
            elif mark[0] == "\\":
                self._escaped = self._quoted and place >= len(text)
                place += 1 if self._quoted else 0
            elif not self._quoted:
                self._depth += 1 if mark[0] == "{" else -1
                if not self._depth:
                    return place
        return len(text)
