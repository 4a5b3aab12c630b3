"""Server-sent events, from bytes to events.

Lines may end in LF, CRLF or CR, mixed, and be cut anywhere between chunks. Comments and the fields
`id`, `retry` and unknown ones are swallowed; an event without a data line is none. A CR ends its
line at once; an LF that opens the next chunk belongs to it.

The end of the body ends the last event too: providers exist that forget the final blank line, and
what they said last is often the usage. (Browsers drop such an event.)
"""

from __future__ import annotations

from typing_extensions import override

from xrouter.wire.parser import BOM, MAX_EVENT, MAX_LINE, Parser, too_long
from xrouter.wire.types import Event


class SseParser(Parser):
    """Reads one event stream. The event name is the `event:` field, "" when there is none."""

    __slots__ = ("_begun", "_between", "_data", "_events", "_name", "_size", "_skip_lf", "_tail")

    def __init__(self) -> None:
        self._between = False  # nothing is pending, the next byte begins an event
        self._begun = False
        self._skip_lf = False
        self._tail = bytearray()  # a line without its end
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._events: list[Event] = []

    @override
    def feed(self, chunk: bytes) -> list[Event]:
        if self._between and _is_one_event(chunk):
            return [("", chunk[6:-2])]
        events = self._feed(chunk)
        pending = self._tail or self._data or self._name or self._skip_lf
        self._between = self._begun and not pending
        return events

    def _feed(self, chunk: bytes) -> list[Event]:
        if not self._begun:
            chunk = self._begin(chunk)
        if self._skip_lf and chunk:
            self._skip_lf = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._skip_lf = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" in chunk:
            if self._tail:
                chunk = bytes(self._tail) + chunk
                self._tail.clear()
            self._events = []
            self._text(chunk)
            return self._events
        self._keep(chunk)
        return []

    @override
    def end(self) -> list[Event]:
        self._events = []
        self._line(bytes(self._tail))
        self._tail.clear()
        self._dispatch()
        return self._events

    def _begin(self, chunk: bytes) -> bytes:
        """Take off a byte order mark, which may come in pieces."""
        chunk = bytes(self._tail) + chunk
        self._tail.clear()
        if len(chunk) < len(BOM) and BOM.startswith(chunk):
            self._tail += chunk
            return b""
        self._begun = True
        return chunk.removeprefix(BOM)

    def _text(self, text: bytes) -> None:
        """Read text that contains at least one line end, LF only."""
        if not self._data and not self._name and len(text) <= MAX_LINE:
            cut = text.rfind(b"\n\n")
            if cut >= 0:
                self._blocks(text[:cut])
                text = text[cut + 2 :]
        lines = text.split(b"\n")
        self._keep(lines.pop())
        for line in lines:
            self._line(line)

    def _blocks(self, text: bytes) -> None:
        """Read whole events: the ordinary case, where each is a single data line."""
        append = self._events.append
        for block in text.split(b"\n\n"):
            if b"\n" not in block:
                if block.startswith(b"data: "):
                    append(("", block[6:]))
                elif block:
                    self._line(block)
                    self._dispatch()
            else:
                for line in block.split(b"\n"):
                    self._line(line)
                self._dispatch()

    def _line(self, line: bytes) -> None:
        if not line:
            self._dispatch()
            return
        if len(line) > MAX_LINE:
            raise too_long("a line", MAX_LINE)
        field, _, value = line.partition(b":")
        if field == b"data":
            self._size += len(line)
            if self._size > MAX_EVENT:
                raise too_long("an event", MAX_EVENT)
            self._data.append(value.removeprefix(b" "))
        elif field == b"event":
            self._name = value.removeprefix(b" ").decode("utf-8", "replace")

    def _dispatch(self) -> None:
        if self._data:
            self._events.append((self._name, b"\n".join(self._data)))
            self._data = []
            self._size = 0
        self._name = ""

    def _keep(self, piece: bytes) -> None:
        self._tail += piece
        if len(self._tail) > MAX_LINE:
            raise too_long("a line", MAX_LINE)


def _is_one_event(chunk: bytes) -> bool:
    """The most ordinary chunk of all: a single data line and a blank one."""
    return (
        chunk.startswith(b"data: ")
        and chunk.find(b"\n") == len(chunk) - 2
        and chunk.endswith(b"\n\n")
        and b"\r" not in chunk
        and len(chunk) <= MAX_LINE
    )
