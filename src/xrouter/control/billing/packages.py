"""Prepaid packages: bought, listed, changed, taken back while nothing was drawn."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.billing import posting
from xrouter.control.billing.amounts import billionths, money
from xrouter.control.billing.draw import paid_for
from xrouter.control.billing.posting import BANK, Transfer
from xrouter.control.billing.schemas import PackageIn, PackageOut, PackagePatch
from xrouter.control.db.changes import author
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.billing import PackageRow
from xrouter.control.db.tables.catalog import EndpointRow, ModelRow
from xrouter.control.kit.schemas import Page
from xrouter.domain.errors import Conflict, InvalidRequest, NotFound
from xrouter.domain.usage import new_id

_SHOWN = 1000
KIND = "package"


class Packages:
    """Every method is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, provider: str | None) -> Page[PackageOut]:
        """Packages, what expires last first; a thousand at most."""
        query = (
            select(PackageRow, EndpointRow.name)
            .outerjoin(EndpointRow, EndpointRow.id == PackageRow.endpoint_id)
            .order_by(PackageRow.expires_at.desc(), PackageRow.id.desc())
            .limit(_SHOWN)
        )
        if provider is not None:
            query = query.where(PackageRow.provider == provider)
        async with self._db.read() as session:
            rows = (await session.execute(query)).all()
        return Page(data=[_shown(row, endpoint) for row, endpoint in rows])

    async def get(self, number: int) -> PackageOut:
        """One. Raises NotFound."""
        async with self._db.read() as session:
            row = await _package(session, number)
            return _shown(row, await _name(session, row))

    async def add(self, given: PackageIn) -> PackageOut:
        """Write down a purchase, in the ledger too. Raises InvalidRequest."""
        starts_at = given.starts_at or utc_now()
        _require_time(starts_at, given.expires_at)
        async with self._db.write() as session:
            await posting.alone(session)
            await _require_models(session, given.provider, given.models)
            row = PackageRow(
                provider=given.provider,
                endpoint_id=await _endpoint(session, given.provider, given.endpoint),
                models=given.models,
                bought=given.bought,
                left=given.bought,
                paid=billionths(given.paid),
                starts_at=starts_at,
                expires_at=given.expires_at,
            )
            session.add(row)
            await session.flush()
            account = posting.package(row.id)
            await _move(session, BANK, account, row.paid)
            await _record(session, "package.create", row)
            return _shown(row, given.endpoint)

    async def change(self, number: int, patch: PackagePatch) -> PackageOut:
        """Change what it is for, and when. Raises NotFound, InvalidRequest."""
        async with self._db.write() as session:
            row = await _package(session, number, lock=True)
            new = patch.sent()
            fresh = set(new.get("models", ())) - set(row.models)
            await _require_models(session, row.provider, fresh)
            for name, value in new.items():
                setattr(row, name, value)
            _require_time(row.starts_at, row.expires_at)
            await session.flush()
            await _record(session, "package.change", row)
            return _shown(row, await _name(session, row))

    async def remove(self, number: int) -> None:
        """Take back a purchase of which nothing was drawn. Raises NotFound, Conflict."""
        async with self._db.write() as session:
            await posting.alone(session)
            row = await _package(session, number, lock=True)
            if row.left != row.bought:
                raise Conflict(
                    f"Tokens were drawn from the package {number}.",
                    param="package",
                    code="package_in_use",
                    hint="Let it expire: `xrouter packages set`, PATCH with another 'expires_at'.",
                )
            account = posting.package(row.id)
            await _move(session, account, BANK, row.paid)
            await _record(session, "package.delete", row)
            await session.delete(row)


async def _package(session: AsyncSession, number: int, *, lock: bool = False) -> PackageRow:
    query = select(PackageRow).where(PackageRow.id == number)
    row = await session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise NotFound(
            f"There is no package {number}.",
            param="package",
            code="package_not_found",
            hint="GET /control/v1/billing/packages lists them.",
        )
    return row


async def _endpoint(session: AsyncSession, provider: str, name: str | None) -> int | None:
    """The row of the endpoint; None for all of the provider's. Raises InvalidRequest."""
    query = select(EndpointRow.id).where(EndpointRow.provider == provider)
    if name is not None:
        query = query.where(EndpointRow.name == name)
    found: int | None = await session.scalar(query.limit(1))
    if found is None:
        what = "provider" if name is None else "endpoint"
        raise InvalidRequest(
            f"Invalid value for '{what}': there is no such {what}.", param=what, code="not_found"
        )
    return None if name is None else found


async def _require_models(session: AsyncSession, provider: str, models: Collection[str]) -> None:
    """A package for what is not there would never be drawn from. Raises InvalidRequest."""
    query = select(ModelRow.model_id).where(ModelRow.provider == provider)
    known = set(await session.scalars(query.where(ModelRow.model_id.in_(models))))
    missing = sorted(set(models) - known)
    if missing:
        raise InvalidRequest(
            f"Invalid value for 'models': '{provider}' has no model '{missing[0]}'.",
            param="models",
            code="not_found",
            hint="A model is named by its id, as in `xrouter models list`.",
        )


async def _name(session: AsyncSession, row: PackageRow) -> str | None:
    query = select(EndpointRow.name).where(EndpointRow.id == row.endpoint_id)
    found: str | None = await session.scalar(query)
    return found


async def _move(session: AsyncSession, source: str, target: str, amount: int) -> None:
    """What we have becomes something else that we have: the line of what is given goes up."""
    made = Transfer(
        id=new_id("package:"),
        at=utc_now().timestamp(),
        kind=KIND,
        lines={source: amount, target: -amount},
        author=author.get(),
    )
    await posting.post(session, [made])


async def _record(session: AsyncSession, action: str, row: PackageRow) -> None:
    detail = {
        "provider": row.provider,
        "models": row.models,
        "bought": row.bought,
        "left": row.left,
        "paid": row.paid,
        "expires_at": row.expires_at.isoformat(),
    }
    await audit.record(session, action=action, object=f"package:{row.id}", detail=detail)


def _require_time(starts_at: datetime, expires_at: datetime) -> None:
    if expires_at <= starts_at:
        raise InvalidRequest(
            "Invalid value for 'expires_at': it must be after 'starts_at'.", param="expires_at"
        )


def _shown(row: PackageRow, endpoint: str | None) -> PackageOut:
    return PackageOut(
        id=row.id,
        provider=row.provider,
        endpoint=endpoint,
        models=list(row.models),
        bought=row.bought,
        left=row.left,
        paid=money(row.paid),
        value=money(paid_for(row.paid, row.bought, row.left)),
        starts_at=row.starts_at.astimezone(UTC),
        expires_at=row.expires_at.astimezone(UTC),
        created_at=row.created_at.astimezone(UTC),
    )
