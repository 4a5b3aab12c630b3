"""Making a charge what the provider has really charged, after the fact.

Nothing in the ledger is changed: the difference is a transfer of its own. The charge's row becomes
exact while its month is open; what changes of a closed month is a row in the first open one.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.billing import charged, posting
from xrouter.control.billing.booked import CORRECTION, Attempt
from xrouter.control.billing.charged import Request
from xrouter.control.billing.months import month_of, open_from, span
from xrouter.control.billing.posting import CHARGE, MARGIN, VAT, Transfer
from xrouter.control.db.changes import author
from xrouter.control.db.tables.billing import ChargeAttemptRow, ChargeRow, SettlementRow
from xrouter.domain.money import BILLION, RUBLE, on_top

TRANSFER = "settlement"
BATCH = 200
"""Requests that are settled in one transaction."""


class Exact(Struct, frozen=True):
    """What the provider has charged for an attempt."""

    event_id: str
    number: int
    tokens_in: int
    tokens_out: int
    cost: int


class Settled(Struct):
    """What was done. attempts: that are exact now; in_packages: those that prepaid tokens have
    paid for, which stay as they are. cost: by how much providers get more.
    """

    attempts: int = 0
    in_packages: int = 0
    cost: int = 0

    def add(self, other: Settled) -> None:
        """Both together."""
        self.attempts += other.attempts
        self.in_packages += other.in_packages
        self.cost += other.cost


async def settle(
    session: AsyncSession, exact: Sequence[Exact], *, source: str, now: float
) -> Settled:
    """Make attempts exact, in this transaction. What is so already stays as it is.

    source: `asked` or `statement`. now: unix seconds.
    """
    await posting.alone(session)
    found = Settled()
    said: dict[str, list[Exact]] = {}
    for each in exact:
        said.setdefault(each.event_id, []).append(each)
    requests = await charged.requests(session, said)
    packaged = await charged.packaged(session, said)
    transfers: list[Transfer] = []
    for event_id, request in requests.items():
        news = [each for each in said[event_id] if _is_news(request, each)]
        if not news:
            continue
        if event_id in packaged:
            found.in_packages += len(news)
            continue
        transfer = _book(session, request, news, source, now)
        transfers.append(transfer)
        found.attempts += len(news)
        found.cost += sum(
            amount for name, amount in transfer.lines.items() if name.startswith("provider:")
        )
    await posting.post(session, transfers)
    return found


def _is_news(request: Request, exact: Exact) -> bool:
    known = request.attempts.get(exact.number)
    if known is None:
        return False
    same = (known.tokens_in, known.tokens_out, known.cost) == (
        exact.tokens_in,
        exact.tokens_out,
        exact.cost,
    )
    return known.is_estimated or not same


def _book(
    session: AsyncSession, request: Request, news: Sequence[Exact], source: str, now: float
) -> Transfer:
    """Write down what is new of a request; the transfer of the difference."""
    row, revision = request.row, request.revision + 1
    natural, zone = month_of(row.at, request.owner.time_zone), request.owner.time_zone
    month = open_from(row.month, request.closed)
    transfer = f"{TRANSFER}:{row.event_id}:{revision}"
    lines: dict[str, int] = {}
    changes: list[tuple[Attempt, Attempt]] = []
    for each in news:
        old = request.attempts[each.number]
        new = replace(
            old,
            tokens_in=each.tokens_in,
            tokens_out=each.tokens_out,
            cost=each.cost,
            is_estimated=False,
        )
        account = posting.provider(old.provider)
        lines[account] = lines.get(account, 0) + new.cost - old.cost
        changes.append((old, new))
        told = _told(old, new)
        told.revision, told.source, told.at = revision, source, now
        told.transfer = transfer if new.cost != old.cost else None
        session.add(told)
    cost = sum(lines.values())
    margin, vat = _on_top(request, cost)
    total = cost + margin + vat
    more = (cost, margin, vat, total)
    if month == row.month:
        _change(session, request, changes, more)
    else:
        _correct(session, request, changes, more, month)
    for _, new in changes:
        request.attempts[new.number] = new
        if new.number in request.parts:
            request.parts[new.number].is_estimated = False
    row.is_estimated = any(each.is_estimated for each in request.attempts.values())
    row.settled_at = now
    return Transfer(
        id=transfer,
        at=row.at if month == natural else span(month, zone)[0],
        kind=CHARGE,
        lines=lines | {posting.project(row.project): -total, MARGIN: margin, VAT: vat},
        author=author.get(),
        memo=f"{row.event_id}: {source}",
    )


def _told(old: Attempt, new: Attempt) -> SettlementRow:
    return SettlementRow(
        event_id=old.event_id,
        number=old.number,
        used_at=old.at,
        provider=old.provider,
        endpoint=old.endpoint,
        model=old.model,
        tokens_in=new.tokens_in,
        tokens_out=new.tokens_out,
        cost=new.cost,
        before=old.cost,
    )


def _on_top(request: Request, cost: int) -> tuple[int, int]:
    """Margin and VAT of the difference, so that those of the whole are what they should be; of
    the difference alone, where the organisation's shares are not what they were.
    """
    rows = [request.row, *request.corrections]
    before = sum(row.cost for row in rows)
    had = sum(row.margin for row in rows), sum(row.vat for row in rows)
    if on_top(before, request.owner) == had:
        margin, vat = on_top(before + cost, request.owner)
        return margin - had[0], vat - had[1]
    if before:
        margin = _share(had[0], before, cost)
        return margin, _share(had[1], before + had[0], cost + margin)
    return on_top(cost, request.owner)


def _share(part: int, whole: int, of: int) -> int:
    """`of` in the same relation; rounded half up."""
    return (2 * of * part + whole) // (2 * whole) if whole else 0


def _change(
    session: AsyncSession,
    request: Request,
    changes: Sequence[tuple[Attempt, Attempt]],
    more: tuple[int, int, int, int],
) -> None:
    """Of a month that is open."""
    row = request.row
    cost, margin, vat, total = more
    row.cost, row.margin = row.cost + cost, row.margin + margin
    row.vat, row.total = row.vat + vat, row.total + total
    if row.rate is None:  # nobody knew what it costs
        row.currency, row.rate = RUBLE, BILLION
    for _, new in changes:
        part = request.parts.get(new.number)
        if part is None:
            session.add(_part(row, row.event_id, new))
            continue
        part.tokens_in, part.tokens_out, part.cost = new.tokens_in, new.tokens_out, new.cost
        if part.rate is None:
            part.currency, part.rate = RUBLE, BILLION


def _correct(
    session: AsyncSession,
    request: Request,
    changes: Sequence[tuple[Attempt, Attempt]],
    more: tuple[int, int, int, int],
    month: str,
) -> None:
    """Of a month that is closed: the row stays, another one has the difference."""
    row = request.row
    cost, margin, vat, total = more
    name = f"{row.event_id}{CORRECTION}{request.revision + 1}"
    session.add(
        ChargeRow(
            event_id=name,
            at=row.at,
            month=month,
            organization=row.organization,
            project=row.project,
            key_id=row.key_id,
            end_user=row.end_user,
            provider=row.provider,
            model=row.model,
            version=row.version,
            price_id=row.price_id,
            currency=row.currency or RUBLE,
            rate=row.rate or BILLION,
            cost=cost,
            margin=margin,
            vat=vat,
            total=total,
            is_estimated=False,
        )
    )
    for old, new in changes:
        rest = replace(
            new,
            tokens_in=new.tokens_in - old.tokens_in,
            tokens_out=new.tokens_out - old.tokens_out,
            cost=new.cost - old.cost,
            upstream_ids=(),
        )
        session.add(_part(row, name, rest))


def _part(row: ChargeRow, event_id: str, attempt: Attempt) -> ChargeAttemptRow:
    return ChargeAttemptRow(
        event_id=event_id,
        number=attempt.number,
        provider=attempt.provider,
        endpoint=attempt.endpoint,
        model=attempt.model,
        version=row.version,
        tokens_in=attempt.tokens_in,
        tokens_out=attempt.tokens_out,
        currency=attempt.currency or RUBLE,
        rate=attempt.rate or BILLION,
        price_id=attempt.price_id,
        cost=attempt.cost,
        is_estimated=False,
        calls=attempt.calls,
        upstream_ids=" ".join(attempt.upstream_ids) or None,
    )
