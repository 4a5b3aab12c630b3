"""What is on a provider's bill and cannot be matched with any request: it is booked beside them.

The operator's account `unattributed` bears it; no project pays for it. A bill that has less than
what our own unmatched attempts come to gives it back there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct, field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.billing import booked, posting
from xrouter.control.billing.booked import Attempt
from xrouter.control.billing.posting import UNATTRIBUTED, Transfer
from xrouter.control.billing.settling import TRANSFER
from xrouter.control.billing.statements import Billed
from xrouter.control.db.changes import author
from xrouter.control.db.tables.billing import BilledCallRow, SettlementRow
from xrouter.domain.usage import new_id


class Rest(Struct):
    """Of a model and a day. lines: of the bill, with their cost; attempts: of ours."""

    provider: str
    endpoint: str
    model: str
    lines: list[Billed] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)


async def book(session: AsyncSession, rests: Sequence[Rest], *, source: str, now: float) -> int:
    """Book the differences, in this transaction, each side once; by how much providers get more."""
    await posting.alone(session)
    total = 0
    for rest in rests:
        await _leave_out(session, rest)
        if not rest.lines and not rest.attempts:
            continue
        cost = sum(line.cost or 0 for line in rest.lines)
        cost -= sum(attempt.cost for attempt in rest.attempts)
        last = max([line.at for line in rest.lines] + [each.at for each in rest.attempts])
        transfer = await post(session, _row(rest, cost, last, source), now)
        for attempt in rest.attempts:
            session.add(_noted(attempt, transfer, source, now))
        for line in rest.lines:
            session.add(BilledCallRow(provider=rest.provider, call=line.call, transfer=transfer))
        total += cost
    return total


async def post(session: AsyncSession, row: SettlementRow, now: float) -> str:
    """Write down a difference that is nobody's; the id of its transfer."""
    transfer = f"{TRANSFER}:{new_id()}"
    row.at = now
    row.transfer = transfer if row.cost else None
    session.add(row)
    made = Transfer(
        id=transfer,
        at=row.used_at,
        kind="adjustment",
        lines={posting.provider(row.provider): row.cost, UNATTRIBUTED: -row.cost},
        author=author.get(),
        memo=f"{row.model}: {row.source}",
    )
    await posting.post(session, [made])
    return transfer


def _row(rest: Rest, cost: int, used_at: float, source: str) -> SettlementRow:
    lines, attempts = rest.lines, rest.attempts
    return SettlementRow(
        event_id=None,
        number=0,
        revision=0,
        used_at=used_at,
        source=source,
        provider=rest.provider,
        endpoint=rest.endpoint,
        model=rest.model,
        tokens_in=sum(e.tokens_in or 0 for e in lines) - sum(e.tokens_in for e in attempts),
        tokens_out=sum(e.tokens_out or 0 for e in lines) - sum(e.tokens_out for e in attempts),
        cost=cost,
        before=0,
    )


def _noted(attempt: Attempt, transfer: str, source: str, now: float) -> SettlementRow:
    """It keeps its cost; the transfer has what is wrong with it."""
    return SettlementRow(
        event_id=attempt.event_id,
        number=attempt.number,
        revision=0,
        at=now,
        used_at=attempt.at,
        source=source,
        provider=attempt.provider,
        endpoint=attempt.endpoint,
        model=attempt.model,
        tokens_in=attempt.tokens_in,
        tokens_out=attempt.tokens_out,
        cost=attempt.cost,
        before=attempt.cost,
        transfer=transfer,
    )


async def _leave_out(session: AsyncSession, rest: Rest) -> None:
    """What somebody else has booked meanwhile."""
    calls = [line.call for line in rest.lines]
    done = await known(session, rest.provider, calls)
    rest.lines = [line for line in rest.lines if line.call not in done]
    events = sorted({attempt.event_id for attempt in rest.attempts})
    told: set[tuple[str | None, int]] = set()
    for some in booked.chunks(events):
        query = select(SettlementRow.event_id, SettlementRow.number)
        found = await session.execute(query.where(SettlementRow.event_id.in_(some)))
        told.update((event, number) for event, number in found)
    rest.attempts = [e for e in rest.attempts if (e.event_id, e.number) not in told]


async def known(session: AsyncSession, provider: str, calls: Collection[str]) -> set[str]:
    """Those of these calls that were booked already."""
    found: set[str] = set()
    for some in booked.chunks(sorted(calls)):
        query = select(BilledCallRow.call).where(
            BilledCallRow.provider == provider, BilledCallRow.call.in_(some)
        )
        found.update(await session.scalars(query))
    return found
