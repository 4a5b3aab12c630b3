"""The steps of a release, each in the transaction of its caller, each written down as a change."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import objects
from xrouter.control.db import changes
from xrouter.control.db.tables.catalog import ModelRow, VersionRow
from xrouter.control.db.tables.releases import ReleaseRow
from xrouter.control.releases import moves, repository
from xrouter.control.releases.schemas import ReleasePlan
from xrouter.domain.errors import Conflict
from xrouter.domain.routes import Canary

ACTION = "release"


class Impossible(Exception):
    """Why a release cannot be done."""


def document(row: ReleaseRow, model: ModelRow) -> dict[str, Any]:
    """A release as changes hold it."""
    return {
        "model_id": model.model_id,
        "label": row.label,
        "channel": row.channel,
        "at": row.at.isoformat(),
        "retire_at": _text(row.retire_at),
        "canary": row.canary,
        "canary_from": _text(row.canary_from),
        "status": row.status,
        "replaced": row.replaced,
        "reason": row.reason,
    }


def bounds(row: ReleaseRow) -> Canary:
    """The canary of a release that has one. Raises msgspec.ValidationError for one of no sense."""
    return msgspec.convert({**row.canary, "label": row.label}, Canary)


def candidate(model: ModelRow, label: str) -> VersionRow:
    """The version that is to be released. Raises Impossible."""
    version = moves.version_of(model, label)
    if version is None:
        raise Impossible(f"the model '{model.model_id}' has no version '{label}'")
    if version.status == moves.RETIRED:
        raise Impossible(f"the version '{label}' of '{model.model_id}' is retired")
    return version


async def begin(session: AsyncSession, row: ReleaseRow, model: ModelRow, now: datetime) -> None:
    """Give the canary its share.

    One that would begin after its end (nobody was there in time) lasts as long as was planned.
    """
    before = document(row, model)
    planned = row.canary_from or now
    if row.at <= now:
        row.at = now + (row.at - planned)
    row.status, row.canary_from = "canary", now
    await _record(session, row, model, before)


async def finish(session: AsyncSession, row: ReleaseRow, model: ModelRow) -> None:
    """Let the channel lead to the version. Raises Impossible."""
    before, was = document(row, model), moves.places(model)
    new = candidate(model, row.label)
    old = moves.holder(model, row.channel)
    shown = objects.model(model)
    if old is not new:
        row.replaced = None if old is None else old.label
        moves.promote(model, new, row.channel, row.retire_at)
    row.status = "done"
    await _record_model(session, model, shown)
    now_at = moves.places(model)
    moved = {label: place for label, place in was.items() if place != now_at[label]}
    await _record(session, row, model, before, moved=moved)


async def end(
    session: AsyncSession, row: ReleaseRow, model: ModelRow, status: str, reason: str | None
) -> None:
    """It goes no further; nothing of the model has to be put back."""
    before = document(row, model)
    row.status, row.reason = status, reason
    await _record(session, row, model, before)


async def roll_back(
    session: AsyncSession, row: ReleaseRow, model: ModelRow, reason: str | None
) -> None:
    """Take the canary away, or the channel back. Raises Conflict."""
    if row.status == "done":
        await _swap_back(session, row, model)
    await end(session, row, model, "rolled_back", reason)


async def retire(session: AsyncSession, model: ModelRow, version: VersionRow) -> None:
    """Serve a version no more."""
    shown = objects.model(model)
    moves.retire(version)
    await _record_model(session, model, shown)


async def _swap_back(session: AsyncSession, row: ReleaseRow, model: ModelRow) -> None:
    new = moves.holder(model, row.channel)
    if new is None or new.label != row.label:
        raise Conflict(
            f"'{row.label}' is not '{row.channel}' of '{model.model_id}' any more.",
            code="superseded",
            hint="Roll back the release that came after it.",
        )
    old = None if row.replaced is None else moves.version_of(model, row.replaced)
    if row.replaced is not None and old is None:
        raise Conflict(
            f"The version '{row.replaced}' of '{model.model_id}' is gone.", code="superseded"
        )
    shown = objects.model(model)
    moves.swap_back(model, new, old, await repository.moved(session, row.id))
    await _record_model(session, model, shown)


async def _record_model(session: AsyncSession, model: ModelRow, before: dict[str, Any]) -> None:
    after = objects.model(model)
    await changes.record(session, ACTION, "model", model.model_id, before=before, after=after)


async def _record(
    session: AsyncSession,
    row: ReleaseRow,
    model: ModelRow,
    before: dict[str, Any] | None,
    **more: Any,
) -> None:
    after = document(row, model) | more
    await changes.record(session, ACTION, repository.KIND, str(row.id), before=before, after=after)


def planned(given: ReleasePlan, model: ModelRow, now: datetime) -> ReleaseRow:
    """The row of a new release."""
    canary: dict[str, Any] = {}
    canary_from = None
    if given.canary is not None:
        canary = given.canary.model_dump(exclude_none=True) | {"label": given.label}
        canary_from = given.canary_from or min(now, given.at)
    return ReleaseRow(
        llm_model_id=model.id,
        label=given.label,
        channel=given.channel,
        at=given.at,
        retire_at=given.retire_at,
        canary=canary,
        canary_from=canary_from,
        status="planned",
        author=changes.author.get(),
    )


async def made(session: AsyncSession, row: ReleaseRow, model: ModelRow) -> None:
    """A release was planned."""
    await _record(session, row, model, None)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
