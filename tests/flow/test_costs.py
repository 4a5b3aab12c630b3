from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrouter.domain.catalog import Price
from xrouter.flow.costs import BILLION, cost

AMOUNT = st.integers(0, 10**15)
TOKENS = st.integers(0, 10**9)


def price(reading: int, writing: int, each: int = 0, currency: str = "RUB") -> Price:
    return Price(currency=currency, input=reading, output=writing, request=each)


def test_rubles_for_a_million_tokens() -> None:
    assert cost(price(100 * BILLION, 300 * BILLION), {}, 1_000_000, 500_000) == 250 * BILLION


def test_what_each_request_costs_is_added() -> None:
    assert cost(price(0, 0, BILLION // 2), {}, 10, 10) == BILLION // 2


def test_other_currencies_are_exchanged() -> None:
    rates = {"USD": 90 * BILLION + 5, "EUR": 1}
    assert cost(price(BILLION, 0, currency="USD"), rates, 1_000_000, 0) == 90 * BILLION + 5


@pytest.mark.parametrize("rates", [{}, {"EUR": 1}, {"usd": 1}])
def test_without_a_price_or_a_rate_nothing_is_known(rates: dict[str, int]) -> None:
    assert cost(None, rates, 1, 1) is None
    assert cost(price(1, 1, currency="USD"), rates, 1, 1) is None


def test_a_ruble_is_a_ruble_whatever_the_rates_say() -> None:
    assert cost(price(BILLION, 0), {"RUB": 2 * BILLION}, 1_000_000, 0) == BILLION


def test_what_is_not_free_is_never_nothing() -> None:
    assert cost(price(1, 0), {}, 1, 0) == 1
    assert cost(price(0, 0), {}, 10**6, 10**6) == 0


@given(AMOUNT, AMOUNT, AMOUNT, st.integers(1, 10**12), TOKENS, TOKENS)
def test_costs_are_exact_but_for_one_rounding_up(
    reading: int, writing: int, each: int, rate: int, tokens_in: int, tokens_out: int
) -> None:
    found = cost(price(reading, writing, each, "USD"), {"USD": rate}, tokens_in, tokens_out)
    exact = Fraction(reading * tokens_in + writing * tokens_out, 10**6) + each
    exact = exact * rate / BILLION
    assert isinstance(found, int)
    assert exact <= found < exact + 1


@given(AMOUNT, AMOUNT, TOKENS, TOKENS, TOKENS)
def test_more_tokens_never_cost_less(
    reading: int, writing: int, tokens_in: int, tokens_out: int, more: int
) -> None:
    before = cost(price(reading, writing), {}, tokens_in, tokens_out)
    after = cost(price(reading, writing), {}, tokens_in + more, tokens_out + more)
    assert before is not None
    assert after is not None
    assert before <= after
