"""Statements as providers send them, as text with separators: by day and model, or by call."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import NamedTuple, TypeVar

from msgspec import Struct

from xrouter.control.billing.months import believed, zone
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.money import BILLION

MAX_ROWS = 100_000
MAX_DAYS = 400
DAY_S = 86_400
CALL = "call"
"""The column that makes it a statement by call."""

_DATES = ("%Y-%m-%d", "%d.%m.%Y")
_LARGEST = 10**15
_LONGEST = 200
_DEAREST = 10**15
"""A call costs a million rubles at most."""

T = TypeVar("T")


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


class Billed(Struct):
    """A call on a provider's bill. at: unix seconds. cost: billionths; None: it does not tell."""

    call: str
    at: float
    model: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    cached: int = 0
    reasoning: int = 0
    cost: int | None = None

    def add(self, other: Billed) -> None:
        """Lines of the same call are one."""
        self.at = min(self.at, other.at)
        self.tokens_in = _plus(self.tokens_in, other.tokens_in)
        self.tokens_out = _plus(self.tokens_out, other.tokens_out)
        self.cached += other.cached
        self.reasoning += other.reasoning
        self.cost = _plus(self.cost, other.cost)


class Span(NamedTuple):
    """Unix seconds, both included."""

    first: float
    last: float


class _Table:
    """Its lines, by the names of columns in small letters."""

    def __init__(self, text: str) -> None:
        text = text.removeprefix("\ufeff")
        head = text.split("\n", 1)[0]
        self._reader = csv.DictReader(io.StringIO(text), delimiter=max(";,\t", key=head.count))
        try:
            names = self._reader.fieldnames or ()
        except csv.Error as error:
            raise wrong(f"{error}") from None
        self.fields = {name.strip().casefold(): name for name in names if name}

    def rows(self) -> Iterator[_Row]:
        """Those with anything in them."""
        for number, row in enumerate(self._lines(), 2):
            if number > MAX_ROWS:
                raise wrong(f"it has more than {MAX_ROWS} lines")
            said = {field: (row.get(name) or "").strip() for field, name in self.fields.items()}
            if any(said.values()):
                yield _Row(number, said)

    def _lines(self) -> Iterator[dict[str, str]]:
        try:
            for row in self._reader:
                yield {name: value for name, value in row.items() if isinstance(value, str)}
        except csv.Error as error:
            raise wrong(f"{error}") from None


class _Row(Struct):
    number: int
    said: dict[str, str]

    def word(self, field: str) -> str:
        """Text that must be there."""
        found = self.said.get(field, "")
        if not found or len(found) > _LONGEST:
            raise wrong(f"line {self.number} has no {field}")
        return found

    def read(self, field: str, read: Callable[[str], T]) -> T:
        """A value. Raises InvalidRequest."""
        text = self.said.get(field, "")
        try:
            return read(text)
        except (ValueError, InvalidOperation, OverflowError):
            raise wrong(f"line {self.number}: '{text[:40]}' is no {field}") from None


def is_by_call(text: str) -> bool:
    """Whether its lines name calls."""
    return CALL in _Table(text).fields


def read_statement(text: str) -> dict[Place, Side]:
    """What the provider says, by day and model. Raises InvalidRequest that names the line."""
    table = _Table(text)
    fields = table.fields.keys()
    if not {"day", "model"} <= fields or not {"tokens", "amount"} & fields:
        raise wrong("its first line must name 'day', 'model', and 'tokens' or 'amount'")
    found: dict[Place, Side] = {}
    for row in table.rows():
        place = row.read("day", _day), row.word("model")
        side = Side(row.read("tokens", _tokens), row.read("amount", _amount))
        found.setdefault(place, Side()).add(side)
    if not found:
        raise wrong("it has no lines")
    days = [day for day, _ in found]
    if (max(days) - min(days)).days > MAX_DAYS:
        raise wrong(f"it spans more than {MAX_DAYS} days")
    return found


def read_calls(text: str, time_zone: str) -> dict[str, Billed]:
    """What the provider says, by call. time_zone: of times without one.

    Raises InvalidRequest that names the line.
    """
    table = _Table(text)
    tells = {"tokens_in", "tokens_out"} <= table.fields.keys() or "amount" in table.fields
    if not {CALL, "at", "model"} <= table.fields.keys() or not tells:
        raise wrong(
            "its first line must name 'call', 'at', 'model', and 'tokens_in' and 'tokens_out', or"
            " 'amount'"
        )
    found: dict[str, Billed] = {}
    for row in table.rows():
        billed = _billed(row, time_zone)
        known = found.get(billed.call)
        if known is None:
            found[billed.call] = billed
        elif known.model != billed.model:
            raise wrong(f"line {row.number}: the call '{billed.call[:40]}' has another model above")
        else:
            known.add(billed)
    return found


def span_of(lines: Iterable[Billed], since: float | None, until: float | None) -> Span:
    """From the first line to the last, where nobody says otherwise. Raises InvalidRequest."""
    times = [line.at for line in lines]
    told = [each for each in (since, until) if each is not None]
    if not times and len(told) < len(Span._fields):
        raise wrong("it has no lines; say of which time it is: 'since' and 'until'")
    span = Span(
        min(times) if since is None else since,
        max(times) if until is None else until,
    )
    if times and max(times) - min(times) > MAX_DAYS * DAY_S:
        raise wrong(f"it spans more than {MAX_DAYS} days")
    return span


def wrong(reason: str) -> InvalidRequest:
    """The statement is at fault."""
    return InvalidRequest(f"Invalid value for 'csv': {reason}.", param="csv", code="invalid_value")


def _billed(row: _Row, time_zone: str) -> Billed:
    billed = Billed(
        call=row.word(CALL),
        at=row.read("at", lambda text: _moment(text, time_zone)),
        model=row.word("model"),
        tokens_in=row.read("tokens_in", _count),
        tokens_out=row.read("tokens_out", _count),
        cached=row.read("cached", _count) or 0,
        reasoning=row.read("reasoning", _count) or 0,
        cost=row.read("amount", _price),
    )
    if billed.cost is None and (billed.tokens_in is None or billed.tokens_out is None):
        raise wrong(f"line {row.number} has neither tokens nor an amount")
    return billed


def _moment(text: str, time_zone: str) -> float:
    """ISO 8601 or unix seconds."""
    if text.replace(".", "", 1).isdecimal():
        seconds = float(text)
        if seconds != believed(seconds):
            raise ValueError(text)
        return seconds
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=zone(time_zone))).timestamp()


def _day(text: str) -> date:
    for form in _DATES:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC).date()
        except ValueError:
            continue
    raise ValueError(text)


def _tokens(text: str) -> int | None:
    return None if not text else _bounded(int(_plain(text)))


def _count(text: str) -> int | None:
    """Tokens of a call: never below zero."""
    tokens = _tokens(text)
    if tokens is not None and tokens < 0:
        raise ValueError(text)
    return tokens


def _amount(text: str) -> int | None:
    """Rubles with a point or a comma, as billionths."""
    if not text:
        return None
    amount = Decimal(_plain(text).replace(",", "."))
    if not amount.is_finite() or abs(amount) > BILLION:
        raise ValueError(text)
    return int((amount * BILLION).to_integral_value())


def _price(text: str) -> int | None:
    """Of a call: never below zero."""
    amount = _amount(text)
    if amount is not None and not 0 <= amount <= _DEAREST:
        raise ValueError(text)
    return amount


def _plain(text: str) -> str:
    """Without the spaces that set thousands apart."""
    return text.replace(" ", "").replace("\u00a0", "").replace("\u202f", "")


def _bounded(number: int) -> int:
    if abs(number) > _LARGEST:
        raise ValueError(str(number))
    return number


def _plus(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)
