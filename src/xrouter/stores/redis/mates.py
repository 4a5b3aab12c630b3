"""How many processes share the limits, as far as is known here: kept for the next start, which
may come while Redis is away.
"""

from __future__ import annotations

import os
from pathlib import Path

from xrouter.telemetry.logs import log

FEWER_BEATS = 15
"""For so many in a row Redis must know fewer: after an absence it hears of them one by one."""
MOST = 10_000


class Mates:
    """count: at least 1. It rises at once and falls slowly: too many make small shares, too few
    large ones.
    """

    def __init__(self, least: int = 1, file: Path | None = None) -> None:
        """least: so many there are in any case. file: keeps the number, if it is to be kept."""
        self._least = max(1, least)
        self._file = file
        self._kept = 0 if file is None else _read(file)
        self.count = max(self._least, self._kept)
        self._beats = self._fewer = 0

    def hear(self, count: int) -> None:
        """So many lived just now."""
        if count > self.count:
            self.count = min(count, MOST)

    def beat(self, count: int) -> None:
        """The same, once for each beat."""
        self.hear(count)
        if max(count, self._least) >= self.count:
            self.miss()
            return
        self._beats += 1
        self._fewer = max(self._fewer, count)
        if self._beats >= FEWER_BEATS:
            self.count = max(self._fewer, self._least)
            self.miss()

    def miss(self) -> None:
        """A beat at which Redis was not heard, or there were not fewer."""
        self._beats = self._fewer = 0

    @property
    def is_news(self) -> bool:
        """Whether the file says something else."""
        return self._file is not None and self._kept != self.count

    def keep(self) -> None:
        """Write it down; may block. Failures are logged, once for each number."""
        if self._file is None:
            return
        self._kept = self.count
        fresh = self._file.with_suffix(f".{os.getpid()}.new")
        try:
            fresh.write_text(f"{self._kept}\n", encoding="ascii")
            fresh.replace(self._file)
        except OSError as error:
            log.error("processes_not_noted", error=str(error))


def _read(file: Path) -> int:
    """0 when it is not there, or makes no sense."""
    try:
        return max(0, min(int(file.read_text(encoding="ascii")), MOST))
    except (OSError, ValueError):
        return 0
