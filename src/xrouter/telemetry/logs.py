"""Structured logs: one JSON object a line, on standard error, written by a thread of its own.

    log.error("journal_refused", error=str(error), folder=folder)

A line costs the event loop an append; the writer wakes a few times a second. The buffer is
bounded: when nobody reads, lines are dropped and counted, requests never wait.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec
from typing_extensions import override

MAX_LINES = 20_000
WAKE_S = 0.1

Event = dict[str, Any]


class LineWriter:
    """Writes lines of bytes from a thread. `lines_lost` counts what did not fit."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[bytes] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.lines_lost = 0

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Queue a line without its line end; never waits."""
        if len(self._lines) >= MAX_LINES:
            self.lines_lost += 1
        else:
            self._lines.append(line)

    def stop(self) -> None:
        """Write what is left and end the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
            self._thread = None

    def _run(self) -> None:
        while not self._stop.wait(WAKE_S):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        lines = self._lines
        if not lines:
            return
        batch = [lines.popleft() for _ in range(len(lines))]
        try:
            self._stream.write(b"\n".join(batch).decode("utf-8", "replace") + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self.lines_lost += len(batch)


class Log:
    """Events by name with fields. Until it is given a writer it prints to standard error."""

    def __init__(self) -> None:
        self._writer: LineWriter | None = None
        self._level = logging.INFO
        self._captured: list[Event] | None = None

    def to(self, writer: LineWriter, level: int) -> None:
        """Write lines of at least this level (of `logging`) through the writer."""
        self._writer, self._level = writer, level

    def info(self, event: str, **fields: Any) -> None:
        """Something an operator may want to know."""
        self._put(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Something an operator should look at some day."""
        self._put(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Something that needs an operator."""
        self._put(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """A defect: an error with the traceback of the exception being handled."""
        self._put(logging.ERROR, event, fields | {"exception": traceback.format_exc()})

    @contextmanager
    def captured(self) -> Iterator[list[Event]]:
        """For tests: collect events instead of writing them."""
        before, self._captured = self._captured, []
        try:
            yield self._captured
        finally:
            self._captured = before

    def _put(self, level: int, event: str, fields: Event) -> None:
        name = logging.getLevelName(level).lower()
        if self._captured is not None:
            self._captured.append({"event": event, "log_level": name, **fields})
            return
        if level < self._level:
            return
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = _encode({"time": time, "level": name, "event": event, **fields})
        if self._writer is not None:
            self._writer.put(line)
        else:
            sys.stderr.write(line.decode() + "\n")


log = Log()


def configure(writer: LineWriter, level: str) -> None:
    """Send our events and the standard library's records through the writer.

    level: debug, info, warning or error.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    log.to(writer, number)
    root = logging.getLogger()
    root.handlers[:] = [_StandardHandler()]
    root.setLevel(max(number, logging.WARNING))


class _StandardHandler(logging.Handler):
    """Records of libraries, in the same form."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        fields: Event = {"logger": record.name}
        if record.exc_info:
            fields["exception"] = logging.Formatter().formatException(record.exc_info)
        log._put(record.levelno, record.getMessage(), fields)  # noqa: SLF001 - one module


def _encode(event: Event) -> bytes:
    try:
        return msgspec.json.encode(event, enc_hook=str)
    except (TypeError, ValueError):
        return msgspec.json.encode({name: repr(value) for name, value in event.items()})


def console_writer() -> LineWriter:
    """A writer to standard error."""
    return LineWriter(sys.stderr)
