"""Several real servers on one PostgreSQL database, each with a data folder of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.harness import SandboxProcess, Server, until
from tests.services.postgres import Postgres

LEASE_S = 2
PROVIDER = "OPENAI_"
"""Only one provider is configured: the fleet starts sooner."""


class Fleet:
    """The servers, and the database that they share. They have the same master key."""

    def __init__(
        self, folder: Path, sandbox: SandboxProcess, postgres: Postgres, name: str
    ) -> None:
        self.postgres = postgres
        self.database = name
        self.servers: list[Server] = []
        self._folder = folder
        self._master = secrets.token_bytes(32)
        given = {n: v for n, v in sandbox.environment.items() if n.startswith(PROVIDER)}
        self._env = given | {
            "XROUTER_DATABASE_URL": postgres.url(name),
            "XROUTER_LEASE": str(LEASE_S),
            "XROUTER_PROBE_EVERY": "0.5",
        }

    def add(self, **env: str) -> Server:
        """One more server, not yet started."""
        folder = self._folder / f"s{len(self.servers)}"
        (folder / "var").mkdir(parents=True)
        key = folder / "var" / "master.key"
        key.write_bytes(self._master)
        key.chmod(0o600)
        server = Server(folder, self._env | env)
        self.servers.append(server)
        return server

    def start(self, *servers: Server) -> None:
        """All at the same moment; each then knows the key that one of them has made."""
        for server in servers:
            server.start(wait=False)
        for server in servers:
            server.wait_ready()
        keys = [server.key for server in self.servers if server.key]
        for server in self.servers:
            server.key = keys[0]

    def sql(self, statement: str) -> str:
        return self.postgres.sql(statement, self.database)

    def instances(self, asked: Server) -> dict[int, dict[str, Any]]:
        """What a server knows of all, by process id."""
        listed = asked.control("GET", "/instances")["data"]
        return {each["pid"]: each for each in listed}

    def holder(self, lease: str) -> str:
        """The instance that holds it now, empty for none."""
        return self.sql(
            f"SELECT holder FROM leases WHERE name = '{lease}'"
            " AND expires_at > extract(epoch FROM now())"
        )

    def server_of(self, instance: str) -> Server:
        """The process that is this instance. One that is stopped answers nothing."""
        pid = int(self.sql(f"SELECT pid FROM instances WHERE instance_id = '{instance}'"))
        (found,) = (s for s in self.servers if s.process is not None and s.process.pid == pid)
        return found

    def wait_for_holder(self, lease: str, *, but: str = "") -> str:
        """Wait until somebody else than `but` holds it, and is listed."""
        found: list[str] = [""]

        def look() -> bool:
            found[0] = self.holder(lease)
            return found[0] not in ("", but)

        until(look, f"somebody holds {lease}")
        return found[0]

    def wait_agreed(self) -> None:
        """Wait until all run the newest revision."""

        def look() -> bool:
            newest = int(self.sql("SELECT revision FROM catalog_state"))
            ready = [server.ask("GET", "/health/ready").json for server in self.servers]
            return {each["revision"] for each in ready} == {newest}

        until(look, "all run the newest revision")

    def close(self) -> None:
        for server in self.servers:
            server.close()


@contextmanager
def fleet_of(
    number: int, folder: Path, sandbox: SandboxProcess, postgres: Postgres, name: str
) -> Iterator[Fleet]:
    """So many started servers on a database that is made for them, from nothing."""
    postgres.sql(f"CREATE DATABASE {name}")
    fleet = Fleet(folder, sandbox, postgres, name)
    try:
        fleet.start(*(fleet.add() for _ in range(number)))
        fleet.wait_agreed()
        yield fleet
    finally:
        fleet.close()
        postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")
