"""What the tests of the health room share."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import insert, select
from tests.control.fakes import path_of

from xrouter.control.catalog import rows
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.catalog.repository import revision
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.health import CheckRow, EndpointStateRow, IncidentRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.control.health.checker import Checker
from xrouter.control.health.counting import AttemptCounter
from xrouter.control.health.events import Events
from xrouter.control.health.herald import Herald
from xrouter.control.health.prober import LEASE, Prober, ProberOptions
from xrouter.control.health.roster import Roster
from xrouter.control.kit.lease import Lease
from xrouter.control.releases.tail import stamp
from xrouter.domain.secret import Secret
from xrouter.domain.usage import UsageEvent
from xrouter.stores.vault import Vault
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook

NOON = 1_767_355_200.0
"""2026-01-02 12:00 UTC."""

__all__ = ["NOON", "Clock", "Watch", "asked", "failed", "path_of", "rows_of", "seal", "store"]

_numbers = iter(range(10**9))


class Clock:
    """Stands still until it is moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += seconds


def seal(vault: Vault, endpoint_id: int, key: str = "acme-key") -> bytes | None:
    return rows.seal(vault, endpoint_id, {"api_key": Secret(key)})


class Watch:
    """Makes probers; `turn` is one of the first."""

    def __init__(
        self,
        db: Database,
        vault: Vault,
        adapters: Adapters,
        client: Client,
        tokens: TokenBook,
        events: Events,
        options: ProberOptions,
        clock: Clock,
    ) -> None:
        self.db = db
        self.clock = clock
        self.events = events
        self.changes: list[None] = []
        self._parts = (vault, adapters, client, tokens, options)
        self.prober = self.another("one", events)

    def another(
        self, holder: str, events: Events | None = None, options: ProberOptions | None = None
    ) -> Prober:
        vault, adapters, client, tokens, usual = self._parts
        return Prober(
            self.db,
            Lease(self.db, LEASE, holder, 30.0, clock=self.clock),
            Roster(self.db, vault, adapters),
            Checker(client, tokens, 5.0, lambda: 0.0),
            Herald(self.db, events or Events()),
            changed=lambda: self.changes.append(None),
            options=options or usual,
            clock=self.clock,
        )

    async def turns(self, number: int = 1, seconds: float = 15.0) -> None:
        """So many turns, each after a pause of the clock."""
        for _ in range(number):
            self.clock.go(seconds)
            await self.prober.turn()

    async def states(self) -> dict[int, str]:
        return {row.endpoint_id: row.state for row in await rows_of(self.db, EndpointStateRow)}

    async def incidents(self) -> list[IncidentRow]:
        return await rows_of(self.db, IncidentRow)

    async def checks(self) -> list[CheckRow]:
        return await rows_of(self.db, CheckRow)

    async def revision(self) -> int:
        async with self.db.read() as session:
            return await revision(session)


async def rows_of(db: Database, kind: Any) -> list[Any]:
    async with db.read() as session:
        return list(await session.scalars(select(kind).order_by(*kind.__table__.primary_key)))


def asked(at: float, **more: Any) -> dict[str, Any]:
    """A request that acme's primary endpoint answered at this time."""
    given: dict[str, Any] = {
        "event_id": f"{stamp(at)}{next(_numbers):016d}",
        "request_id": "req",
        "at": at,
        "operation": "chat",
        "model_served": "acme/one",
        "version": "v1",
        "provider": "acme",
        "endpoint": "primary",
        "attempts": 1,
        "streamed": False,
        "status": 200,
        "outcome": "ok",
        "tokens_in": 1,
        "tokens_out": 1,
        "tokens_cached": 0,
        "tokens_reasoning": 0,
        "tokens_estimated": False,
        "queue_ms": 0.0,
        "total_ms": 5.0,
        "cached": False,
        "tried": [],
    }
    return given | more


def failed(at: float, code: str = "upstream_timeout", *, saved_by: str = "", **more: Any) -> Any:
    """A request that acme's primary endpoint failed; another one may have answered it."""
    tried = [_tried("primary", code)]
    if saved_by:
        tried.append(_tried(saved_by, None))
        return asked(at, endpoint=saved_by, attempts=2, tried=tried, **more)
    return asked(at, outcome="error", status=502, error_code=code, tried=tried, **more)


def _tried(endpoint: str, code: str | None) -> dict[str, Any]:
    found = {"provider": "acme", "endpoint": endpoint, "model": "acme/one", "version": "v1"}
    return found if code is None else found | {"code": code, "ms": 3.0}


async def store(db: Database, *events: dict[str, Any]) -> None:
    async with db.write() as session:
        await session.execute(insert(UsageRow), list(events))
        told = [msgspec.convert(event, UsageEvent) for event in events]
        await AttemptCounter().take(session, told)
