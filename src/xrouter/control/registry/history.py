"""Who changed what, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import repository as catalog
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.catalog.objects import Document
from xrouter.control.db import changes
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.releases import ChangeRow, ReleaseRow
from xrouter.control.kit.schemas import Page
from xrouter.control.registry import documents, told
from xrouter.control.registry.documents import KINDS, Key
from xrouter.control.registry.place import Placer
from xrouter.control.registry.schemas import ChangeOut, ChangeQuery, OutcomeOut
from xrouter.control.registry.service import Plan, Undone, apply
from xrouter.domain.errors import Conflict, NotFound
from xrouter.stores.vault import Vault

MOST = 10_000
"""Changes that are undone at once."""

RESTORE = "restore"
RELEASE = "release"
_ENDED = {"planned": "cancelled", "canary": "cancelled", "done": "rolled_back"}


class HistoryService:
    """Every method is one transaction. changed: called after each that wrote something."""

    def __init__(
        self, db: Database, vault: Vault, adapters: Adapters, changed: Callable[[], None]
    ) -> None:
        self._db = db
        self._vault = vault
        self._adapters = adapters
        self._changed = changed

    async def page(self, query: ChangeQuery) -> Page[ChangeOut]:
        """Changes, the newest first."""
        wanted = select(ChangeRow).order_by(ChangeRow.id.desc()).limit(query.limit + 1)
        for name in ("kind", "object", "author"):
            value = getattr(query, name)
            if value is not None:
                wanted = wanted.where(getattr(ChangeRow, name) == value)
        if query.after is not None:
            wanted = wanted.where(ChangeRow.id < query.after)
        async with self._db.read() as session:
            found = (await session.scalars(wanted)).all()
        data = [_out(row) for row in found[: query.limit]]
        return Page(data=data, next=str(data[-1].id) if len(found) > query.limit else None)

    async def restore(self, revision: int, *, dry_run: bool) -> OutcomeOut:
        """Undo what came after a revision. Raises NotFound, Conflict, InvalidRequest."""
        try:
            async with self._db.write() as session:
                outcome = await self._restore(session, revision)
                if dry_run:
                    raise Undone(outcome)
        except Undone as undone:
            undone.outcome.dry_run = True
            return undone.outcome
        self._changed()
        return outcome

    async def _restore(self, session: AsyncSession, revision: int) -> OutcomeOut:
        await documents.lock(session)
        current = await catalog.revision(session)
        if revision > current:
            raise NotFound(
                f"There is no revision {revision} yet: the catalog is at {current}.",
                param="revision",
                code="revision_not_found",
            )
        found = await _since(session, revision)
        rows = await documents.load(session)
        now = rows.documents()
        plan = Plan(now)
        _undo([row for row in found if row.kind in KINDS], plan)
        placer = Placer(session, rows, self._vault, self._adapters, prune=True)
        kept = {row.kind for row in found} - {*KINDS, RELEASE}
        ended = [int(row.object) for row in found if row.kind == RELEASE]
        await _end_releases(session, set(ended), revision)
        outcome = await apply(session, rows, plan, placer, RESTORE)
        outcome.warnings += [f"Changes of the kind '{kind}' stay." for kind in sorted(kept)]
        return outcome


async def _since(session: AsyncSession, revision: int) -> Sequence[ChangeRow]:
    query = (
        select(ChangeRow)
        .where(ChangeRow.revision > revision)
        .order_by(ChangeRow.id.desc())
        .limit(MOST + 1)
    )
    found = (await session.scalars(query)).all()
    if len(found) > MOST:
        raise Conflict(
            f"More than {MOST} changes came after revision {revision}.",
            code="too_many_changes",
            hint="Import an export of that time instead.",
        )
    return found


def _undo(found: Sequence[ChangeRow], plan: Plan) -> None:
    """Walk back, the newest change first. Raises Conflict where something else was done between."""
    state: dict[Key, Document | None] = {}
    for row in found:
        key = (row.kind, row.object)
        if state.get(key, plan.world.get(key)) != row.after:
            raise Conflict(
                f"The {row.kind} '{row.object}' was changed by other means since revision "
                f"{row.revision}: it cannot be undone.",
                param="revision",
                code="restore_conflict",
                hint="GET /control/v1/changes shows what was done; change the object by hand.",
            )
        state[key] = row.before
    for key, document in state.items():
        if document is None:
            plan.delete.append(key)
        else:
            plan.put[key] = document


async def _end_releases(session: AsyncSession, ids: set[int], revision: int) -> None:
    """What was planned since must not happen again by itself."""
    for row in await session.scalars(select(ReleaseRow).where(ReleaseRow.id.in_(ids))):
        status = _ENDED.get(row.status)
        if status is None:
            continue
        before = _said(row)
        row.status, row.reason = status, f"the catalog went back to revision {revision}"
        await changes.record(
            session, RESTORE, RELEASE, str(row.id), before=before, after=_said(row)
        )


def _said(row: ReleaseRow) -> dict[str, Any]:
    return {"label": row.label, "status": row.status, "reason": row.reason}


def _out(row: ChangeRow) -> ChangeOut:
    return ChangeOut(
        id=row.id,
        revision=row.revision,
        at=row.at,
        author=row.author,
        action=row.action,
        kind=row.kind,
        object=row.object,
        diff=told.differing(row.before, row.after),
    )
