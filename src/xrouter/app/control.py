"""The control plane of one process, joined from its parts.

The server runs it beside the data plane (`publish_to`); a command opens it for one question when
no server runs (`opened`, `ask`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI

from xrouter.app import presence
from xrouter.app.configured import vault_of
from xrouter.control import master
from xrouter.control.billing.afterwards import AFTERWARDS, Afterwards
from xrouter.control.billing.taker import Charges
from xrouter.control.catalog.adapters import supported
from xrouter.control.catalog.live import LiveLists
from xrouter.control.catalog.schedule import SyncSchedule
from xrouter.control.catalog.sync import SyncService
from xrouter.control.db import schema
from xrouter.control.db.engine import Database
from xrouter.control.drain import Drain
from xrouter.control.health.checker import Checker
from xrouter.control.health.counting import AttemptCounter
from xrouter.control.health.events import Events
from xrouter.control.health.herald import Herald
from xrouter.control.health.prober import LEASE, Prober, ProberOptions
from xrouter.control.health.roster import Roster
from xrouter.control.identity.uses import UseKeeper
from xrouter.control.instances import Beat, Instances
from xrouter.control.kit.caller import behind
from xrouter.control.kit.lease import Lease
from xrouter.control.oauth.app import OAuth
from xrouter.control.oauth.config import OAuthConfig
from xrouter.control.people.oidc.config import configured as sign_in_providers
from xrouter.control.publish.publisher import EVERY_S, Publisher
from xrouter.control.releases.builds import BuildKeeper
from xrouter.control.releases.job import ReleaseJob
from xrouter.control.server import Services, create_app
from xrouter.control.signals import Listener
from xrouter.domain.ports import ChangeSignal, Explainer, Meters
from xrouter.domain.snapshot import Snapshot
from xrouter.domain.tries import SharedTries
from xrouter.domain.usage import new_id
from xrouter.flow.strategies import strategies
from xrouter.settings import Settings
from xrouter.stores.journal.reader import JournalReader
from xrouter.stores.vault import Vault
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook

JOURNAL = "journal"
RELEASES = "releases"
SYNCS = "syncs"
ALONE_S = 10.0
_AGAIN_S = 0.1
LISTENING_S = 5.0
"""Between two looks at the revision while the database tells of changes by itself."""
SIGNALLED_S = 1.0
"""The same while other processes tell of theirs: what they say can be lost."""


class ControlPlane:
    """The database, the control API, and what feeds the data plane. `close` it at the end."""

    def __init__(
        self,
        settings: Settings,
        vault: Vault,
        client: Client,
        tokens: TokenBook,
        explainer: Explainer | None = None,
        *,
        signal: ChangeSignal | None = None,
        meters: Meters | None = None,
        tries: SharedTries | None = None,
    ) -> None:
        self._id = new_id("inst_")
        self.db = Database(settings.database)
        self.adapters = supported()
        self.publisher: Publisher | None = None
        self._releases: ReleaseJob | None = None
        self.events = Events()
        self._vault = vault
        self._settings = settings
        self._means = (client, tokens)
        self._instances = Instances(self.db)
        self.listener = Listener(self.db, self._look)
        self._signal = signal
        if signal is not None:
            signal.listen(self._look)
        self._token = presence.admin_token(settings.data_dir)
        services = Services(
            self.db,
            vault,
            self.adapters,
            client,
            tokens,
            self._changed,
            self.events,
            explainer,
            self._instances,
            {name: each.check for name, each in strategies().items()},
            meters=meters,
            tries=tries,
            oauth=OAuthConfig(
                issuer=settings.issuer,
                token_life=timedelta(seconds=settings.token_life),
                algorithm=settings.token_algorithm,
            ),
            oidc=sign_in_providers(settings.issuer, settings.oidc),
            seller=settings.seller.model_dump(exclude_defaults=True),
        )
        self.app: FastAPI = create_app(services, admin_token=self._token)
        self.oauth: OAuth = self.app.state.rooms.get(OAuth)
        self.drain = Drain(
            self.db,
            JournalReader(settings.data_dir / JOURNAL),
            takers=(AttemptCounter(), BuildKeeper(), Charges(), UseKeeper()),
        )

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: Settings) -> AsyncIterator[ControlPlane]:
        """For one command: the database is brought up to date, all is closed at the end."""
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        vault = vault_of(settings)
        await schema.ensure(settings.database)
        client, tokens = Client(), TokenBook()
        plane = cls(settings, vault, client, tokens)
        try:
            await plane.prove_master_key()
            await plane.drain_all()
            yield plane
        finally:
            await plane.close()
            await tokens.close()
            await client.close()

    def publish_to(
        self, deliver: Callable[[Snapshot], Awaitable[None]], stale: Callable[[bool], None]
    ) -> Publisher:
        """Begin to know where snapshots go."""
        self.publisher = Publisher(
            self.db,
            self._vault,
            self.adapters,
            deliver,
            self._settings.data_dir,
            stale=stale,
            every_s=self._every_s,
            issuer=self._settings.issuer,
        )
        return self.publisher

    def jobs(self, revision: Callable[[], int]) -> list[Coroutine[Any, Any, None]]:
        """What a server does beside answering, each until cancelled.

        revision: of the catalog that this process runs.
        """
        holder, lease = self._id, self._lease
        client, tokens = self._means
        prober = Prober(
            self.db,
            lease(LEASE),
            Roster(self.db, self._vault, self.adapters),
            Checker(client, tokens),
            Herald(self.db, self.events),
            changed=self._changed,
            options=ProberOptions(
                every_s=self._settings.probe_every,
                token_every_s=self._settings.probe_token_every,
            ),
        )
        beat = Beat(self.db, self._instances, holder, "all", revision)
        releases = self._releases = ReleaseJob(self.db, self._changed, lease=lease(RELEASES))
        sync = self.app.state.rooms.get(SyncService)
        schedule = SyncSchedule(self.db, sync, lease(SYNCS))
        keeper = self.oauth.keeper
        afterwards = Afterwards(
            self.db,
            lease(AFTERWARDS),
            Roster(self.db, self._vault, self.adapters),
            LiveLists(client, tokens),
        )
        return [
            prober.run(),
            beat.run(),
            releases.run(),
            schedule.run(),
            keeper.run(),
            afterwards.run(),
        ]

    async def prove_master_key(self) -> None:
        """Raises WrongMasterKey when the database was filled with another, DatabaseError."""
        await master.prove(self.db, self._vault)

    @asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[None]:
        """Do something while no other process does the same; wait until they have.

        One that dies in the midst of it holds the others up for ALONE_S at most.
        Raises DatabaseError.
        """
        lease = self._lease(name, min(ALONE_S, self._settings.lease))
        while not await lease.acquire():  # noqa: ASYNC110 - another process holds it
            await asyncio.sleep(_AGAIN_S)
        try:
            yield
        finally:
            await lease.leave()

    def _lease(self, name: str, ttl_s: float | None = None) -> Lease:
        return Lease(self.db, name, self._id, ttl_s or self._settings.lease)

    async def publish_now(self) -> None:
        """Deliver what has changed before going on."""
        if self.publisher is not None:
            await self.publisher.turn()

    async def drain_all(self) -> None:
        """Move what the journal holds into the database."""
        while await self.drain.drain_once():
            pass

    async def ask(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One request to the control API, in this process. Returns status and body."""
        more = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [
                (b"host", b"xrouter"),
                (b"authorization", f"Bearer {self._token.reveal()}".encode()),
                (b"content-type", b"application/json"),
                *more,
            ],
        }
        exchange = _Exchange(body)
        await self.app(scope, exchange.receive, exchange.send)
        return exchange.status, b"".join(exchange.parts)

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI: the control API, and the pages of the authorization server beside it."""
        path: str = scope.get("path", "")
        app = self.app if path.startswith("/control/") else self.oauth.app
        await app(behind(self._settings.proxies, scope), receive, send)

    async def close(self) -> None:
        """Close the database."""
        await self.db.close()

    def _every_s(self) -> float:
        """Between two looks at the revision."""
        if self.listener.live:
            return LISTENING_S
        alone = self.db.dialect == "sqlite"  # one process writes, and it tells itself
        told = self._signal is not None and self._signal.live
        return SIGNALLED_S if alone or told else EVERY_S

    def _changed(self) -> None:
        """By this process."""
        self._look()
        if self._signal is not None:
            self._signal.tell()

    def _look(self) -> None:
        if self.publisher is not None:
            self.publisher.poke()
        if self._releases is not None:
            self._releases.poke()


class _Exchange:
    """The two ends of an ASGI call."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self.status = 0
        self.parts: list[bytes] = []

    async def receive(self) -> dict[str, Any]:
        if self._body is None:
            await asyncio.Event().wait()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.parts.append(message.get("body", b""))
