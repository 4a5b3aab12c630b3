"""What was used of quotas and budgets, on disk: for processes that have no database.

One that begins asks for it by a file beside it; whoever has the database answers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from xrouter.domain.ports import Spent
from xrouter.telemetry.logs import log

_decode = msgspec.msgpack.Decoder(list[Spent]).decode


class SpentFile:
    """Written whole and atomically; one that cannot be read counts as absent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._question = path.with_suffix(".asked")
        self._answered = _stamp(self._question)
        self._seen = 0

    def ask(self) -> None:
        """Let it be written anew. Raises OSError."""
        self._question.touch(mode=0o600)

    def asked(self) -> bool:
        """Whether somebody has asked since it was written."""
        return _stamp(self._question) != self._answered

    def write(self, spent: Sequence[Spent]) -> None:
        """Replace it. Raises OSError."""
        answered = _stamp(self._question)
        fresh = self._path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.msgpack.encode(spent))
        fresh.replace(self._path)
        self._answered = answered

    def has_news(self) -> bool:
        """Whether it was written since the last time."""
        before, self._seen = self._seen, _stamp(self._path)
        return self._seen != before

    def read(self) -> list[Spent]:
        """What is in it."""
        try:
            return _decode(self._path.read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            log.error("spent_file_unreadable", error=str(error))
            return []


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
