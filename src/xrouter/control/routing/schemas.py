"""Shapes of routes, prices and rates."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, field_validator

from xrouter.control.catalog.schemas import PolicyIn
from xrouter.control.kit.etag import TaggedOut
from xrouter.control.kit.schemas import MAX_PAGE, In, Moment, Name, Out, Title, Word, unset
from xrouter.control.registry.schemas import RouteDoc, TargetDoc

_DECIMAL = re.compile(r"^\d{1,9}(\.\d{1,9})?$")
_BILLION = 1_000_000_000


def _decimal(text: str) -> str:
    if not _DECIMAL.match(text):
        raise ValueError("must be a decimal number as text, like '1.50', with at most nine places")
    return text


Amount = Annotated[str, AfterValidator(_decimal)]
"""Of money, as text: floats are never exact."""

AMOUNTS = ("input", "output", "cached_input", "cache_write", "reasoning", "request", "image")
"""Fields of a price that are money."""

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


def _not_rubles(currency: str) -> str:
    if currency == "RUB":
        raise ValueError("must be another currency: rates are in rubles")
    return currency


def _positive(amount: str) -> str:
    if billionths(amount) == 0:
        raise ValueError("must be above 0")
    return amount


def billionths(amount: str) -> int:
    """A decimal text as billionths."""
    whole, _, part = amount.partition(".")
    return int(whole) * _BILLION + int((part + "0" * 9)[:9])


def decimal(amount: int) -> str:
    """Billionths as a decimal text."""
    whole, part = divmod(amount, _BILLION)
    return f"{whole}.{part:09d}".rstrip("0").rstrip(".")


class RouteIn(RouteDoc):
    """A route. name: without `route/`. policy: see docs/routing.md."""


class RoutePatch(In):
    """What to change of a route. policy, targets, aliases: the whole of each."""

    display_name: Title = unset()
    aliases: Annotated[list[Word], Field(max_length=200)] = unset()
    policy: PolicyIn = unset()
    access_group: Name | None = unset()
    is_enabled: bool = unset()
    targets: Annotated[list[TargetDoc], Field(min_length=1, max_length=200)] = unset()


class TargetOut(Out):
    """Where a route may go."""

    model: str
    endpoint: str | None
    weight: int
    priority: int


class RouteOut(TaggedOut):
    """A route. model: what callers write for it."""

    name: str
    model: str
    display_name: str
    aliases: list[str]
    policy: JsonValue
    access_group: str | None
    is_enabled: bool
    targets: list[TargetOut]
    created_at: Moment
    updated_at: Moment


class PriceIn(In):
    """What a model costs from a moment on: amounts per million tokens, each request, each image.

    version: a label, null for all versions. source: where the price is from, with its date.
    """

    model: Word
    version: Word | None = None
    mode: Literal["sync", "deferred"] = "sync"
    effective_from: Moment
    currency: Currency = "RUB"
    input: Amount
    output: Amount
    cached_input: Amount | None = None
    cache_write: Amount | None = None
    reasoning: Amount | None = None
    request: Amount = "0"
    image: Amount | None = None
    source: Title

    def document(self) -> dict[str, Any]:
        """As the registry has it."""
        said = self.model_dump(exclude={"model"})
        for name in AMOUNTS:
            said[name] = None if said[name] is None else billionths(said[name])
        return said


class PriceOut(Out):
    """A price. in_force: whether it is the one that counts now."""

    id: int
    model: str
    version: str | None
    mode: str
    effective_from: Moment
    currency: str
    input: str
    output: str
    cached_input: str | None
    cache_write: str | None
    reasoning: str | None
    request: str
    image: str | None
    source: str
    in_force: bool


class PricesImport(In):
    """Of which provider, all where none is named. replace: also where there is a price already."""

    provider: Name | None = None
    replace: bool = False


class ImportedOut(Out):
    """Prices that were taken over. kept: how many were left as they were."""

    added: list[PriceOut]
    kept: int


class PriceQuery(In):
    """Whose prices, and which part of them: those behind the price `after`."""

    model: str | None = None
    after: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = MAX_PAGE


class Rate(In):
    """The Bank of Russia's rate of a day: rubles for one unit."""

    currency: Annotated[Currency, AfterValidator(_not_rubles)]
    day: date
    rubles: Annotated[Amount, AfterValidator(_positive)]


class RatesIn(In):
    """Rates; those of the same currency and day are replaced."""

    rates: Annotated[list[Rate], Field(min_length=1, max_length=10_000)]

    @field_validator("rates")
    @classmethod
    def _distinct(cls, rates: list[Rate]) -> list[Rate]:
        if len({(rate.currency, rate.day) for rate in rates}) < len(rates):
            raise ValueError("two rates are of the same currency and day")
        return rates


class RatesFile(In):
    """A file of the Bank of Russia, XML_daily or XML_dynamic.

    currency: whose rates the latter holds, where its number is not one of the usual ones.
    """

    xml: Annotated[str, Field(min_length=1, max_length=3_000_000)]
    currency: Annotated[Currency, AfterValidator(_not_rubles)] | None = None


class RateOut(Out):
    """A rate."""

    currency: str
    day: date
    rubles: str
