"""The last snapshot on disk, sealed: the gateway can start and answer without the database."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from xrouter.domain.secret import Secret
from xrouter.domain.snapshot import Snapshot
from xrouter.stores.vault import Vault
from xrouter.telemetry.logs import log

_CONTEXT = "snapshot-file"


class SnapshotFile:
    """Written whole and atomically; unreadable files count as absent, loudly."""

    def __init__(self, path: Path, vault: Vault) -> None:
        self._path = path
        self._vault = vault

    def save(self, snapshot: Snapshot) -> None:
        """Replace the file. Raises OSError."""
        data = self._vault.seal(msgspec.msgpack.encode(snapshot, enc_hook=_out), _CONTEXT)
        fresh = self._path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

    def load(self) -> Snapshot | None:
        """The saved snapshot, marked stale; None when there is none that can be read."""
        try:
            data = self._path.read_bytes()
            plain = self._vault.open(data, _CONTEXT)
            snapshot = msgspec.msgpack.decode(plain, type=Snapshot, dec_hook=_in)
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, start without it
            log.error("snapshot_file_unreadable", file=self._path.name, error=str(error))
            return None
        return msgspec.structs.replace(snapshot, stale=True)

    def changed(self) -> Callable[[], bool]:
        """A question to be asked again and again: was the file replaced since the last time?"""
        seen = self._stamp()

        def ask() -> bool:
            nonlocal seen
            before, seen = seen, self._stamp()
            return seen != before

        return ask

    def _stamp(self) -> tuple[int, int]:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return (0, 0)
        return (stat.st_ino, stat.st_mtime_ns)


def _out(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(type(value).__name__)


def _in(kind: type, value: Any) -> Any:
    if kind is Secret:
        return Secret(value)
    raise NotImplementedError(kind.__name__)
