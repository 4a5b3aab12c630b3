from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrouter.domain.answer import Usage
from xrouter.domain.catalog import Price
from xrouter.domain.limits import Tenant
from xrouter.domain.money import BILLION, MOST_TOKENS, UNKNOWN, Charge, charge_of, on_top

RUB = BILLION
PRO = Price(currency="RUB", input=500 * RUB, output=1500 * RUB)
DOLLAR = Price(
    currency="USD",
    input=2_500_000_000,
    output=10_000_000_000,
    cached_input=1_250_000_000,
    reasoning=12_000_000_000,
)
RATES = {"USD": 81_123_400_000}


def test_rubles() -> None:
    charge = charge_of(Usage(prompt_tokens=1000, completion_tokens=200), PRO, {})
    assert charge == Charge(
        cost=800_000_000, total=800_000_000, currency="RUB", rate=BILLION
    )  # 0.50 and 0.30 rubles


def test_every_kind_of_token_has_its_price() -> None:
    usage = Usage(
        prompt_tokens=1_000_000, cached_tokens=400_000, completion_tokens=100_000,
        reasoning_tokens=60_000,
    )  # fmt: skip
    charge = charge_of(usage, DOLLAR, RATES)
    dollars = Fraction("2.5") * 6 / 10 + Fraction("1.25") * 4 / 10 + 10 * Fraction(4, 100)
    dollars += 12 * Fraction(6, 100)
    assert charge.cost == dollars * RATES["USD"]
    assert charge.rate == RATES["USD"]


def test_one_token_costs_at_least_a_billionth() -> None:
    cheap = Price(currency="RUB", input=1, output=0)
    assert charge_of(Usage(prompt_tokens=1), cheap, {}).cost == 1
    assert charge_of(Usage(), cheap, {}).cost == 0


@pytest.mark.parametrize("price", [None, DOLLAR])
def test_without_price_or_rate_it_is_unknown_and_says_so(price: Price | None) -> None:
    charge = charge_of(Usage(prompt_tokens=10), price, {})
    assert charge is UNKNOWN
    assert not charge.is_known


def test_a_free_model_is_known_to_be_free() -> None:
    charge = charge_of(Usage(prompt_tokens=10), Price(currency="RUB", input=0, output=0), {})
    assert charge.is_known
    assert charge.total == 0


def test_what_the_provider_says_goes_first() -> None:
    told = charge_of(Usage(prompt_tokens=10, cost="0.00014", estimated=True), DOLLAR, RATES)
    assert told.cost == -(-140_000 * RATES["USD"] // BILLION)
    assert told.told
    assert not told.is_estimated


@pytest.mark.parametrize("said", ["", "-1", "NaN", "Infinity", "free", "1e999", "9" * 31, "1e8"])
def test_what_makes_no_sense_is_counted_by_the_price(said: str) -> None:
    usage = Usage(prompt_tokens=10, cost=said)
    assert charge_of(usage, PRO, {}) == charge_of(Usage(prompt_tokens=10), PRO, {})


@pytest.mark.parametrize(
    "usage, believed",
    [
        (Usage(prompt_tokens=-5, completion_tokens=10), Usage(completion_tokens=10)),
        (Usage(prompt_tokens=10**15), Usage(prompt_tokens=MOST_TOKENS)),
        (Usage(prompt_tokens=5, cached_tokens=50), Usage(prompt_tokens=5, cached_tokens=5)),
        (Usage(completion_tokens=5, reasoning_tokens=-9), Usage(completion_tokens=5)),
    ],
)
def test_a_providers_numbers_are_not_believed_blindly(usage: Usage, believed: Usage) -> None:
    assert charge_of(usage, DOLLAR, RATES) == charge_of(believed, DOLLAR, RATES)


def test_pictures_and_requests() -> None:
    price = Price(currency="RUB", input=0, output=0, image=3 * RUB, request=2 * RUB)
    assert charge_of(Usage(), price, {}, images=2, requests=3).cost == 12 * RUB
    assert charge_of(Usage(), price, {}, images=-2, requests=-3).cost == 0


def test_margin_and_vat() -> None:
    tenant = Tenant(project="p", organization="o", margin=1500, vat=2000)
    charge = charge_of(Usage(prompt_tokens=2000), PRO, {}, tenant)
    assert (charge.cost, charge.margin, charge.vat) == (RUB, RUB * 15 // 100, RUB * 23 // 100)
    assert charge.total == RUB * 138 // 100


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=30),
    st.integers(0, 10**14),
    st.integers(0, 10**14),
    st.integers(1, 10**12),
)
def test_rounding_costs_less_than_a_billionth_a_request(
    calls: list[tuple[int, int]], price_in: int, price_out: int, rate: int
) -> None:
    price = Price(currency="USD", input=price_in, output=price_out)
    charges = [
        charge_of(Usage(prompt_tokens=i, completion_tokens=o), price, {"USD": rate})
        for i, o in calls
    ]
    exact = sum(
        (Fraction((i * price_in + o * price_out) * rate, 10**15) for i, o in calls), Fraction()
    )
    drift = sum(charge.cost for charge in charges) - exact
    assert 0 <= drift < max(1, len(calls))


@given(st.integers(0, 10**15), st.integers(0, 20_000), st.integers(0, 5_000))
def test_what_is_put_on_top_is_half_up(cost: int, margin: int, vat: int) -> None:
    tenant = Tenant(project="p", organization="o", margin=margin, vat=vat)
    more, tax = on_top(cost, tenant)
    assert abs(Fraction(cost * margin, 10_000) - more) <= Fraction(1, 2)
    assert abs(Fraction((cost + more) * vat, 10_000) - tax) <= Fraction(1, 2)
