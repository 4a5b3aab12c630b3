"""The schedule of releases in the registry's document: those that are planned or in their canary.

What comes of a release is in its model; what it did is in the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import repository as catalog
from xrouter.control.catalog.objects import Document
from xrouter.control.db.tables.catalog import ModelRow
from xrouter.control.db.tables.releases import ReleaseRow
from xrouter.control.registry import told
from xrouter.control.registry.schemas import ChangedOut
from xrouter.control.releases import repository, steps
from xrouter.control.releases.repository import LIVE
from xrouter.control.releases.schemas import ReleasePlan
from xrouter.domain.errors import Conflict, InvalidRequest

RELEASES = "releases"
_CANCELLED = "cancelled"
_WHY = "an import has replaced it"

Place = tuple[str, str]
"""Model id and channel: one release at a time is on its way there."""


async def export(session: AsyncSession) -> list[Document]:
    """The releases that are on their way, by model and channel."""
    found = [_document(*each) for each in await repository.releases(session, statuses=LIVE)]
    return sorted(found, key=lambda each: (each["model_id"], each["channel"]))


class Scheduler:
    """Works in one transaction. now: from which on what it plans is under way."""

    def __init__(self, session: AsyncSession, now: datetime) -> None:
        self._session = session
        self._now = now
        self.changed: list[ChangedOut] = []
        self.warnings: list[str] = []

    async def put(self, given: Sequence[ReleasePlan], *, prune: bool) -> None:
        """Make the schedule what the document says; one that is there stays if it says the same.

        prune: others are cancelled. Raises InvalidRequest, Conflict.
        """
        found = await repository.releases(self._session, statuses=LIVE)
        live = {_place(*each): each for each in found}
        rows = await catalog.models(self._session) if given else ()
        models = {row.model_id: row for row in rows}
        seen: set[Place] = set()
        for number, plan in enumerate(given):
            where, place = f"{RELEASES}[{number}]", (plan.model_id, plan.channel)
            if place in seen:
                raise Conflict(f"{where} is there twice.", param=RELEASES, code="twice")
            seen.add(place)
            model = models.get(plan.model_id)
            if model is None:
                raise _wrong(f"{where}.model_id", f"there is no '{plan.model_id}'")
            await self._put(plan, model, live.pop(place, None), f"{where}.label")
        for row, model in live.values() if prune else ():
            before = _document(row, model)
            await steps.end(self._session, row, model, _CANCELLED, _WHY)
            self._tell(_place(row, model), before, None)

    async def _put(
        self,
        plan: ReleasePlan,
        model: ModelRow,
        old: tuple[ReleaseRow, ModelRow] | None,
        where: str,
    ) -> None:
        try:
            version = steps.candidate(model, plan.label)
        except steps.Impossible as error:
            raise _wrong(where, str(error)) from None
        name = f"{plan.model_id}:{plan.channel}"
        if version.channel == plan.channel:
            self.warnings.append(f"'{plan.label}' is '{name}' already: its release is left out.")
            return
        row = steps.planned(plan, model, self._now)
        if old is not None and plan.canary_from is None and row.canary_from is not None:
            row.canary_from = old[0].canary_from or row.canary_from
        before, after = None if old is None else _document(*old), _document(row, model)
        if before == after:
            return
        if old is not None:
            await steps.end(self._session, *old, _CANCELLED, _WHY)
        self._session.add(row)
        await self._session.flush()
        await steps.made(self._session, row, model)
        if plan.at <= self._now:
            self.warnings.append(f"'{plan.label}' becomes '{name}' at once: its date is past.")
        self._tell((plan.model_id, plan.channel), before, after)

    def _tell(self, place: Place, old: Document | None, new: Document | None) -> None:
        self.changed.append(told.changed(repository.KIND, ":".join(place), old, new))


def _document(row: ReleaseRow, model: ModelRow) -> Document:
    """As it is planned; moments that its delay has overtaken are left out."""
    canary = {name: value for name, value in row.canary.items() if name != "label"}
    begins, retires = row.canary_from, row.retire_at
    return {
        "model_id": model.model_id,
        "label": row.label,
        "channel": row.channel,
        "at": row.at.isoformat(),
        "retire_at": retires.isoformat() if retires and retires > row.at else None,
        "canary": canary or None,
        "canary_from": begins.isoformat() if begins and begins < row.at else None,
    }


def _place(row: ReleaseRow, model: ModelRow) -> Place:
    return model.model_id, row.channel


def _wrong(place: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid value for '{place}': {why}.", param=place, code="invalid_registry"
    )
