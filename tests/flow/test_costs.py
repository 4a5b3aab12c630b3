from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.catalog import endpoint, model

from xrouter.domain.abilities import Abilities, Degree
from xrouter.domain.catalog import Price, Version
from xrouter.domain.chat import ChatRequest, Message
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.identity import Principal
from xrouter.domain.plan import Target
from xrouter.domain.routes import Policy
from xrouter.flow import conditions
from xrouter.flow.ask import Ask
from xrouter.flow.costs import BILLION, cost, estimate

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


def priced(n: Degree) -> Target:
    version = Version(label="1", upstream="m", price=price(BILLION, 2 * BILLION, 7))
    made = model("p/m", version, abilities=Abilities(features={"n": n}))
    return Target(endpoint(1, "p"), made, version)


def asking(n: int | None) -> Ask:
    messages = [Message(role="user", content="x" * 40)]  # 10 tokens
    request = ChatRequest(model="m", messages=messages, n=n)
    return Ask(Principal(key_id="k", name="k"), request)


@pytest.mark.parametrize("n,whole", [(None, 210_007), (1, 210_007), (3, 610_007)])
def test_each_answer_costs_its_tokens(n: int | None, whole: int) -> None:
    assert estimate(priced("native"), asking(n), 100) == whole


def test_answers_by_several_calls_cost_as_many_prompts() -> None:
    assert estimate(priced("emulated"), asking(3), 100) == 3 * 210_007


def test_without_a_chat_there_is_one_answer() -> None:
    assert estimate(priced("native"), Ask(Principal(key_id="k", name="k")), 100) == 200_007


def test_several_answers_of_an_unknown_price_are_unknown() -> None:
    target = priced("emulated")
    free = msgspec.structs.replace(target.version, price=None)
    assert estimate(msgspec.structs.replace(target, version=free), asking(2), 100) is None


@pytest.mark.parametrize("n,fits", [(1, True), (2, False)])
def test_the_cap_is_for_all_answers(n: int, fits: bool) -> None:
    cap = Policy(max_price=conditions.price(priced("native"), asking(1)))
    if fits:
        assert conditions.allowed([priced("native")], asking(n), cap)
        return
    with pytest.raises(InvalidRequest, match="within the price"):
        conditions.allowed([priced("native")], asking(n), cap)
