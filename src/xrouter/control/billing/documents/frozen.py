"""Who sells and buys: as it is now, and as it was when a month was closed.

What a document needs beside the charges is written into the audit log with the closing itself,
which the database does not let anybody change.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.people import AuditRow, OrganizationRow

CLOSED = "month.close"
"""The action of the entry that says that a month was closed."""


class Frozen(Struct, frozen=True, kw_only=True):
    """Details of both sides, and the rate of VAT in hundredths of a percent."""

    seller: dict[str, str]
    buyer: dict[str, str]
    vat: int


def present(owner: OrganizationRow, seller: Mapping[str, str]) -> Frozen:
    """As it is now."""
    return Frozen(seller={**seller}, buyer={"name": owner.name, **owner.details}, vat=owner.vat)


async def at_closing(session: AsyncSession, organization: str, month: str) -> Frozen | None:
    """As it was when the month was closed; None where nobody has written that down."""
    query = select(AuditRow.detail).where(
        AuditRow.object == f"month:{month}",
        AuditRow.organization == organization,
        AuditRow.action == CLOSED,
    )
    detail = await session.scalar(query.order_by(AuditRow.id).limit(1))
    if detail is None or "documents" not in detail:
        return None
    return msgspec.convert(detail["documents"], Frozen)
