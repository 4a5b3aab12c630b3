"""Who changes the catalog: services write each change down in the transaction that makes it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.catalog import CatalogState
from xrouter.control.db.tables.releases import ChangeRow

SYSTEM = "system"
"""The author of what no person asked for: syncs, schedules, roll-backs."""

CREATE = "create"
UPDATE = "update"
DELETE = "delete"

author: ContextVar[str] = ContextVar("author", default=SYSTEM)
"""Who acts; set by the guard for the length of a request."""


async def record(
    session: AsyncSession,
    action: str,
    kind: str,
    name: str,
    *,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> None:
    """Write a change down, in the transaction of the change itself; nothing when there is none.

    action: `create`, `update`, `delete`, `sync`, `release`, `restore` ... kind: `provider`,
    `model`, `route` ... name: of the object. before, after: the whole object as it is exported.
    """
    if before == after:
        return
    await session.flush()
    session.add(
        ChangeRow(
            revision=await session.scalar(select(CatalogState.revision)) or 0,
            at=utc_now(),
            author=author.get(),
            action=action,
            kind=kind,
            object=name,
            before=before,
            after=after,
        )
    )
