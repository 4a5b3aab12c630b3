"""Structured logs: one JSON object a line, on standard error, written by a thread of its own.

A line costs the event loop an append; the writer wakes a few times a second. The buffer is
bounded: when nobody reads, lines are dropped and counted, requests never wait.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import MutableMapping
from typing import Any, TextIO

import msgspec
import structlog
from typing_extensions import override

MAX_LINES = 20_000
WAKE_S = 0.1

log: structlog.stdlib.BoundLogger = structlog.get_logger("xrouter")


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


class _BufferLogger:
    """The end of structlog's chain."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def msg(self, message: str) -> None:
        self._writer.put(message.encode())

    log = debug = info = warning = error = critical = exception = fatal = msg


def configure(writer: LineWriter, level: str) -> None:
    """Send structlog and the standard library's records through the writer.

    level: debug, info, warning or error.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _BufferLogger(writer),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_StandardHandler(writer)]
    root.setLevel(max(number, logging.WARNING))


def _render(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


class _StandardHandler(logging.Handler):
    """Records of libraries, in the same form."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    @override
    def emit(self, record: logging.LogRecord) -> None:
        event = {
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info:
            event["exception"] = logging.Formatter().formatException(record.exc_info)
        self._writer.put(msgspec.json.encode(event))


def console_writer() -> LineWriter:
    """A writer to standard error."""
    return LineWriter(sys.stderr)
