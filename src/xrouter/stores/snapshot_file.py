"""The last snapshot on disk, sealed: the gateway can start and answer without the database.

Where there are very many keys, it names and opens the key file beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from xrouter.domain.identity import KeyShelf
from xrouter.domain.snapshot import Snapshot
from xrouter.stores import plain
from xrouter.stores.key_file import KeyFile, KeyFileInfo
from xrouter.stores.vault import Vault
from xrouter.telemetry.logs import log

_CONTEXT = "snapshot-file"
KEY_FILES = "keys-*.sealed"
_KEPT = 2
"""Key files: of the last snapshot, and the one before, which somebody may be about to open."""


class SnapshotFile:
    """Written whole and atomically; unreadable files count as absent, loudly."""

    def __init__(self, path: Path, vault: Vault) -> None:
        self._path = path
        self._vault = vault
        self._named: list[str] = []
        self._open: WeakValueDictionary[str, KeyFile] = WeakValueDictionary()

    def save(self, snapshot: Snapshot) -> None:
        """Replace the file; key files that are in use no more are removed. Raises OSError."""
        self._write(self._vault.seal(msgspec.msgpack.encode(snapshot, enc_hook=_out), _CONTEXT))
        self._remember(snapshot)
        for path in self._path.parent.glob(KEY_FILES):
            if path.name not in self._named:
                path.unlink(missing_ok=True)

    def reseal(self) -> bool:
        """Seal the file with the newest master key; whether it was with another.

        Raises OSError, VaultError.
        """
        try:
            old = self._path.read_bytes()
        except FileNotFoundError:
            return False
        new = self._vault.renewed(old, _CONTEXT)
        if new != old:
            self._write(new)
        return new != old

    def _write(self, data: bytes) -> None:
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
        except FileNotFoundError:
            return None
        except OSError as error:
            self._unreadable(error)
            return None
        try:
            opened = self._vault.open(data, _CONTEXT)
            snapshot = msgspec.msgpack.decode(opened, type=Snapshot, dec_hook=self._in)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, start without it
            self._unreadable(error)
            return None
        self._remember(snapshot)
        return msgspec.structs.replace(snapshot, stale=True)

    def changed(self) -> Callable[[], bool]:
        """A question to be asked again and again: was the file replaced since the last time?"""
        seen = self._stamp()

        def ask() -> bool:
            nonlocal seen
            before, seen = seen, self._stamp()
            return seen != before

        return ask

    def _unreadable(self, error: Exception) -> None:
        log.error("snapshot_file_unreadable", file=self._path.name, error=str(error))

    def _remember(self, snapshot: Snapshot) -> None:
        """Which key file is in use."""
        name = snapshot.shelf.info.name if isinstance(snapshot.shelf, KeyFile) else ""
        if name not in self._named:
            self._named = [*self._named, name][-_KEPT:]

    def _in(self, kind: type, value: Any) -> Any:
        if kind is KeyShelf:
            return self._shelf(msgspec.convert(value, KeyFileInfo, dec_hook=plain.read))
        return plain.read(kind, value)

    def _shelf(self, info: KeyFileInfo) -> KeyFile:
        """The same file is opened once; what is remembered of it stays."""
        shelf = self._open.get(info.name)
        if shelf is None or shelf.info != info:
            self._open[info.name] = shelf = KeyFile(self._path.parent, info)
        return shelf

    def _stamp(self) -> tuple[int, int]:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return (0, 0)
        return (stat.st_ino, stat.st_mtime_ns)


def _out(value: Any) -> Any:
    return value.info if isinstance(value, KeyFile) else plain.written(value)
