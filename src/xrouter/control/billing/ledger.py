"""The ledger: balances, lines, top-ups, adjustments, reversals. Nothing in it is ever changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.billing import posting
from xrouter.control.billing.amounts import billionths, money
from xrouter.control.billing.months import month_of
from xrouter.control.billing.posting import BANK, Transfer
from xrouter.control.billing.schemas import (
    AdjustmentIn,
    BalanceOut,
    LineOut,
    LineQuery,
    LinesOut,
    ReversalIn,
    TopUpIn,
    TransferOut,
)
from xrouter.control.db.changes import author
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import ClosedMonthRow, LineRow
from xrouter.control.db.tables.catalog import ProviderRow
from xrouter.control.db.tables.people import OrganizationRow, ProjectRow
from xrouter.control.kit.actor import actor
from xrouter.control.people import access
from xrouter.domain.errors import Conflict, InvalidRequest, NotFound

REVERSAL = "reversal"
_FINAL = (REVERSAL, "package")
"""Kinds that are not taken back."""


class Ledger:
    """Every write is one transaction, and one transfer however often it is sent.

    now: unix seconds.
    """

    def __init__(self, db: Database, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._now = now

    async def balance(self, account: str) -> BalanceOut:
        """What an account holds; nothing, where nobody has written to it. Raises NotFound."""
        async with self._db.read() as session:
            await _allow(session, account)
            held = await session.scalar(_sum().where(LineRow.account == account))
        return BalanceOut(account=account, balance=money(int(held or 0)))

    async def lines(self, account: str, wanted: LineQuery) -> LinesOut:
        """The lines of an account, the newest first. Raises NotFound."""
        query = select(LineRow).where(LineRow.account == account).order_by(LineRow.id.desc())
        if wanted.after is not None:
            query = query.where(LineRow.id < wanted.after)
        async with self._db.read() as session:
            await _allow(session, account)
            found = (await session.scalars(query.limit(wanted.limit + 1))).all()
        data = [_line(row) for row in found[: wanted.limit]]
        return LinesOut(data=data, next=data[-1].id if len(found) > wanted.limit else None)

    async def transfer(self, transfer_id: str) -> TransferOut:
        """One transfer with its lines. Raises NotFound."""
        async with self._db.read() as session:
            return _shown(await _lines(session, transfer_id), transfer_id)

    async def top_up(self, key: str, given: TopUpIn) -> TransferOut:
        """Money has come in. Raises InvalidRequest, Conflict."""
        if given.project is not None:
            account = posting.project(given.project)
        else:
            account = posting.organization(given.organization or "")
        amount = billionths(given.amount)
        at = None if given.at is None else given.at.timestamp()
        lines = {BANK: -amount, account: amount}
        return await self._write(key, "top_up", lines, given.memo, at)

    async def adjust(self, key: str, given: AdjustmentIn) -> TransferOut:
        """Move money between two accounts. Raises InvalidRequest, Conflict."""
        amount = billionths(given.amount)
        at = None if given.at is None else given.at.timestamp()
        lines = {given.source: -amount, given.target: amount}
        return await self._write(key, "adjustment", lines, given.memo, at)

    async def reverse(self, transfer_id: str, given: ReversalIn) -> TransferOut:
        """Take a transfer back, now; once. Raises NotFound, Conflict."""
        async with self._db.read() as session:
            before = await _lines(session, transfer_id)
        _shown(before, transfer_id)
        if before[0].kind in _FINAL:
            raise Conflict(
                f"A transfer of the kind '{before[0].kind}' is not taken back.",
                param="transfer",
                code="not_reversible",
                hint="POST /control/v1/billing/adjustments moves money between accounts.",
            )
        lines = {line.account: -line.amount for line in before}
        return await self._write(f"{REVERSAL}:{transfer_id}", REVERSAL, lines, given.memo, None)

    async def _write(
        self, key: str, kind: str, lines: Mapping[str, int], memo: str | None, at: float | None
    ) -> TransferOut:
        """at: None for now."""
        now = self._now()
        if at is not None and at > now:
            raise InvalidRequest("Invalid value for 'at': it is in the future.", param="at")
        async with self._db.write() as session:
            await posting.alone(session)
            known = await _lines(session, key)
            if known:
                _require_same(known, kind, lines, memo, at)
                return _shown(known, key)
            made = Transfer(
                id=key,
                at=now if at is None else at,
                kind=kind,
                lines=lines,
                author=author.get(),
                memo=memo,
            )
            owner = await _require_open(session, made)
            await posting.post(session, [made])
            detail = {"kind": kind, "lines": dict(lines), "memo": memo}
            await audit.record(
                session,
                action=f"ledger.{kind}",
                object=f"transfer:{key}",
                organization=owner,
                detail=detail,
            )
            return _shown(await _lines(session, key), key)


async def _allow(session: AsyncSession, account: str) -> None:
    """Accounts of tenants are for those who may read their bills. Raises NotFound, Forbidden."""
    kind, _, name = account.partition(":")
    if kind == "project":
        await access.project(session, name, "bills.read")
    elif kind == "organization":
        await access.organization(session, name, "bills.read")
    elif not actor.get().is_operator:
        raise NotFound(f"There is no account '{account}'.", param="account")


async def _lines(session: AsyncSession, transfer: str) -> Sequence[LineRow]:
    query = select(LineRow).where(LineRow.transfer == transfer).order_by(LineRow.account)
    return (await session.scalars(query)).all()


async def _require_open(session: AsyncSession, made: Transfer) -> str | None:
    """Every account is somebody's, and no month of theirs from then on is closed: it would begin
    with another balance. The organisation, if any.

    Raises InvalidRequest, Conflict.
    """
    slug = None
    for account in made.lines:
        owner = await _owner(session, account)
        if owner is None:
            continue
        slug, month = owner.slug, month_of(made.at, owner.time_zone)
        closed = select(ClosedMonthRow.month).where(
            ClosedMonthRow.organization == owner.slug, ClosedMonthRow.month >= month
        )
        if (
            last := await session.scalar(closed.order_by(ClosedMonthRow.month).limit(1))
        ) is not None:
            raise Conflict(
                f"The month {last} of '{owner.slug}' is closed.",
                param="at",
                code="month_closed",
                hint="Book it in an open month: leave 'at' out.",
            )
    return slug


async def _owner(session: AsyncSession, account: str) -> OrganizationRow | None:
    """Whose the account is; None for those of no tenant. Raises InvalidRequest for no account."""
    kind, _, name = account.partition(":")
    if kind in ("provider", "package"):
        await _require_lines(session, account)
        return None
    if kind not in ("project", "organization"):
        return None
    query = select(OrganizationRow)
    if kind == "project":
        query = query.join(ProjectRow, ProjectRow.organization_id == OrganizationRow.id)
        query = query.where(ProjectRow.slug == name)
    else:
        query = query.where(OrganizationRow.slug == name)
    found = await session.scalar(query)
    if found is None:
        raise InvalidRequest(f"There is no {kind} '{name}'.", param=kind, code=f"{kind}_not_found")
    return found


async def _require_lines(session: AsyncSession, account: str) -> None:
    """A provider that is not there, nor ever was paid, is a slip; so is such a package."""
    kind, _, name = account.partition(":")
    known = [select(LineRow.id).where(LineRow.account == account).limit(1)]
    if kind == "provider":
        known.append(select(ProviderRow.id).where(ProviderRow.name == name))
    if all([await session.scalar(query) is None for query in known]):
        raise InvalidRequest(f"There is no {kind} '{name}'.", param=kind, code=f"{kind}_not_found")


def _require_same(
    known: Sequence[LineRow],
    kind: str,
    lines: Mapping[str, int],
    memo: str | None,
    at: float | None,
) -> None:
    first = known[0]
    same = {line.account: line.amount for line in known} == dict(lines)
    if same and (first.kind, first.memo) == (kind, memo) and at in (None, first.at):
        return
    raise Conflict(
        f"The transfer '{first.transfer}' exists, and is another one.",
        param="idempotency-key",
        code="idempotency_key_reused",
        hint="Use a new key for each new write.",
    )


def _sum() -> Select[Any]:
    return select(func.sum(LineRow.amount))


def _shown(lines: Sequence[LineRow], transfer_id: str) -> TransferOut:
    if not lines:
        raise NotFound(
            f"There is no transfer '{transfer_id}'.", param="transfer", code="transfer_not_found"
        )
    first = lines[0]
    return TransferOut(
        id=transfer_id,
        at=first.at,
        kind=first.kind,
        memo=first.memo,
        author=first.author,
        lines=[_line(row) for row in lines],
    )


def _line(row: LineRow) -> LineOut:
    return LineOut(
        id=row.id,
        transfer=row.transfer,
        at=row.at,
        kind=row.kind,
        account=row.account,
        amount=money(row.amount),
        memo=row.memo,
        author=row.author,
    )
