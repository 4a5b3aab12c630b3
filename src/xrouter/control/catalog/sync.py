"""Fills the models' table from the adapters' lists and, when asked to, from the providers'."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import Struct, ValidationError

from xrouter.control.catalog import merge, objects, repository, rows
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.catalog.live import LiveLists
from xrouter.control.catalog.schemas import SyncFailure, SyncIn, SyncOut
from xrouter.control.db import changes
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.catalog import EndpointRow, ProviderRow
from xrouter.domain.catalog import Endpoint, ModelDescription
from xrouter.domain.errors import OperatorError, XRouterError
from xrouter.stores.vault import Vault

SYNC = "sync"
"""The action of changes by a sync."""


class _Lists(Struct):
    """What is known of a provider's models. complete: its live list is among it."""

    models: dict[str, merge.Listed]
    complete: bool


class SyncService:
    """One transaction for each provider: one that fails does not disturb the others."""

    def __init__(
        self,
        db: Database,
        vault: Vault,
        adapters: Adapters,
        live: LiveLists,
        *,
        changed: Callable[[], None],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._db = db
        self._vault = vault
        self._adapters = adapters
        self._live = live
        self._changed = changed
        self._now = now

    async def sync(self, given: SyncIn) -> SyncOut:
        """Bring the table up to the lists. Raises NotFound for an unknown provider."""
        async with self._db.read() as session:
            if given.provider is not None:
                providers = [await repository.provider(session, given.provider)]
            else:
                providers = list(await repository.providers(session))
        result = SyncOut()
        for provider in providers:
            try:
                lists = await self._lists(provider, result, live=given.live)
                await self._apply(provider, lists, result)
            except XRouterError as error:
                _note(result, provider, error)
        self._changed()
        return result

    async def _lists(self, provider: ProviderRow, result: SyncOut, *, live: bool) -> _Lists:
        shipped = self._adapters.shipped(provider.name, provider.adapter_class)
        found: list[ModelDescription] | None = None
        if live:
            try:
                found = await self._ask(provider)
            except XRouterError as error:
                _note(result, provider, error)
        return _Lists(merge.union(shipped, found or []), complete=found is not None)

    async def _ask(self, provider: ProviderRow) -> list[ModelDescription] | None:
        """The list of the first endpoint that answers. Raises the first one's XRouterError."""
        first: XRouterError | None = None
        for row in provider.endpoints:
            if not row.is_enabled:
                continue
            try:
                adapter = self._adapters.build(self._endpoint(row, provider))
                return await self._live.models(adapter)
            except XRouterError as error:
                first = first or error
        raise first or OperatorError("It has no endpoint that could be asked.")

    def _endpoint(self, row: EndpointRow, provider: ProviderRow) -> Endpoint:
        try:
            return rows.endpoint(row, provider.adapter_class, rows.unseal(self._vault, row))
        except ValidationError as error:
            raise OperatorError(f"The endpoint '{row.name}' cannot be used: {error}.") from None

    async def _apply(self, provider: ProviderRow, lists: _Lists, result: SyncOut) -> None:
        counts = {"added": 0, "updated": 0, "unchanged": 0, "vanished": 0}
        async with self._db.write() as session:
            await repository.provider(session, provider.name, lock=True)
            known = await repository.models(session, provider=provider.name, lock=True)
            before = {row.model_id: objects.model(row) for row in known}
            missing = dict(lists.models)
            for row in known:
                listed = missing.pop(row.model_id.removeprefix(provider.name + "/"), None)
                if listed is not None:
                    counts["updated" if merge.refresh(row, listed) else "unchanged"] += 1
                elif row.origin == merge.SHIPPED or (lists.complete and row.origin == merge.LIVE):
                    counts["vanished" if merge.vanish(row, self._now()) else "unchanged"] += 1
            approved = not _awaits_approval(provider)
            fresh = [
                merge.fresh(provider.name, provider.adapter_class, listed)
                for listed in missing.values()
            ]
            for row in fresh if not approved else ():
                row.is_available = False
            session.add_all(fresh)
            counts["added"] = len(fresh)
            await session.flush()
            for row in (*known, *fresh):
                old = before.get(row.model_id)
                new = objects.model(row)
                await changes.record(session, SYNC, "model", row.model_id, before=old, after=new)
        _add(result, counts)


def _awaits_approval(provider: ProviderRow) -> bool:
    """Whether new models stay switched off until the operator approves."""
    settings = provider.settings
    return isinstance(settings, dict) and settings.get("approve_new_models") is True


def _add(result: SyncOut, counts: Mapping[str, int]) -> None:
    for name, number in counts.items():
        setattr(result, name, getattr(result, name) + number)


def _note(result: SyncOut, provider: ProviderRow, error: XRouterError) -> None:
    result.failed.append(SyncFailure(provider=provider.name, error=error.message, hint=error.hint))
