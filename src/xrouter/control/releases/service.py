"""Releases, as the operator plans, cancels and takes them back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from xrouter.control.catalog import objects
from xrouter.control.catalog import repository as catalog
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.catalog import ModelRow
from xrouter.control.db.tables.releases import ReleaseRow
from xrouter.control.kit.diff import differences
from xrouter.control.kit.schemas import Page
from xrouter.control.releases import moves, repository, steps
from xrouter.control.releases.repository import LIVE
from xrouter.control.releases.schemas import (
    BuildOut,
    BuildQuery,
    DriftOut,
    ReleaseIn,
    ReleaseOut,
    ReleaseQuery,
    StepOut,
)
from xrouter.domain.errors import Conflict, InvalidRequest


class ReleaseService:
    """Every method is one transaction. changed: called after each that wrote something."""

    def __init__(
        self,
        db: Database,
        changed: Callable[[], None],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._db = db
        self._changed = changed
        self._now = now

    async def page(self, query: ReleaseQuery) -> Page[ReleaseOut]:
        """Releases, the newest first."""
        async with self._db.read() as session:
            found = await repository.releases(
                session,
                model_id=query.model_id,
                statuses=() if query.status is None else (query.status,),
                before=query.after,
                limit=query.limit + 1,
            )
            data = [_out(row, model) for row, model in found[: query.limit]]
        return Page(data=data, next=str(data[-1].id) if len(found) > query.limit else None)

    async def get(self, release_id: int) -> ReleaseOut:
        """One release. Raises NotFound."""
        async with self._db.read() as session:
            row, model = await repository.release(session, release_id)
            session.expunge_all()
        return _planned(row, model)

    async def preview(self, given: ReleaseIn) -> ReleaseOut:
        """What a release would do; nothing is written. Raises ModelNotFound, InvalidRequest."""
        async with self._db.read() as session:
            model = await catalog.model(session, given.model_id)
            live = await repository.releases(session, model_id=given.model_id, statuses=LIVE)
            session.expunge_all()
        _check(model, given, [row for row, _ in live])
        return _planned(steps.planned(given, model, self._now()), model)

    async def create(self, given: ReleaseIn) -> ReleaseOut:
        """Plan a release. Raises ModelNotFound, InvalidRequest, Conflict."""
        async with self._db.write() as session:
            model = await catalog.model(session, given.model_id)
            await catalog.provider(session, model.provider, lock=True)
            live = await repository.releases(session, model_id=given.model_id, statuses=LIVE)
            _check(model, given, [row for row, _ in live])
            row = steps.planned(given, model, self._now())
            session.add(row)
            await session.flush()
            await steps.made(session, row, model)
        self._changed()
        return await self.get(row.id)

    async def cancel(self, release_id: int) -> ReleaseOut:
        """Let a release that is not done go no further. Raises NotFound, Conflict."""
        async with self._db.write() as session:
            row, model = await repository.release(session, release_id, lock=True)
            if row.status not in LIVE:
                raise _over(row, "cancelled")
            await steps.end(session, row, model, "cancelled", None)
        self._changed()
        return await self.get(release_id)

    async def roll_back(self, release_id: int, reason: str | None) -> ReleaseOut:
        """Take a canary away, or give the channel back. Raises NotFound, Conflict."""
        async with self._db.write() as session:
            row, model = await repository.release(session, release_id, lock=True)
            if row.status not in ("canary", "done"):
                raise _over(row, "rolled back")
            await steps.roll_back(session, row, model, reason)
        self._changed()
        return await self.get(release_id)

    async def builds(self, query: BuildQuery) -> Page[BuildOut]:
        """Builds that have answered."""
        limit = query.limit
        async with self._db.read() as session:
            found = await repository.builds(session, query.model_id, query.after, limit + 1)
            data = [BuildOut.model_validate(row) for row in found[:limit]]
        return Page(data=data, next=str(data[-1].id) if len(found) > limit else None)

    async def drifts(self, query: BuildQuery) -> Page[DriftOut]:
        """Builds that appeared behind a name that had another, the newest first."""
        limit = query.limit
        async with self._db.read() as session:
            found = await repository.drifts(session, query.model_id, query.after, limit + 1)
        data = [DriftOut.model_validate(row) for row in found[:limit]]
        return Page(data=data, next=str(found[limit - 1].id) if len(found) > limit else None)


def _check(model: ModelRow, given: ReleaseIn, live: list[ReleaseRow]) -> None:
    try:
        version = steps.candidate(model, given.label)
    except steps.Impossible as error:
        known = ", ".join(v.label for v in model.versions if v.status != moves.RETIRED)
        raise InvalidRequest(
            f"Invalid value for 'label': {error}.",
            param="label",
            code="invalid_value",
            hint=f"It has: {known or 'none'}.",
        ) from None
    if version.channel == given.channel:
        raise Conflict(
            f"'{given.label}' is '{given.channel}' of '{given.model_id}' already.", param="label"
        )
    for row in live:
        if row.channel == given.channel:
            raise Conflict(
                f"The release {row.id} of '{row.label}' is on its way to '{given.channel}'.",
                param="channel",
                code="release_pending",
                hint=f"POST /control/v1/releases/{row.id}/cancel ends it.",
            )


def _over(row: ReleaseRow, what: str) -> Conflict:
    return Conflict(f"The release {row.id} is {row.status}: it cannot be {what}.", code="conflict")


def _planned(row: ReleaseRow, model: ModelRow) -> ReleaseOut:
    """With what it will do. The model must be detached: it is changed in memory."""
    shown = _out(row, model)
    if row.status in LIVE:
        shown.diff = _ahead(row, model)
    return shown


def _out(row: ReleaseRow, model: ModelRow) -> ReleaseOut:
    return ReleaseOut(
        id=row.id,
        model_id=model.model_id,
        label=row.label,
        channel=row.channel,
        at=row.at,
        retire_at=row.retire_at,
        canary=row.canary or None,
        canary_from=row.canary_from,
        status=row.status,
        replaced=row.replaced,
        reason=row.reason,
        author=row.author,
    )


def _ahead(row: ReleaseRow, model: ModelRow) -> list[StepOut]:
    """What a release will change, were the model to stay as it is until then."""
    found: list[StepOut] = []
    if row.canary_from is not None and row.status == "planned":
        found.append(StepOut(at=row.canary_from, path="canary", old=None, new=row.canary))
    new, old = moves.version_of(model, row.label), moves.holder(model, row.channel)
    if new is None:
        return found
    first = objects.model(model)
    moves.promote(model, new, row.channel, row.retire_at)
    second = objects.model(model)
    found += _steps(row.at, first, second)
    if old is not None and old.retires_at is not None:
        moves.retire(old)
        found += _steps(old.retires_at, second, objects.model(model))
    return found


def _steps(at: datetime, before: dict[str, Any], after: dict[str, Any]) -> list[StepOut]:
    found = differences(before, after)
    return [StepOut(at=at, path=each.path, old=each.old, new=each.new) for each in found]
