"""Parts of the registry that are no objects of the catalog: exchange rates and limits.

They are exported and imported with it, but not undone with it: rates are facts, and a limit that
was raised since must not fall by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog.objects import Document
from xrouter.control.db import changes
from xrouter.control.db.tables.billing import LimitRow
from xrouter.control.db.tables.routing import RateRow
from xrouter.control.registry import told
from xrouter.control.registry.schemas import MOST, ChangedOut
from xrouter.domain.errors import Conflict, InvalidRequest
from xrouter.domain.limits import Limit
from xrouter.domain.windows import check

RATES = "rates"
LIMITS = "limits"
_LIMIT = "limit"
_WHOSE = ("subject", "model", "meter", "window")
_HOW_MUCH = ("amount", "time_zone", "warn_at", "is_enabled")

Key = tuple[Any, ...]


async def export(session: AsyncSession) -> dict[str, list[Document]]:
    """Both parts, in an order that does not change by itself; of rates the newest MOST."""
    query = select(RateRow).order_by(RateRow.day.desc(), RateRow.currency).limit(MOST)
    found = [_rate(row) for row in await session.scalars(query)]
    rates = sorted(found, key=lambda each: (each["currency"], each["day"]))
    rows = (await session.scalars(select(LimitRow))).all()
    limits = sorted((_limit(row) for row in rows), key=lambda each: _sortable(_key(each)))
    return {RATES: rates, LIMITS: limits}


async def put(session: AsyncSession, wanted: Document, *, prune: bool) -> list[ChangedOut]:
    """Make rates and limits what the document says; a part that it lacks stays as it is.

    prune: limits that it lacks are deleted; rates never are, for bills refer to them. Raises
    InvalidRequest, Conflict.
    """
    changed: list[ChangedOut] = []
    if wanted.get(RATES):
        changed += await _put_rates(session, wanted[RATES])
    if wanted.get(LIMITS) is not None:
        changed += await _put_limits(session, wanted[LIMITS], prune=prune)
    return changed


async def _put_rates(session: AsyncSession, given: Sequence[Document]) -> list[ChangedOut]:
    """One change for all of them."""
    days = [rate["day"] for rate in given]
    query = select(RateRow).where(RateRow.day >= min(days), RateRow.day <= max(days))
    known = {(row.currency, row.day): row for row in await session.scalars(query)}
    before, after = {}, {}
    for rate in given:
        place = rate["currency"], rate["day"]
        name = f"{place[0]} {place[1].isoformat()}"
        row = known.get(place)
        if name in after:
            raise Conflict(f"{RATES}: '{name}' is there twice.", param=RATES, code="twice")
        after[name] = rate["rubles"]
        if row is None:
            session.add(RateRow(**rate))
        else:
            before[name] = row.rubles
            row.rubles = rate["rubles"]
    fresh = {name: value for name, value in after.items() if before.get(name) != value}
    if not fresh:
        return []
    old = {name: before[name] for name in fresh if name in before}
    return [await _note(session, RATES, max(days).isoformat(), old or None, fresh)]


async def _put_limits(
    session: AsyncSession, given: Sequence[Document], *, prune: bool
) -> list[ChangedOut]:
    known = {_key(_limit(row)): row for row in await session.scalars(select(LimitRow))}
    changed, seen = [], set()
    for number, document in enumerate(given):
        place = _key(document)
        if place in seen:
            raise Conflict(f"{LIMITS}[{number}] is there twice.", param=LIMITS, code="twice")
        seen.add(place)
        row = known.pop(place, None)
        before = None if row is None else _limit(row)
        if row is None:
            row = LimitRow()
            session.add(row)
        for name, value in document.items():
            setattr(row, name, value)
        await session.flush()
        after = _limit(row)
        _check(after, f"{LIMITS}[{number}]")
        if before != after:
            changed.append(await _note(session, _LIMIT, str(row.id), before, after))
    for row in known.values() if prune else ():
        await session.delete(row)
        changed.append(await _note(session, _LIMIT, str(row.id), _limit(row), None))
    return changed


async def _note(
    session: AsyncSession, kind: str, name: str, old: Document | None, new: Document | None
) -> ChangedOut:
    """Write a change down, and tell it."""
    await changes.record(session, "import", kind, name, before=old, after=new)
    return told.changed(kind, name, old, new)


def _check(limit: Document, place: str) -> None:
    """Raises InvalidRequest."""
    fields = {name: value for name, value in limit.items() if name != "is_enabled"}
    try:
        check(Limit(**fields))
    except ValueError as error:
        raise InvalidRequest(
            f"Invalid value for '{place}': {error}.", param=place, code="invalid_registry"
        ) from None


def _rate(row: RateRow) -> Document:
    return {"currency": row.currency, "day": row.day.isoformat(), "rubles": row.rubles}


def _limit(row: LimitRow) -> Document:
    return {name: getattr(row, name) for name in (*_WHOSE, *_HOW_MUCH)}


def _key(limit: Document) -> Key:
    return tuple(limit.get(name) for name in _WHOSE)


def _sortable(key: Key) -> Key:
    return tuple(each or "" for each in key)
