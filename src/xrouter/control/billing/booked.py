"""Attempts as the books have them now: what was charged, and what was settled since."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.billing.statements import wrong
from xrouter.control.db.tables.billing import ChargeAttemptRow, ChargeRow, SettlementRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.domain.catalog import OWN

MOST = 200_000
CORRECTION = "~"
"""Stands in the id of a charge that corrects another one."""

_CHUNK = 500


class Attempt(Struct, kw_only=True):
    """One attempt of a request. at: unix seconds. calls: made by it; upstream_ids: those of them
    that the provider has named. settled: whether anything has been told of it afterwards.
    """

    event_id: str
    number: int
    at: float
    provider: str
    endpoint: str
    model: str
    tokens_in: int
    tokens_out: int
    cost: int
    is_estimated: bool
    price_id: int | None
    currency: str | None
    rate: int | None
    calls: int
    upstream_ids: tuple[str, ...]
    upstream_model: str | None
    settled: bool = False

    @property
    def is_named(self) -> bool:
        """Whether a bill that names calls can tell all of it.

        Of an estimate nobody knows whether the calls without a name have reached the provider.
        """
        return bool(self.upstream_ids) and (
            self.is_estimated or self.settled or len(self.upstream_ids) >= self.calls
        )


async def between(
    session: AsyncSession, provider: str, endpoints: Sequence[str], begins: float, ends: float
) -> list[Attempt]:
    """Attempts of a provider, by some of its endpoints, () for all. Raises InvalidRequest."""
    query = _attempts().where(
        func.coalesce(ChargeAttemptRow.provider, ChargeRow.provider) == provider,
        ChargeRow.at >= begins,
        ChargeRow.at <= ends,
    )
    if endpoints:
        query = query.where(_endpoint().in_(endpoints))
    found = await read(session, query.limit(MOST + 1))
    if len(found) > MOST:
        raise wrong(f"there are more than {MOST} calls of ours in its time; send it in parts")
    return found


async def of(session: AsyncSession, events: Collection[str]) -> dict[str, list[Attempt]]:
    """All attempts of these requests."""
    found: dict[str, list[Attempt]] = {}
    for some in chunks(sorted(events)):
        for each in await read(session, _attempts().where(ChargeRow.event_id.in_(some))):
            found.setdefault(each.event_id, []).append(each)
    return found


def estimates(providers: Collection[str], begins: float, ends: float) -> Select[Any]:
    """The query of those that are estimates; `read` makes attempts of its rows."""
    return _attempts().where(
        ChargeRow.is_estimated,
        ChargeRow.at >= begins,
        ChargeRow.at <= ends,
        func.coalesce(ChargeAttemptRow.is_estimated, ChargeRow.is_estimated),
        func.coalesce(ChargeAttemptRow.provider, ChargeRow.provider).in_(providers),
    )


async def read(session: AsyncSession, query: Select[Any]) -> list[Attempt]:
    """What a query finds."""
    found: list[Attempt] = []
    result = await session.stream(query.execution_options(yield_per=_CHUNK))
    async for part in result.partitions():  # others get their turn between them
        found += [_attempt(row) for row in part]
    return await _settled(session, found)


def chunks(events: Sequence[str]) -> list[Sequence[str]]:
    """As many as one query takes."""
    return [events[at : at + _CHUNK] for at in range(0, len(events), _CHUNK)]


def _endpoint() -> Any:
    return func.coalesce(ChargeAttemptRow.endpoint, UsageRow.endpoint, "")


def _attempts() -> Select[Any]:
    """What was kept costs nothing; what is on a project's own account is on another's bill."""
    part, row = ChargeAttemptRow, ChargeRow
    return (
        select(
            row.event_id,
            func.coalesce(part.number, 1),
            row.at,
            func.coalesce(part.provider, row.provider),
            _endpoint(),
            func.coalesce(part.model, row.model),
            func.coalesce(part.tokens_in, UsageRow.tokens_in, 0),
            func.coalesce(part.tokens_out, UsageRow.tokens_out, 0),
            func.coalesce(part.cost, row.cost),
            func.coalesce(part.is_estimated, row.is_estimated),
            case((part.number.is_(None), row.price_id), else_=part.price_id),
            case((part.number.is_(None), row.currency), else_=part.currency),
            case((part.number.is_(None), row.rate), else_=part.rate),
            func.coalesce(part.calls, 1),
            case((part.number.is_(None), UsageRow.upstream_request_id), else_=part.upstream_ids),
            case((part.number.is_(None), UsageRow.upstream_model)),
        )
        .outerjoin(part, part.event_id == row.event_id)
        .outerjoin(UsageRow, UsageRow.event_id == row.event_id)
        .where(
            ~row.event_id.contains(CORRECTION, autoescape=True),
            ~_endpoint().endswith(OWN),
            func.coalesce(UsageRow.cached, False).is_(False),
        )
        .order_by(row.event_id, part.number)
    )


def _attempt(row: Any) -> Attempt:
    values = dict(zip(Attempt.__struct_fields__, row, strict=False))
    ids = values.pop("upstream_ids") or ""
    return Attempt(**values | {"upstream_ids": tuple(ids.split())})


async def _settled(session: AsyncSession, attempts: list[Attempt]) -> list[Attempt]:
    """With what was told of them since, the last word of each."""
    by_key = {(each.event_id, each.number): each for each in attempts}
    events = sorted({each.event_id for each in attempts})
    for some in chunks(events):
        query = select(SettlementRow).where(SettlementRow.event_id.in_(some))
        for row in await session.scalars(query.order_by(SettlementRow.revision)):
            found = by_key.get((row.event_id or "", row.number))
            if found is not None:
                found.tokens_in, found.tokens_out = row.tokens_in, row.tokens_out
                found.cost, found.settled = row.cost, True
    return attempts
