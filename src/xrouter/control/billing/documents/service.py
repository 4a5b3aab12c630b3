"""Invoices and acts of months, and the register of sales; drafts until the month is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from importlib import import_module
from typing import Literal

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.billing import bills, repository
from xrouter.control.billing.documents.frozen import at_closing, present
from xrouter.control.billing.documents.paper import (
    Kind,
    Paper,
    Party,
    Sold,
    items,
    party,
    rate_of,
    sums,
)
from xrouter.control.billing.documents.schemas import PaperQuery
from xrouter.control.billing.documents.sheet import sheet
from xrouter.control.billing.months import span, zone
from xrouter.control.billing.schemas import Language
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import ClosedMonthRow
from xrouter.control.db.tables.people import OrganizationRow
from xrouter.domain.errors import Conflict, OperatorError

Format = Literal["pdf", "xlsx"]
MEDIA_TYPES: dict[Format, str] = {
    "pdf": "application/pdf",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_MOST_BUYERS = 1000


class DocumentsNotInstalled(OperatorError):
    """501: the packages that write documents are not there."""

    status = 501
    default_code = "documents_not_installed"


class _Wish(Struct, frozen=True):
    """Which paper of a month."""

    kind: Kind
    language: Language = "ru"
    project: str | None = None
    by_model: bool = True
    vat_inside: bool = True


class Documents:
    """Only reads. seller: details of who runs this router. One file is laid out at a time."""

    def __init__(self, db: Database, seller: Mapping[str, str] | None = None) -> None:
        self._db = db
        self._seller = seller or {}
        self._turn = asyncio.Lock()

    async def paper(self, organization: str, month: str, kind: Kind, wanted: PaperQuery) -> Paper:
        """The document's content. Raises NotFound, Conflict."""
        wish = _Wish(
            kind, wanted.language, wanted.project, wanted.lines == "models", wanted.vat == "in"
        )
        async with self._db.read() as session:
            return await self._paper(session, organization, month, wish)

    async def file(self, paper: Paper, form: Format) -> bytes:
        """The document laid out. Raises DocumentsNotInstalled."""
        async with self._turn:
            return await asyncio.to_thread(_written, paper, form)

    async def register(self, month: str, organization: str | None) -> list[Paper]:
        """What was sold in a month, an act for each organisation. Raises NotFound, Conflict."""
        async with self._db.read() as session:
            slugs = [organization] if organization is not None else None
            if slugs is None:
                slugs = await repository.charged(session, month, _MOST_BUYERS + 1)
            if len(slugs) > _MOST_BUYERS:
                raise Conflict(
                    f"More than {_MOST_BUYERS} organisations were charged in {month}.",
                    param="organization",
                    code="too_many",
                    hint="Ask for the register of each: ?organization=<slug>.",
                )
            return [await self._paper(session, slug, month, _Wish("act")) for slug in slugs]

    async def _paper(
        self, session: AsyncSession, organization: str, month: str, wish: _Wish
    ) -> Paper:
        owner = await bills.owner_of(session, organization, wish.project)
        closed = await session.get(ClosedMonthRow, (owner.slug, month))
        sold = await _sold(session, owner, month, wish.project)
        if closed is not None and wish.project is None:
            _require_same(closed, sold)
        now = present(owner, self._seller)
        then = (await at_closing(session, owner.slug, month) if closed else None) or now
        vat, total = sums(sold)
        return Paper(
            kind=wish.kind,
            language=wish.language,
            number="-".join(part for part in (month, owner.slug, wish.project) if part),
            month=month,
            day=_last_day(month, owner.time_zone),
            is_draft=closed is None,
            seller=_seller(then.seller or now.seller, wish.language),
            buyer=party(then.buyer, wish.language),
            items=items(sold, then.vat, by_model=wish.by_model),
            requests=sum(each.requests for each in sold),
            net=total - vat,
            vat=vat,
            total=total,
            vat_rate=rate_of(sold, then.vat),
            vat_inside=wish.vat_inside,
        )


async def _sold(
    session: AsyncSession, owner: OrganizationRow, month: str, project: str | None
) -> list[Sold]:
    """What the month has charged. Raises Conflict for nothing."""
    begins, _ = span(month, owner.time_zone)
    rows = await repository.sold(session, owner.slug, project, month, begins)
    if not rows:
        raise Conflict(
            f"Nothing was charged to {project or owner.slug} in {month}.",
            param="month",
            code="nothing_charged",
        )
    return [
        Sold(model, bool(late), requests, int(vat), int(total))
        for model, late, requests, vat, total in rows
    ]


def _require_same(closed: ClosedMonthRow, sold: Sequence[Sold]) -> None:
    if closed.total != sum(each.total for each in sold):
        raise Conflict(
            f"The charges of {closed.month} are not those with which it was closed.",
            param="month",
            code="month_disagrees",
        )


def _seller(details: Mapping[str, str], language: Language) -> Party:
    found = party(details, language)
    if not found.name:
        raise Conflict(
            "Nobody has said who sells.",
            code="seller_unknown",
            hint="Set XROUTER_SELLER, or the table [seller] of xrouter.toml: docs/billing.md.",
        )
    return found


def _last_day(month: str, time_zone: str) -> date:
    _, ends = span(month, time_zone)
    return datetime.fromtimestamp(ends, zone(time_zone)).date() - timedelta(days=1)


def _written(paper: Paper, form: Format) -> bytes:
    """By the module of its name, which is loaded by those alone who use it."""
    try:
        layout = import_module(f"{__package__}.{form}")
    except ImportError:
        raise DocumentsNotInstalled(
            f"A document as {form.upper()} needs packages that are not installed.",
            hint='pip install "xrouter[documents]"',
        ) from None
    data: bytes = layout.written(sheet(paper))
    return data
