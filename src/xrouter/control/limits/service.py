"""Limits: how much keys, projects, organisations, end users and models may."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.catalog import repository as catalog
from xrouter.control.db import changes
from xrouter.control.db.changes import CREATE, DELETE, UPDATE
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import LimitRow
from xrouter.control.kit import etag
from xrouter.control.kit.schemas import Page
from xrouter.control.limits import known, repository, rights
from xrouter.control.limits.rights import CHANGE, READ
from xrouter.control.limits.schemas import (
    MONEY,
    MOST,
    LimitIn,
    LimitOut,
    LimitPatch,
    LimitQuery,
    LimitState,
    StateQuery,
)
from xrouter.control.routing.schemas import billionths, decimal
from xrouter.domain.errors import Conflict, InvalidRequest, NotFound
from xrouter.domain.limits import ALL, Limit, Meter, Window, counter_of
from xrouter.domain.ports import Meters, Want
from xrouter.domain.windows import check

KIND = "limit"
_MOST_ID, _DIGITS = 2**31 - 1, 10
_SAID = {CREATE: "create", UPDATE: "change", DELETE: "delete"}
"""As the audit log has it."""
_FIELDS = ("subject", "model", "meter", "window", "amount", "time_zone", "warn_at", "is_enabled")


class LimitService:
    """Every method is one transaction. changed: called after each that wrote something.

    meters: of the data plane; None in a process that counts nothing. if_match: see `kit.etag`.
    """

    def __init__(
        self, db: Database, changed: Callable[[], None], meters: Meters | None = None
    ) -> None:
        self._db = db
        self._changed = changed
        self._meters = meters

    async def page(self, query: LimitQuery) -> Page[LimitOut]:
        """Limits in the order in which they were made. Raises InvalidRequest."""
        after = query.after or "0"
        if not after.isdecimal() or len(after) > _DIGITS or int(after) > _MOST_ID:
            raise InvalidRequest("'after' must be the id of a limit.", param="after")
        async with self._db.read() as session:
            found = await repository.limits(
                session,
                subject=query.subject,
                after=int(after),
                limit=query.limit + 1,
                among=await rights.visible(session),
            )
            rows = found[: query.limit]
            missing = await known.missing(session, rows)
            data = [_out(row, names) for row, names in zip(rows, missing, strict=True)]
        return Page(data=data, next=str(data[-1].id) if len(found) > query.limit else None)

    async def get(self, limit_id: int) -> LimitOut:
        """One limit. Raises NotFound."""
        async with self._db.read() as session:
            row = await rights.limit(session, limit_id, READ)
            (missing,) = await known.missing(session, [row])
            return _out(row, missing)

    async def create(self, given: LimitIn) -> LimitOut:
        """Make a limit. Raises InvalidRequest, Conflict, NotFound, Forbidden."""
        fields = given.model_dump()
        row = LimitRow(**fields | {"amount": _amount(given.meter, given.amount)})
        _check(row)
        async with self._db.write() as session:
            await catalog.lock(session)
            await rights.require(session, row.subject, CHANGE)
            await rights.bound(session, row)
            found = await repository.twin(session, row)
            if found is not None:
                raise Conflict(
                    f"There is such a limit of '{row.subject}' already.",
                    param="subject",
                    hint=f"PATCH /control/v1/limits/{found} changes it.",
                )
            session.add(row)
            await session.flush()
            await _note(session, CREATE, row, None, _document(row))
            limit_id = row.id
        self._changed()
        return await self.get(limit_id)

    async def update(self, limit_id: int, patch: LimitPatch, if_match: str | None) -> LimitOut:
        """Change a limit. Raises NotFound, Forbidden, InvalidRequest, PreconditionFailed."""
        new = patch.sent()
        async with self._db.write() as session:
            row = await rights.limit(session, limit_id, CHANGE, lock=True)
            before = _document(row)
            etag.require(if_match, before)
            if "amount" in new:
                new["amount"] = _amount(row.meter, new["amount"])
            for field, value in new.items():
                setattr(row, field, value)
            _check(row)
            await rights.bound(session, row)
            await session.flush()
            await _note(session, UPDATE, row, before, _document(row))
        self._changed()
        return await self.get(limit_id)

    async def delete(self, limit_id: int, if_match: str | None) -> None:
        """Delete a limit. Raises NotFound, Forbidden, PreconditionFailed."""
        async with self._db.write() as session:
            row = await rights.limit(session, limit_id, CHANGE, lock=True)
            before = _document(row)
            etag.require(if_match, before)
            await session.delete(row)
            await _note(session, DELETE, row, before, None)
        self._changed()

    async def state(self, limit_id: int, query: StateQuery) -> LimitState:
        """How a limit stands. Raises NotFound, also where nothing is counted; InvalidRequest."""
        async with self._db.read() as session:
            row = await rights.limit(session, limit_id, READ)
        if self._meters is None:
            raise NotFound("This process counts nothing.", hint="Ask one that answers requests.")
        want = _want(row, query)
        level = (await self._meters.look([want]))[0]
        used = row.amount - level.remaining
        return LimitState(
            id=row.id,
            subject=query.of or row.subject,
            amount=_shown(row.meter, row.amount),
            used=_shown(row.meter, used),
            remaining=_shown(row.meter, level.remaining),
            resets_in_s=round(level.reset_s, 3) if math.isfinite(level.reset_s) else None,
        )


def _want(row: LimitRow, query: StateQuery) -> Want:
    """What to look for. Raises InvalidRequest."""
    kind, _, name = row.subject.partition(":")
    subject = query.of or row.subject
    if subject != row.subject and (name != ALL or subject.partition(":")[0] != kind):
        raise InvalidRequest(f"The limit is not one of '{subject}'.", param="of")
    if subject.endswith(f":{ALL}"):
        raise InvalidRequest(
            "This is a limit for each of a kind: say of whom.",
            param="of",
            hint=f"For example: ?of={kind}:<name>",
        )
    if kind == "user" and query.project is None:
        raise InvalidRequest("End users are counted in each project.", param="project")
    limit = _limit(row)
    counter = counter_of(subject, limit, query.project or "")
    return Want(counter, limit.meter, limit.window, limit.amount, 0, limit.time_zone)


def _limit(row: LimitRow) -> Limit:
    return Limit(
        subject=row.subject,
        meter=cast("Meter", row.meter),
        window=cast("Window", row.window),
        amount=row.amount,
        model=row.model,
        time_zone=row.time_zone,
        warn_at=row.warn_at,
    )


def _check(row: LimitRow) -> None:
    """Raises InvalidRequest."""
    try:
        check(_limit(row))
    except ValueError as error:
        text = str(error)
        raise InvalidRequest(f"{text[0].upper()}{text[1:]}.", param=text.split("'")[1]) from None


def _amount(meter: str, given: int | str) -> int:
    """In units of the meter. Raises InvalidRequest."""
    if meter == MONEY:
        amount = billionths(str(given)) if isinstance(given, str) else given * billionths("1")
    elif isinstance(given, str):
        raise InvalidRequest("'amount' must be an integer for this meter.", param="amount")
    else:
        amount = given
    if amount > MOST:
        raise InvalidRequest("'amount' is too large.", param="amount")
    return amount


def _shown(meter: str, amount: int) -> int | str:
    return decimal(amount) if meter == MONEY else amount


def _document(row: LimitRow) -> dict[str, Any]:
    return {field: getattr(row, field) for field in _FIELDS}


async def _note(session: AsyncSession, action: str, row: LimitRow, before: Any, after: Any) -> None:
    """Write down what became of a limit: for operators, and for the owners of its subject."""
    if before == after:
        return
    name = str(row.id)
    await changes.record(session, action, KIND, name, before=before, after=after)
    await audit.record(
        session,
        action=f"{KIND}.{_SAID[action]}",
        object=f"{KIND}:{name}",
        organization=await rights.organization(session, row.subject),
        detail={"before": before, "after": after},
    )


def _out(row: LimitRow, missing: list[str]) -> LimitOut:
    more = {"amount": _shown(row.meter, row.amount), "etag": etag.etag(_document(row))}
    return LimitOut.model_validate(row.__dict__ | more | {"missing": missing})
