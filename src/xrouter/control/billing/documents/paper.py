"""What an invoice or an act is about, in kopecks; made from what a month has charged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Literal

from msgspec import Struct

from xrouter.control.billing.schemas import Language
from xrouter.domain.money import BILLION, SHARE

Kind = Literal["invoice", "act"]

_KOPECK = BILLION // 100
_ENGLISH = "_en"
_MOST_ITEMS = 200
_RATES = (0, 500, 700, 1000, 2000, 2200)
"""Of VAT in Russia since 2019, beside the tenant's own: that may have changed since the charges."""


class Party(Struct, frozen=True, kw_only=True):
    """Who sells or buys, as documents name them; "" for what is not known.

    account: at the bank. correspondent_account: the bank's own. contract: the documents' ground.
    """

    name: str = ""
    inn: str = ""
    kpp: str = ""
    ogrn: str = ""
    address: str = ""
    phone: str = ""
    bank: str = ""
    bik: str = ""
    account: str = ""
    correspondent_account: str = ""
    director: str = ""
    accountant: str = ""
    contract: str = ""


class Sold(Struct, frozen=True):
    """Requests to a model that a month has charged. Money: billionths of a ruble.

    is_late: they are of months before, which were closed already. model: "" for all others.
    """

    model: str
    is_late: bool
    requests: int
    vat: int
    total: int


class Item(Struct, frozen=True):
    """A line. net + vat = total, kopecks. vat_rate: as that of the paper."""

    model: str
    is_late: bool
    requests: int
    net: int
    vat: int
    total: int
    vat_rate: int | None


class Paper(Struct, frozen=True, kw_only=True):
    """An invoice or an act. All amounts are kopecks; what items say sums to what the paper says.

    is_draft: its month is open, and all of it may change. vat_rate: hundredths of a percent, None
    where the VAT charged is that of no single rate. vat_inside: lines are shown with their VAT.
    """

    kind: Kind
    language: Language
    number: str
    month: str
    day: date
    is_draft: bool
    seller: Party
    buyer: Party
    items: tuple[Item, ...]
    requests: int
    net: int
    vat: int
    total: int
    vat_rate: int | None
    vat_inside: bool


def party(details: Mapping[str, str], language: Language, name: str = "") -> Party:
    """From the details of an organisation; in English those that end in `_en` go before.

    name: for who has none among the details.
    """
    said = {"name": name, **details}
    if language == "en":
        said |= {
            key.removesuffix(_ENGLISH): value
            for key, value in details.items()
            if key.endswith(_ENGLISH)
        }
    known = {key: said[key].strip() for key in Party.__struct_fields__ if key in said}
    return Party(**known)


def kopecks(billionths: int) -> int:
    """The nearest number of kopecks, a half is rounded away from zero."""
    whole = (abs(billionths) + _KOPECK // 2) // _KOPECK
    return -whole if billionths < 0 else whole


def items(sold: Sequence[Sold], rate: int, *, by_model: bool) -> tuple[Item, ...]:
    """Lines that sum to the rounded whole, each within a kopeck of what it stands for.

    rate: of the tenant's VAT. The dearest first; those beyond two hundred are one line, those of
    less than a kopeck none.
    """
    rows = sorted(sold, key=lambda row: (row.is_late, -row.total, row.model))
    if not by_model:
        rows = [_joined(rows)] if rows else []
    elif len(rows) > _MOST_ITEMS:
        rows = [*rows[: _MOST_ITEMS - 1], _joined(rows[_MOST_ITEMS - 1 :])]
    vat, total = sums(sold)
    vats = _shared(vat, [row.vat for row in rows])
    totals = _shared(total, [row.total for row in rows])
    made = [
        Item(row.model, row.is_late, row.requests, whole - part, part, whole, _rate_of(row, rate))
        for row, part, whole in zip(rows, vats, totals, strict=True)
    ]
    return tuple(item for item in made if item.total or item.vat) or tuple(made[:1])


def sums(sold: Sequence[Sold]) -> tuple[int, int]:
    """VAT and total in kopecks, each rounded once."""
    return kopecks(sum(row.vat for row in sold)), kopecks(sum(row.total for row in sold))


def rate_of(sold: Sequence[Sold], rate: int) -> int | None:
    """The only rate of VAT of all that was sold: the tenant's, or a usual one."""
    rates = {_rate_of(row, rate) for row in sold}
    return rates.pop() if len(rates) == 1 else None


def _rate_of(row: Sold, rate: int) -> int | None:
    """That which makes its VAT.

    Each request's VAT was rounded by itself: half a billionth for each may be between.
    """
    net = row.total - row.vat
    for each in (rate, *_RATES):
        if abs(2 * (row.vat * SHARE - net * each)) <= (row.requests + 1) * SHARE:
            return each
    return None


def _joined(rows: Sequence[Sold]) -> Sold:
    return Sold(
        "",
        all(row.is_late for row in rows),
        sum(row.requests for row in rows),
        sum(row.vat for row in rows),
        sum(row.total for row in rows),
    )


def _shared(whole: int, exact: Sequence[int]) -> list[int]:
    """Kopecks that sum to the whole: what rounding down leaves goes to the largest remainders."""
    found = [amount // _KOPECK for amount in exact]
    left = whole - sum(found)
    order = sorted(range(len(exact)), key=lambda n: -(exact[n] % _KOPECK))
    for n in order[:left]:
        found[n] += 1
    return found
