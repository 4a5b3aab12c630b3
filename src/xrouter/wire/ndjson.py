"""One JSON value a line, from bytes to events.

The last line may lack its end; blank lines vanish.
"""

from __future__ import annotations

from typing_extensions import override

from xrouter.wire.parser import BOM, MAX_LINE, Parser, too_long
from xrouter.wire.types import Event


class NdjsonParser(Parser):
    """Reads one stream of lines that end in LF or CRLF. Events have no name."""

    __slots__ = ("_begun", "_tail")

    def __init__(self) -> None:
        self._begun = False
        self._tail = bytearray()  # a line without its end

    @override
    def feed(self, chunk: bytes) -> list[Event]:
        if b"\n" not in chunk:
            self._keep(chunk)
            return []
        if self._tail:
            chunk = bytes(self._tail) + chunk
            self._tail.clear()
        lines = chunk.split(b"\n")
        self._keep(lines.pop())
        return self._events(lines)

    @override
    def end(self) -> list[Event]:
        last = bytes(self._tail)
        self._tail.clear()
        return self._events([last])

    def _events(self, lines: list[bytes]) -> list[Event]:
        if not self._begun:
            self._begun = True
            lines[0] = lines[0].removeprefix(BOM)
        if any(len(line) > MAX_LINE for line in lines):
            raise too_long("a line", MAX_LINE)
        return [("", text) for line in lines if (text := line.strip())]

    def _keep(self, piece: bytes) -> None:
        self._tail += piece
        if len(self._tail) > MAX_LINE:
            raise too_long("a line", MAX_LINE)
