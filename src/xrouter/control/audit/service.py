"""Reading the audit log, and checking that nobody has changed it."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit.log import digest
from xrouter.control.audit.schemas import AuditQuery, ChainOut, EventOut, EventsOut
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.people import AuditRow
from xrouter.control.kit.actor import actor
from xrouter.domain.errors import Forbidden

_PAGE = 1000
_FILTERS = ("organization", "actor", "action", "object")


Require = Callable[[AsyncSession, str, str], Awaitable[object]]
"""Raises NotFound or Forbidden unless who asks may do an action in an organisation."""


class AuditService:
    """Every method is one reading transaction. require: see `people.access.organization`."""

    def __init__(self, db: Database, require: Require) -> None:
        self._db = db
        self._require = require

    async def page(self, asked: AuditQuery) -> EventsOut:
        """Events, the newest first: all for operators, else of an organisation one may read.

        Raises NotFound, Forbidden.
        """
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(asked.limit + 1)
        for name in _FILTERS:
            if (value := getattr(asked, name)) is not None:
                query = query.where(getattr(AuditRow, name) == value)
        if asked.after is not None:
            query = query.where(AuditRow.id < asked.after)
        async with self._db.read() as session:
            if asked.organization is not None:
                await self._require(session, asked.organization, "audit.read")
            elif not actor.get().is_operator:
                raise Forbidden(
                    "The log of all organisations is for operators.",
                    param="organization",
                    hint="Name one of yours: ?organization=<slug>.",
                )
            found = (await session.scalars(query)).all()
        data = [_out(row) for row in found[: asked.limit]]
        return EventsOut(data=data, next=data[-1].id if len(found) > asked.limit else None)

    async def verify(self) -> ChainOut:
        """Walk the whole chain, a thousand rows at a time."""
        previous: bytes | None = None
        count = at = 0
        query = select(AuditRow).order_by(AuditRow.id).limit(_PAGE)
        async with self._db.read() as session:
            while rows := (await session.scalars(query.where(AuditRow.id > at))).all():
                for row in rows:
                    if not hmac.compare_digest(digest(previous, row), row.digest):
                        return ChainOut(
                            is_intact=False, count=count, head=_hex(previous), broken_at=row.id
                        )
                    previous, at = row.digest, row.id
                    count += 1
                session.expunge_all()
        return ChainOut(is_intact=True, count=count, head=_hex(previous))


def _out(row: AuditRow) -> EventOut:
    shown = {name: getattr(row, name) for name in EventOut.model_fields}
    return EventOut.model_validate({**shown, "digest": row.digest.hex()})


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()
