"""Charges and their ledger lines, in the transaction that stores the events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import override

from xrouter.control.billing import posting
from xrouter.control.billing.draw import Attempt, Drawn, draw
from xrouter.control.billing.months import month_of, open_from, span
from xrouter.control.billing.posting import DRAIN, MARGIN, MOST, VAT, Transfer, post
from xrouter.control.billing.repository import DEFAULT
from xrouter.control.db.tables.billing import ChargeAttemptRow, ChargeRow, ClosedMonthRow
from xrouter.control.db.tables.people import OrganizationRow, ProjectRow
from xrouter.control.drain import Taker
from xrouter.control.kit.bulk import Bulk
from xrouter.domain.limits import Tenant
from xrouter.domain.money import BILLION, RUBLE, UNKNOWN, Charge, Part, on_top
from xrouter.domain.usage import UsageEvent
from xrouter.telemetry.logs import log

WARN_EVERY_S = 3600.0
_MAX_WARNED = 10_000
_ROWS = Bulk(
    ChargeRow.__tablename__,
    (
        "event_id", "at", "month", "organization", "project", "key_id", "end_user", "provider",
        "model", "version", "price_id", "currency", "rate", "cost", "margin", "vat", "total",
        "is_estimated",
    ),
    unique=("event_id",),
)  # fmt: skip
_ATTEMPTS = Bulk(
    ChargeAttemptRow.__tablename__,
    (
        "event_id", "number", "provider", "endpoint", "model", "version", "tokens_in",
        "tokens_out", "currency", "rate", "price_id", "cost", "is_estimated",
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
    def attempts(self) -> Iterable[tuple[Any, ...]]:
        """The rows of its attempts, where it is not that of one alone."""
        if not self.charge.parts:
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
        charged = sorted((e for e in events if e.charge is not None), key=lambda e: e.event_id)
        if not charged:
            return
        await posting.together(session)
        owners = await _owners(session, {event.project or DEFAULT for event in charged})
        closed = await _closed(session, {owner.organization for owner in owners.values()})
        drawn = await draw(session, charged)
        rows: list[tuple[Any, ...]] = []
        attempts: list[tuple[Any, ...]] = []
        transfers: list[Transfer] = []
        for event in charged:
            owner = owners[event.project or DEFAULT]
            found = _priced(event, drawn, owner)
            row, at = _booked(found, owner, closed)
            rows.append(row)
            attempts += found.attempts
            transfers.append(_transfer(found, owner.project, at))
            for part in found.parts:
                if not part.is_known:
                    self._warn(part)
        await _ROWS.write(session, rows)
        await _ATTEMPTS.write(session, attempts)
        await post(session, transfers)

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
        cost=charge.cost,
        currency=charge.currency,
        rate=charge.rate,
        price_id=charge.price_id,
        is_estimated=charge.is_estimated,
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


def _booked(
    found: Charged, owner: Tenant, closed: dict[str, set[str]]
) -> tuple[tuple[Any, ...], float]:
    """The row of a charge, and when its lines are booked."""
    event, charge = found.event, found.charge
    natural = month_of(event.at, owner.time_zone)
    month = open_from(natural, closed.get(owner.organization, ()))
    at = event.at if month == natural else span(month, owner.time_zone)[0]
    row = (
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
    return row, at


def _transfer(found: Charged, project: str, at: float) -> Transfer:
    charge = found.charge
    lines = {posting.project(project): -charge.total, MARGIN: charge.margin, VAT: charge.vat}
    return Transfer(
        id=found.event.event_id, at=at, kind="charge", lines=lines | found.costs, author=DRAIN
    )


async def _owners(session: AsyncSession, projects: Iterable[str]) -> dict[str, Tenant]:
    """Whose the projects are; those that nobody has made are the default organisation's."""
    wanted = set(projects)
    whose = (OrganizationRow.slug, OrganizationRow.time_zone)
    shares = (OrganizationRow.margin, OrganizationRow.vat)
    query = (
        select(ProjectRow.slug, *whose, *shares)
        .join(OrganizationRow, OrganizationRow.id == ProjectRow.organization_id)
        .where(ProjectRow.slug.in_(wanted))
    )
    found = {
        slug: Tenant(project=slug, organization=of, time_zone=zone, margin=margin, vat=vat)
        for slug, of, zone, margin, vat in await session.execute(query)
    }
    if len(found) < len(wanted):
        default = select(OrganizationRow.time_zone).where(OrganizationRow.slug == DEFAULT)
        zone = await session.scalar(default) or "UTC"
        for slug in wanted - found.keys():
            found[slug] = Tenant(project=slug, organization=DEFAULT, time_zone=zone)
    return found


async def _closed(session: AsyncSession, organizations: set[str]) -> dict[str, set[str]]:
    query = select(ClosedMonthRow.organization, ClosedMonthRow.month)
    found: dict[str, set[str]] = {}
    for organization, month in await session.execute(
        query.where(ClosedMonthRow.organization.in_(organizations))
    ):
        found.setdefault(organization, set()).add(month)
    return found
