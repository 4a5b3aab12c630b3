"""Charges and their ledger lines, in the transaction that stores the events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import override

from xrouter.control.billing import posting
from xrouter.control.billing.draw import Attempt, Drawn, draw
from xrouter.control.billing.owners import Calendar, tenants
from xrouter.control.billing.posting import CHARGE, DRAIN, MARGIN, MOST, VAT, Entry, Transfer
from xrouter.control.billing.repository import DEFAULT
from xrouter.control.db.tables.billing import ChargeAttemptRow, ChargeRow
from xrouter.control.drain import Taker
from xrouter.control.kit.bulk import Bulk
from xrouter.domain.limits import Tenant
from xrouter.domain.money import BILLION, RUBLE, UNKNOWN, Charge, Part, on_top
from xrouter.domain.usage import UsageEvent
from xrouter.telemetry.logs import log

WARN_EVERY_S = 3600.0
_MAX_WARNED = 10_000
_BY_ID = attrgetter("event_id")

Values = tuple[Any, ...]

_ROWS = Bulk(
    ChargeRow,
    (
        "event_id", "at", "month", "organization", "project", "key_id", "end_user", "provider",
        "model", "version", "price_id", "currency", "rate", "cost", "margin", "vat", "total",
        "is_estimated",
    ),
    unique=("event_id",),
)  # fmt: skip
_ATTEMPTS = Bulk(
    ChargeAttemptRow,
    (
        "event_id", "number", "provider", "endpoint", "model", "version", "tokens_in",
        "tokens_out", "currency", "rate", "price_id", "cost", "is_estimated", "calls",
        "upstream_ids",
    ),
    unique=("event_id", "number"),
)  # fmt: skip


class Charged(Struct, frozen=True):
    """An event with what it costs in the end. costs: by account, to whom it goes."""

    event: UsageEvent
    charge: Charge
    parts: list[Part]
    costs: dict[str, int]

    @property
    def attempts(self) -> Iterable[Values]:
        """The rows of its attempts, where it is not that of one call alone."""
        if not self.charge.parts and self.charge.calls == 1:
            return
        for number, part in enumerate(self.parts, 1):
            yield (
                self.event.event_id,
                number,
                part.provider,
                part.endpoint,
                part.model,
                part.version,
                part.tokens_in,
                part.tokens_out,
                part.currency,
                part.rate,
                part.price_id,
                part.cost,
                part.is_estimated,
                part.calls,
                " ".join(part.upstream_ids) or None,
            )


class Charges(Taker):
    """Writes `charges` and `ledger_lines`. clock: seconds, for warnings alone.

    A charge of a closed month is booked in the first one after it that is open.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._warned: dict[str, float] = {}
        self._unknown: dict[str, int] = {}

    @override
    async def take(self, session: AsyncSession, events: Sequence[UsageEvent]) -> None:
        charged = sorted((e for e in events if e.charge is not None), key=_BY_ID)
        if not charged:
            return
        await posting.together(session)
        projects = {event.project or DEFAULT for event in charged}
        owners, closed = await tenants(session, projects, min(event.at for event in charged))
        drawn = await draw(session, charged)
        rows, attempts, lines = self._booked(charged, owners, Calendar(closed), drawn)
        await _ROWS.write(session, rows)
        await _ATTEMPTS.write(session, attempts)
        await posting.charge(session, lines)

    def _booked(
        self,
        charged: Iterable[UsageEvent],
        owners: Mapping[str, Tenant],
        calendar: Calendar,
        drawn: Mapping[Attempt, Drawn],
    ) -> tuple[list[Values], list[Values], list[Entry]]:
        """The rows of charges and of their attempts, and their lines."""
        rows: list[Values] = []
        attempts: list[Values] = []
        lines: list[Entry] = []
        for event in charged:
            owner = owners[event.project or DEFAULT]
            month, at = calendar.booked(event.at, owner)
            charge = event.charge or UNKNOWN
            if drawn or not _post(event, charge, owner.project, at, lines):
                found = _priced(event, drawn, owner)
                charge = found.charge
                attempts += found.attempts
                lines += _entries(found, owner.project, at)
                for part in found.parts:
                    if not part.is_known:
                        self._warn(part)
            elif charge.rate is None:
                self._warn(_only(event, charge))
            rows.append(_row(event, charge, month, owner))
        return rows, attempts, lines

    def _warn(self, part: Part) -> None:
        """Tell the operator once an hour for each model that nobody knows what it costs."""
        model, now = part.model, self._clock()
        self._unknown[model] = self._unknown.get(model, 0) + 1
        if now - self._warned.get(model, -WARN_EVERY_S) < WARN_EVERY_S:
            return
        if len(self._warned) >= _MAX_WARNED:
            self._warned.clear()
            self._unknown.clear()
        self._warned[model] = now
        requests = self._unknown.pop(model, 1)
        log.warning("price_unknown", model=model, provider=part.provider, requests=requests)


def _priced(event: UsageEvent, drawn: Mapping[Attempt, Drawn], owner: Tenant) -> Charged:
    """What the event costs, where packages cover some of it: these tokens at their own price."""
    charge = event.charge or UNKNOWN
    if max(charge.cost, charge.margin, charge.vat, charge.total) > MOST:
        log.error("charge_too_large", event_id=event.event_id, total=str(charge.total))
        charge = UNKNOWN
    costs: dict[str, int] = {}
    parts = [
        _paid(part, drawn.get((event.event_id, number)), costs)
        for number, part in enumerate(charge.parts or (_only(event, charge),), 1)
    ]
    if not any((event.event_id, number) in drawn for number in range(1, len(parts) + 1)):
        return Charged(event, charge, parts, costs)
    cost = sum(costs.values())
    margin, vat = on_top(cost, owner)
    charge = replace(charge, cost=cost, margin=margin, vat=vat, total=cost + margin + vat)
    if len(parts) == 1:
        (only,) = parts
        charge = replace(
            charge, currency=only.currency, rate=only.rate, price_id=only.price_id, told=False
        )
    return Charged(event, charge, parts, costs)


def _only(event: UsageEvent, charge: Charge) -> Part:
    """The one attempt of an event that has no more."""
    return Part(
        provider=event.provider or "",
        endpoint=event.endpoint or "",
        model=event.model_served or event.model_requested or "",
        version=event.version or "",
        tokens_in=event.tokens_in,
        tokens_out=event.tokens_out,
        tokens_cached=event.tokens_cached,
        cost=charge.cost,
        currency=charge.currency,
        rate=charge.rate,
        price_id=charge.price_id,
        is_estimated=charge.is_estimated,
        calls=charge.calls,
    )


def _paid(part: Part, drawn: Drawn | None, costs: dict[str, int]) -> Part:
    """The part as it costs in the end; `costs` are added to, by account."""
    account, rest = posting.provider(part.provider), part.cost
    if drawn is not None:
        left = drawn.of - drawn.tokens
        rest = -(-part.cost * left // drawn.of)
        for number, cost in drawn.costs.items():
            package = posting.package(number)
            costs[package] = costs.get(package, 0) + cost
        part = replace(part, cost=rest + sum(drawn.costs.values()))
        if not left:
            part = replace(part, currency=RUBLE, rate=BILLION, price_id=None)
    costs[account] = costs.get(account, 0) + rest
    return part


def _row(event: UsageEvent, charge: Charge, month: str, owner: Tenant) -> Values:
    return (
        event.event_id,
        event.at,
        month,
        owner.organization,
        owner.project,
        event.key_id,
        event.end_user,
        event.provider or "",
        event.model_served or event.model_requested or "",
        event.version,
        charge.price_id,
        charge.currency,
        charge.rate,
        charge.cost,
        charge.margin,
        charge.vat,
        charge.total,
        charge.is_estimated,
    )


def _post(event: UsageEvent, charge: Charge, project: str, at: float, lines: list[Entry]) -> bool:
    """Add the lines of a plain charge: in the order of the accounts, none of 0. Whether it is one:
    that of one call, whose amounts are what they should be.
    """
    cost, margin, vat, total = charge.cost, charge.margin, charge.vat, charge.total
    if charge.calls != 1 or charge.parts or cost + margin + vat != total or total > MOST:
        return False
    if cost < 0 or margin < 0 or vat < 0:
        return False
    event_id = event.event_id
    if margin:
        lines.append((event_id, at, MARGIN, margin))
    if total:
        lines.append((event_id, at, posting.project(project), -total))
    if cost:
        lines.append((event_id, at, posting.provider(event.provider or ""), cost))
    if vat:
        lines.append((event_id, at, VAT, vat))
    return True


def _entries(found: Charged, project: str, at: float) -> list[Entry]:
    """The lines of any charge."""
    charge = found.charge
    lines = {posting.project(project): -charge.total, MARGIN: charge.margin, VAT: charge.vat}
    lines |= found.costs
    made = Transfer(id=found.event.event_id, at=at, kind=CHARGE, lines=lines, author=DRAIN)
    return made.rows()
