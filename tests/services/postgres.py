"""A real PostgreSQL server for tests."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.services.process import Service, service_user

USER = "xrouter"
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "timezone": "Europe/Moscow",
}


def tools() -> Path | None:
    """The folder of the newest installed server, None when there is none."""
    found = [p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    local = [Path(p) for p in os.get_exec_path() if (Path(p) / "initdb").exists()]
    by_age = sorted(found, key=lambda p: int(re.sub(r"\D", "", p.parent.name) or 0))
    return by_age[-1] if by_age else local[0] if local else None


class Postgres:
    """Runs in a time zone that is not UTC, to find code that forgets zones."""

    def __init__(self, tools: Path) -> None:
        self._tools = tools
        self.service = Service("postgres", service_user("postgres"))
        self._data = self.service.folder / "data"
        try:
            self.service.run(
                tools / "initdb",
                *("-D", self._data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C"),
                "--no-sync",
            )
            self.start()
        except BaseException:
            self.service.remove()
            raise

    def start(self) -> None:
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        self.service.start(
            lambda port: [
                *(self._tools / "postgres", "-D", self._data, "-p", str(port)),
                *("-h", self.service.host, "-k", self.service.folder),
                *settings,
            ],
            self._answers,
        )

    def stop(self) -> None:
        self.service.stop()

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@{self.service.host}:{self.service.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run statements, as any client would; the answer is text."""
        done = self._psql("-c", statement, database)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _answers(self) -> bool:
        return self._psql("-c", "SELECT 1", "postgres").returncode == 0

    def _psql(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        *options, database = arguments
        return subprocess.run(
            [
                *(self._tools / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"),
                *("-h", self.service.host, "-p", str(self.service.port), "-U", USER),
                *("-d", database, *options),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
