"""One server for each data folder, and how the command line finds it.

The server holds a file lock for as long as it lives; the file says where it listens. A second
server, or a command that would write to the same SQLite file, sees the lock.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

import msgspec
from msgspec import Struct

from xrouter.domain.secret import Secret

LOCK = "server.lock"
TOKEN = "admin.token"  # noqa: S105 - a file's name


def url_of(host: str, port: int) -> str:
    """The address of a server that listens there."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Presence(Struct, frozen=True):
    """A running server. url: where it listens."""

    pid: int
    url: str


class AlreadyRunning(Exception):
    """Another server uses the data folder."""

    def __init__(self, presence: Presence | None) -> None:
        where = f" (process {presence.pid}, {presence.url})" if presence else ""
        super().__init__(f"An XRouter server already uses this data folder{where}.")


class ServerLock:
    """Held by the server from before it touches the data folder until it has ended."""

    def __init__(self, data_dir: Path) -> None:
        """Raises AlreadyRunning."""
        data_dir.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise AlreadyRunning(find(data_dir)) from None
        self._write(b"")

    def announce(self, url: str) -> None:
        """Say where the server listens."""
        self._write(msgspec.json.encode(Presence(os.getpid(), url)))

    def release(self) -> None:
        """The server has ended."""
        self._write(b"")
        os.close(self._fd)

    def _write(self, data: bytes) -> None:
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, data, 0)


def find(data_dir: Path) -> Presence | None:
    """The server that uses the data folder; None when there is none, or it is still starting."""
    if not is_held(data_dir):
        return None
    try:
        return msgspec.json.decode((data_dir / LOCK).read_bytes(), type=Presence)
    except (OSError, msgspec.MsgspecError):
        return None


def is_held(data_dir: Path) -> bool:
    """Whether a server uses the data folder."""
    try:
        fd = os.open(data_dir / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def admin_token(data_dir: Path) -> Secret:
    """The token of the control API: made on first use, readable by its owner only."""
    path = data_dir / TOKEN
    try:
        return Secret(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        data_dir.mkdir(parents=True, exist_ok=True)
    token = "xr-admin-" + secrets.token_urlsafe(32)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(token + "\n")
    return Secret(token)
