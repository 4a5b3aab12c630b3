"""Metrics of several processes as one text.

Each process writes what it has counted into a file, about once a second and when it ends.
Whoever is asked adds the files up. What a process that is gone had counted stays in the sums, so
that they never fall while any process lives.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from xrouter.telemetry.logs import log

SUFFIX = ".metrics"
GONE = "gone"
EVERY_S = 1.0
PAUSE = 50.0
"""Rendering takes one part of so many of a process' time at most."""

LARGEST = frozenset({"xrouter_catalog_stale", "xrouter_loop_lag_seconds", "process_max_fds"})
SMALLEST = frozenset({"xrouter_catalog_revision", "xrouter_redis_up", "process_start_time_seconds"})
"""Gauges that are not added up."""

_ADDED = ("_total", "_lost")
_CREATED = "_created"


class _Family(Struct):
    """One metric: its comment lines, its kind and its samples by name and labels."""

    head: list[str]
    kind: str = "untyped"
    samples: dict[str, float] = {}

    def is_count(self, name: str) -> bool:
        """Whether it only ever rises."""
        return self.kind in ("counter", "histogram", "summary") or name.endswith(_ADDED)


def merged(texts: Sequence[str], gone: str = "") -> str:
    """One text of several. gone: counts of processes that have ended."""
    found: dict[str, _Family] = {}
    for text in (*texts, gone):
        for name, family in _families(text):
            known = found.get(name)
            if known is None:
                found[name] = family
                continue
            join = _join(name)
            for key, value in family.samples.items():
                mine = known.samples.get(key)
                known.samples[key] = value if mine is None else join((mine, value))
    return _written(found)


def counts(text: str) -> str:
    """Of a text that which stays when its process ends."""
    kept = {
        name: family
        for name, family in _families(text)
        if family.is_count(name) or name.endswith(_CREATED)
    }
    return _written(kept)


def _join(name: str) -> Callable[[Sequence[float]], float]:
    if name in LARGEST:
        return max
    if name in SMALLEST or name.endswith(_CREATED):
        return min
    return sum


def _families(text: str) -> Iterator[tuple[str, _Family]]:
    name, family = "", None
    for line in text.splitlines():
        if line.startswith("# "):
            _, what, named, rest = line.split(" ", 3)
            if family is None or named != name:
                if family is not None:
                    yield name, family
                name, family = named, _Family([])
            family.head.append(line)
            if what == "TYPE":
                family.kind = rest
        elif line and family is not None:
            key, _, value = line.rpartition(" ")
            family.samples[key] = float(value)
    if family is not None:
        yield name, family


def _written(families: dict[str, _Family]) -> str:
    lines: list[str] = []
    for family in families.values():
        lines += family.head
        lines += [f"{key} {value!r}" for key, value in family.samples.items()]
    return "\n".join(lines) + "\n" if lines else ""


class Tallies:
    """The files, for the processes and for the one that starts and ends them. Calls may block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, text: str) -> None:
        """What a process has counted so far. Raises OSError."""
        path = self._path(name)
        fresh = path.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)

    def retire(self, name: str) -> None:
        """The process is gone; what it had counted stays."""
        with self._locked(fcntl.LOCK_EX):
            text = _read(self._path(name))
            self.write(GONE, merged([counts(text)], _read(self._path(GONE))))
            self._path(name).unlink(missing_ok=True)

    def text(self) -> str:
        """All together."""
        with self._locked(fcntl.LOCK_SH):
            texts = [_read(self._path(name)) for name in self.names()]
            return merged(texts, _read(self._path(GONE)))

    def names(self) -> list[str]:
        """Of the processes that have written something and are not retired."""
        found = sorted(path.stem for path in self._folder.glob("*" + SUFFIX))
        return [name for name in found if name != GONE]

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        fd = os.open(self._folder / "metrics.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, how)
            yield
        finally:
            os.close(fd)

    def _path(self, name: str) -> Path:
        return self._folder / (name + SUFFIX)


class Teller:
    """Writes one process' counts. render: its own text."""

    def __init__(self, tallies: Tallies, name: str, render: Callable[[], bytes]) -> None:
        self._tallies = tallies
        self._name = name
        self._render = render
        self._one_at_a_time = threading.Lock()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            began = time.monotonic()
            await asyncio.to_thread(self.write)
            await asyncio.sleep(max(EVERY_S, PAUSE * (time.monotonic() - began)))

    def write(self) -> None:
        """Once. Failures are logged."""
        with self._one_at_a_time:
            try:
                self._tallies.write(self._name, self._render().decode())
            except OSError as error:
                log.error("metrics_not_written", error=str(error))

    def text(self) -> bytes:
        """Of all processes: our own as it is now, the others' as they last wrote it."""
        self.write()
        return self._tallies.text().encode()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
