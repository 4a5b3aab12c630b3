"""Writing to the audit log: one chain, in which every row carries a digest over all before it.

digest = SHA-256 of the digest before and the canonical JSON of the row; the first has none before.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.people import AuditRow
from xrouter.control.kit.actor import actor

_LOCK = text("SELECT pg_advisory_xact_lock(7810761201)")
"""SQLite has one writer at a time as it is."""


async def record(
    session: AsyncSession,
    *,
    action: str,
    object: str,  # noqa: A002 - as the column
    organization: str | None = None,
    detail: dict[str, Any] | None = None,
    by: str | None = None,
) -> None:
    """Write an event down, in the transaction of what it is about; best as its last step.

    action: `<kind>.<verb>`, for example `key.revoke`. object: `<kind>:<id>`. organization: slug
    of whose owners may read it. detail: JSON without secrets and without fractions. by: an actor
    other than who asks, for example who has just proved who it is.
    """
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(_LOCK)
    who = actor.get()
    row = AuditRow(
        at=utc_now(),
        actor=by or who.name,
        ip=who.ip,
        action=action,
        object=object,
        organization=organization,
        detail=detail or {},
    )
    last = select(AuditRow.digest).order_by(AuditRow.id.desc()).limit(1)
    row.digest = digest(await session.scalar(last), row)
    session.add(row)
    await session.flush()


def digest(previous: bytes | None, row: AuditRow) -> bytes:
    """What the row must carry behind a row with the digest `previous`."""
    content = [
        row.at.astimezone(UTC).isoformat(),
        row.actor,
        row.ip,
        row.action,
        row.object,
        row.organization,
        row.detail,
    ]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256((previous or b"") + canonical.encode()).digest()
