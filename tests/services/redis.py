"""A real Redis server for tests."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

from tests.services.process import Service


def tool() -> Path | None:
    """The installed server, None when there is none."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return Path(found) if found else None


class Redis:
    """Keeps nothing on disk."""

    def __init__(self, tool: Path) -> None:
        self._tool = tool
        self.service = Service("redis")
        try:
            self.start()
        except BaseException:
            self.service.remove()
            raise

    @property
    def url(self) -> str:
        return f"redis://{self.service.host}:{self.service.port}/0"

    def start(self) -> None:
        self.service.start(
            lambda port: [
                *(self._tool, "--bind", self.service.host, "--port", str(port)),
                *("--dir", self.service.folder, "--save", "", "--appendonly", "no"),
            ],
            lambda: self.ask("PING") == "+PONG",
        )

    def stop(self) -> None:
        self.service.stop()

    def ask(self, command: str) -> str:
        """The first line of the answer, "" when there is none."""
        try:
            with socket.create_connection((self.service.host, self.service.port), 5) as s:
                s.sendall(command.encode() + b"\r\n")
                return s.makefile("rb").readline().decode().strip()
        except OSError:
            return ""
