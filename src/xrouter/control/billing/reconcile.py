"""A provider's statement beside our books: what differs, by model and day."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from msgspec import Struct
from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.billing import repository
from xrouter.control.billing.amounts import money
from xrouter.control.billing.months import day_of, zone
from xrouter.control.billing.repository import QUARTER_S
from xrouter.control.billing.schemas import DifferenceOut, ReconciledOut, ReconcileIn
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import ChargeAttemptRow, ChargeRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.domain.catalog import OWN
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.money import BILLION

MAX_ROWS = 100_000
MAX_DAYS = 400
_MAX_SHOWN = 10_000
_DAY_S = 86_400
_WIDEST_S = 14 * 3600
"""A time zone is this far from UTC, at most."""

_DATES = ("%Y-%m-%d", "%d.%m.%Y")
_LARGEST = 10**15


class Side(Struct):
    """What one side says of a day and a model. None: it does not tell."""

    tokens: int | None = None
    cost: int | None = None

    def add(self, other: Side) -> None:
        """Rows of the same day and model are one."""
        self.tokens = _plus(self.tokens, other.tokens)
        self.cost = _plus(self.cost, other.cost)


Place = tuple[date, str]
"""Day and model."""


class Reconciler:
    """Compares; nothing is kept."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def compare(self, given: ReconcileIn) -> ReconciledOut:
        """The days and models on which the statement and our charges differ.

        Only days from the statement's first to its last are looked at. Raises InvalidRequest.
        """
        theirs = read_statement(given.csv)
        days = [day for day, _ in theirs]
        first, last = min(days), max(days)
        if (last - first).days > MAX_DAYS:
            raise _wrong(f"it spans more than {MAX_DAYS} days")
        async with self._db.read() as session:
            ours, names = await _ours(session, given, first, last)
        found = {(day, names.get(model.casefold(), model)): Side() for day, model in theirs}
        for (day, model), side in theirs.items():
            found[day, names.get(model.casefold(), model)].add(side)
        return _told(given.provider, ours, found)


def read_statement(text: str) -> dict[Place, Side]:
    """What the provider says, by day and model. Raises InvalidRequest that names the line."""
    text = text.removeprefix("\ufeff")
    head = text.split("\n", 1)[0]
    delimiter = max(";,\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    fields = {name.strip().casefold(): name for name in reader.fieldnames or () if name}
    if not {"day", "model"} <= fields.keys() or not {"tokens", "amount"} & fields.keys():
        raise _wrong("its first line must name 'day', 'model', and 'tokens' or 'amount'")
    found: dict[Place, Side] = {}
    for number, row in enumerate(_rows(reader), 2):
        if number > MAX_ROWS:
            raise _wrong(f"it has more than {MAX_ROWS} lines")
        said = {field: (row.get(name) or "").strip() for field, name in fields.items()}
        if not any(said.values()):
            continue
        day, model = _parsed(_day, said["day"], number, "day"), said["model"]
        if not model:
            raise _wrong(f"line {number} has no model")
        side = Side(
            _parsed(_tokens, said.get("tokens", ""), number, "tokens"),
            _parsed(_amount, said.get("amount", ""), number, "amount"),
        )
        found.setdefault((day, model), Side()).add(side)
    if not found:
        raise _wrong("it has no lines")
    return found


def _rows(reader: csv.DictReader[str]) -> Iterator[dict[str, str]]:
    try:
        for row in reader:
            yield {name: value for name, value in row.items() if isinstance(value, str)}
    except csv.Error as error:
        raise _wrong(f"{error}") from None


def _parsed(read: Callable[[str], Any], text: str, number: int, field: str) -> Any:
    try:
        return read(text)
    except (ValueError, InvalidOperation):
        raise _wrong(f"line {number}: '{text[:40]}' is no {field}") from None


def _day(text: str) -> date:
    for form in _DATES:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC).date()
        except ValueError:
            continue
    raise ValueError(text)


def _tokens(text: str) -> int | None:
    return None if not text else _bounded(int(_plain(text)))


def _amount(text: str) -> int | None:
    """Rubles with a point or a comma, as billionths."""
    if not text:
        return None
    amount = Decimal(_plain(text).replace(",", "."))
    if not amount.is_finite() or abs(amount) > BILLION:
        raise ValueError(text)
    return int((amount * BILLION).to_integral_value())


def _plain(text: str) -> str:
    """Without the spaces that set thousands apart."""
    return text.replace(" ", "").replace("\u00a0", "").replace("\u202f", "")


def _bounded(number: int) -> int:
    if abs(number) > _LARGEST:
        raise ValueError(str(number))
    return number


async def _ours(
    session: AsyncSession, given: ReconcileIn, first: date, last: date
) -> tuple[dict[Place, Side], dict[str, str]]:
    """Our side by day and model id, and the ids by every name that the provider may use.

    Attempts count by their own provider and model; what they had cached is not known. What went
    out on a project's own account is on the statement of another.
    """
    begins = datetime(first.year, first.month, first.day, tzinfo=zone(given.time_zone)).timestamp()
    ends = datetime(last.year, last.month, last.day, tzinfo=zone(given.time_zone)).timestamp()
    quarter = repository.quarter(session, ChargeRow.at)
    used = UsageRow.tokens_in + UsageRow.tokens_out
    if not given.cached_tokens:
        used = used - UsageRow.tokens_cached
    part = ChargeAttemptRow
    model = func.coalesce(part.model, ChargeRow.model)
    upstream = case((part.model.is_(None), UsageRow.upstream_model))
    tokens = func.coalesce(part.tokens_in + part.tokens_out, used)
    endpoint = func.coalesce(part.endpoint, UsageRow.endpoint, "")
    query = (
        select(
            quarter,
            model,
            upstream,
            func.coalesce(func.sum(tokens), 0),
            func.sum(func.coalesce(part.cost, ChargeRow.cost)),
        )
        .outerjoin(UsageRow, UsageRow.event_id == ChargeRow.event_id)
        .outerjoin(part, part.event_id == ChargeRow.event_id)
        .where(
            func.coalesce(part.provider, ChargeRow.provider) == given.provider,
            ~endpoint.endswith(OWN),
            ChargeRow.at >= begins,
            ChargeRow.at < ends + _DAY_S + _WIDEST_S,
        )
        .group_by(quarter, model, upstream)
    )
    found: dict[Place, Side] = {}
    names: dict[str, str] = {}
    for quarters, of, named, used_up, cost in await session.execute(query):
        day = date.fromisoformat(day_of(quarters * QUARTER_S, given.time_zone))
        if day > last:
            continue
        side = Side(int(used_up), int(cost))
        found.setdefault((day, of), Side()).add(side)
        for name in (of, of.partition("/")[2], named, (named or "").split(":")[0]):
            if name:
                names.setdefault(name.casefold(), of)
    return found, names


def _told(provider: str, ours: dict[Place, Side], theirs: dict[Place, Side]) -> ReconciledOut:
    rows: list[DifferenceOut] = []
    agreed = 0
    tells_tokens = any(side.tokens is not None for side in theirs.values())
    tells_cost = any(side.cost is not None for side in theirs.values())
    for day, model in sorted(ours.keys() | theirs.keys()):
        mine = ours.get((day, model), Side())
        other = theirs.get((day, model))
        if other is None:  # it does not say anything of it: nothing was used
            other = Side(0 if tells_tokens else None, 0 if tells_cost else None)
        row = _difference(day, model, mine, other)
        if row.tokens or (row.cost is not None and row.cost.billionths):
            rows.append(row)
        else:
            agreed += 1
    return ReconciledOut(
        provider=provider,
        agreed=agreed,
        data=rows[:_MAX_SHOWN],
        tokens=sum(row.tokens or 0 for row in rows) if tells_tokens else None,
        cost=money(sum(row.cost.billionths for row in rows if row.cost)) if tells_cost else None,
    )


def _difference(day: date, model: str, mine: Side, other: Side) -> DifferenceOut:
    tokens, cost = mine.tokens or 0, mine.cost or 0
    return DifferenceOut(
        day=day,
        model=model,
        our_tokens=tokens,
        their_tokens=other.tokens,
        tokens=None if other.tokens is None else tokens - other.tokens,
        our_cost=money(cost),
        their_cost=None if other.cost is None else money(other.cost),
        cost=None if other.cost is None else money(cost - other.cost),
    )


def _plus(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


def _wrong(reason: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid value for 'csv': {reason}.", param="csv", code="invalid_value")
