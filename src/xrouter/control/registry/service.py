"""The whole catalog in and out, as one document."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import repository as catalog
from xrouter.control.catalog import rows as words
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.catalog.objects import Document
from xrouter.control.db import changes
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.catalog import EndpointRow, ProviderRow
from xrouter.control.kit.errors import invalid
from xrouter.control.registry import documents, extras, schedule, told
from xrouter.control.registry.check import Strategies, check
from xrouter.control.registry.documents import KINDS, Key, Rows
from xrouter.control.registry.litellm import translate
from xrouter.control.registry.litellm_file import read
from xrouter.control.registry.litellm_places import PRIMARY, Present, Standing
from xrouter.control.registry.place import Placer
from xrouter.control.registry.schemas import FORMAT, OutcomeOut, RegistryDoc
from xrouter.domain.errors import Conflict, XRouterError
from xrouter.stores.vault import Vault

PARTS = {"provider": "providers", "model": "models", "prices": "prices", "route": "routes"}
_NAMES = {"provider": "name", "model": "model_id", "prices": "model_id", "route": "name"}


class Undone(Exception):
    """Ends the transaction of a dry run; carries what it would have done."""

    def __init__(self, outcome: OutcomeOut) -> None:
        super().__init__()
        self.outcome = outcome


class RegistryService:
    """Every method is one transaction. changed: called after each that wrote something."""

    def __init__(
        self,
        db: Database,
        vault: Vault,
        adapters: Adapters,
        changed: Callable[[], None],
        strategies: Strategies | None = None,
    ) -> None:
        """strategies: the check of each one's options by name; None where they are not known."""
        self._db = db
        self._vault = vault
        self._adapters = adapters
        self._changed = changed
        self._strategies = strategies or {}

    async def export(self, *, sealed: bool) -> dict[str, Any]:
        """The document of all there is, in an order that does not change by itself."""
        async with self._db.read() as session:
            rows = await documents.load(session)
            fields = {
                (row.name, endpoint.name): self._names(endpoint)
                for row in rows.providers.values()
                for endpoint in row.endpoints
            }
            found = rows.documents()
            more = await extras.export(session)
            more[schedule.RELEASES] = await schedule.export(session)
        for (kind, name), document in found.items():
            if kind == "provider" and not sealed:
                for endpoint in document["endpoints"]:
                    del endpoint["sealed"]
                    endpoint["credential_fields"] = fields[name, endpoint["name"]]
        parts = {
            part: [document for (each, _), document in sorted(found.items()) if each == kind]
            for kind, part in PARTS.items()
        }
        return {"format": FORMAT, **parts, **more}

    async def put(
        self, given: RegistryDoc, *, dry_run: bool, prune: bool, action: str = "import"
    ) -> OutcomeOut:
        """Make the catalog what the document says. Raises InvalidRequest, Conflict."""
        wanted = given.model_dump(exclude_unset=True)
        try:
            async with self._db.write() as session:
                await documents.lock(session)
                rows = await documents.load(session)
                now = rows.documents()
                plan = _plan(now, wanted, prune=prune)
                warnings = check(now, plan.world, self._adapters, self._strategies)
                placer = Placer(session, rows, self._vault, self._adapters, prune=prune)
                outcome = await apply(session, rows, plan, placer, action)
                outcome.warnings += warnings
                outcome.changed += await extras.put(session, wanted, prune=prune)
                if given.releases is not None:
                    scheduler = schedule.Scheduler(session, utc_now())
                    await scheduler.put(given.releases, prune=prune)
                    outcome.changed += scheduler.changed
                    outcome.warnings += scheduler.warnings
                outcome.revision = await catalog.revision(session)
                if dry_run:
                    raise Undone(outcome)
        except Undone as undone:
            undone.outcome.dry_run = True
            return undone.outcome
        except IntegrityError:
            raise Conflict(
                "Somebody else changed the catalog meanwhile.", code="conflict"
            ) from None
        self._changed()
        return outcome

    async def take(self, raw: bytes, *, dry_run: bool) -> OutcomeOut:
        """Take over the text of a LiteLLM configuration; what was left out is in the warnings, and
        what of the providers that are there already stays as it is.

        Variables are those of the text: whoever sends it has no right to the server's environment.
        Raises InvalidRequest, PayloadTooLarge, Conflict.
        """
        config = await asyncio.to_thread(read, raw)
        async with self._db.read() as session:
            present = {row.name: self._present(row) for row in await catalog.providers(session)}
        taken = translate(config, {}, self._adapters.known, list(self._strategies), present)
        try:
            given = RegistryDoc.model_validate(taken.document)
        except ValidationError as error:
            raise invalid(error.errors()) from None
        outcome = await self.put(given, dry_run=dry_run, prune=False)
        outcome.warnings[:0] = taken.notes
        return outcome

    def _present(self, row: ProviderRow) -> Present:
        """A provider for whoever must not overwrite it."""
        ordered = sorted(row.endpoints, key=lambda each: (each.name != PRIMARY, each.name))
        return Present(row.name, row.adapter_class, tuple(self._standing(e) for e in ordered))

    def _standing(self, row: EndpointRow) -> Standing:
        try:
            secrets = words.unseal(self._vault, row)
        except XRouterError:
            known = None
        else:
            known = {name: text for name, text in secrets.items() if name != words.PROXY_AUTH}
        return Standing(
            row.name, row.base_url, known, row.options, row.priority, is_enabled=row.is_enabled
        )

    def _names(self, row: Any) -> list[str] | None:
        try:
            return sorted(words.unseal(self._vault, row))
        except XRouterError:
            return None


class Plan:
    """What to delete and what to put, and the world that comes of it."""

    def __init__(self, world: dict[Key, Document]) -> None:
        self.world = world
        self.put: dict[Key, Document] = {}
        self.delete: list[Key] = []


def _plan(now: dict[Key, Document], wanted: Mapping[str, Any], *, prune: bool) -> Plan:
    plan = Plan(dict(now))
    for kind, part in PARTS.items():
        if wanted.get(part) is None:
            continue
        for document in wanted[part]:
            key = (kind, document[_NAMES[kind]])
            if key in plan.put:
                raise Conflict(f"{part}: '{key[1]}' is there twice.", param=part, code="twice")
            plan.put[key] = document
            plan.world[key] = _merged(now.get(key), document, prune=prune)
        if prune:
            plan.delete += [key for key in now if key[0] == kind and key not in plan.put]
    for key in plan.delete:
        del plan.world[key]
    return plan


def _merged(old: Document | None, new: Document, *, prune: bool) -> Document:
    """The object as it will be, as far as checks need to know it."""
    if old is None:
        return new
    merged = old | new
    if "endpoints" in new and not prune:
        given = {endpoint["name"] for endpoint in new["endpoints"]}
        kept = [endpoint for endpoint in old["endpoints"] if endpoint["name"] not in given]
        merged["endpoints"] = [*new["endpoints"], *kept]
    return merged


async def apply(
    session: AsyncSession, rows: Rows, plan: Plan, placer: Placer, action: str
) -> OutcomeOut:
    """Carry a plan out and write down what has changed."""
    before = rows.documents()
    for kind in reversed(KINDS):
        for key in plan.delete:
            if key[0] == kind:
                await placer.delete(*key)
    for kind in KINDS:
        for key, document in plan.put.items():
            if key[0] == kind:
                await placer.put(*key, document)
    await session.flush()
    session.expire_all()
    after = (await documents.load(session)).documents()
    changed = []
    for key in _ordered({*before, *after}):
        old, new = before.get(key), after.get(key)
        if old != new:
            await changes.record(session, action, *key, before=old, after=new)
            changed.append(told.changed(*key, old, new))
    await session.flush()
    return OutcomeOut(
        dry_run=False,
        revision=await catalog.revision(session),
        changed=changed,
        warnings=placer.warnings,
    )


def _ordered(keys: Iterable[Key]) -> list[Key]:
    return sorted(keys, key=lambda key: (KINDS.index(key[0]), key[1]))
