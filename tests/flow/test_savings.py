"""Money that was not spent: only what is known counts, and never more than the difference."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.flow.catalog import endpoint, model, snapshot
from tests.flow.harness import Rig

from xrouter.domain.answer import Usage
from xrouter.domain.catalog import Price, Version
from xrouter.domain.money import MOST_TOKENS
from xrouter.domain.plan import Plan, Target
from xrouter.domain.ports import Served
from xrouter.domain.routes import Cache, Policy, Route, RouteTarget
from xrouter.flow.costs import BILLION, cost
from xrouter.flow.savings import Savings, charge
from xrouter.stores.memory.snapshots import MemorySnapshots
from xrouter.telemetry.metrics import Meters

GIGA, OPENAI = "gigachat/GigaChat-2-Max", "openai/gpt-4o-mini"
MILLION = 1_000_000
USAGE = Usage(prompt_tokens=MILLION, completion_tokens=MILLION)


def price(rubles: int, currency: str = "RUB", **more: Any) -> Price:
    """So much for a million tokens, read or written."""
    return Price(currency=currency, input=rubles * BILLION, output=rubles * BILLION, **more)


def target(number: int, paid: Price | None, tier: int = 0) -> Target:
    version = Version(label="1", upstream="u", price=paid)
    return Target(endpoint(number, "a"), model(f"a/{number}", version), version, tier)


def saved(meters: Meters, by: str) -> float | None:
    found = re.search(
        rf'^xrouter_saved_rubles_total{{by="{by}"}} (\S+)$', meters.render().decode(), re.MULTILINE
    )
    return None if found is None else float(found[1])


class Book:
    """Savings, with rates and one model."""

    def __init__(self, paid: Price | None = None) -> None:
        self.meters = Meters()
        snapshots = MemorySnapshots()
        versions = (Version(label="0", upstream="o"), Version(label="1", upstream="u", price=paid))
        snapshots.replace(snapshot(model("a/x", *versions), rates={"USD": 90 * BILLION}))
        self.savings = Savings(snapshots, self.meters)

    def choose(
        self, answered: Target, *targets: Target, by: str = "cheapest", usage: Usage | None = USAGE
    ) -> float | None:
        self.savings.chosen(Plan(targets, "", Policy(strategy=by)), answered, usage)
        return saved(self.meters, by)


def test_a_choice_saves_what_the_dearest_would_have_cost_more() -> None:
    cheap, middle, dear = target(1, price(1)), target(2, price(1, "USD")), target(3, price(100))
    book = Book()
    assert book.choose(cheap, cheap, middle, dear) == 2 * 100 - 2
    assert book.choose(middle, cheap, middle, dear) == 198 + 2 * 10
    assert book.choose(dear, cheap, middle, dear) == 218, "the dearest saves nothing"
    assert saved(book.meters, "latency") == 0


@pytest.mark.parametrize("unknown", [None, price(5, "EUR")])
def test_where_a_price_or_a_rate_is_unknown_nothing_is_claimed(unknown: Price | None) -> None:
    cheap, other = target(1, price(1)), target(2, unknown)
    book = Book()
    assert book.choose(cheap, cheap, target(3, price(9)), other) == 0
    assert book.choose(other, cheap, other) == 0
    assert book.choose(cheap, cheap, target(3, price(9)), usage=None) == 0


def test_only_targets_that_stood_beside_each_other_are_compared() -> None:
    cheap, dear = target(1, price(1)), target(2, price(100))
    fallback = target(3, price(5), tier=1)
    book = Book()
    assert book.choose(fallback, cheap, dear, fallback) == 0, "a tier of its own"
    assert book.choose(target(4, price(5)), cheap, dear) == 0, "of another chain"
    assert book.choose(cheap, cheap) == 0


@pytest.mark.parametrize("by", ["priority", "nonsense", "cache"])
def test_who_does_not_choose_saves_nothing(by: str) -> None:
    cheap, dear = target(1, price(1)), target(2, price(100))
    book = Book()
    found = book.choose(cheap, cheap, dear, by=by)
    assert not found


def test_a_kept_answer_saves_its_price() -> None:
    book = Book(price(3))
    for version, name in (("1", "a/x"), ("0", "a/x"), ("9", "a/x"), ("1", "a/gone")):
        book.savings.kept(Served(name, version, "a", "e", 0), USAGE)
    book.savings.kept(Served("a/x", "1", "a", "e", 0), None)
    assert saved(book.meters, "cache") == 6


def test_each_kind_of_token_has_its_price() -> None:
    paid = Price(
        currency="RUB",
        input=1 * BILLION,
        output=10 * BILLION,
        cached_input=100 * BILLION,
        cache_write=1000 * BILLION,
        reasoning=10_000 * BILLION,
        request=100_000 * BILLION,
    )
    usage = Usage(
        prompt_tokens=6 * MILLION,
        cached_tokens=2 * MILLION,
        cache_write_tokens=3 * MILLION,
        completion_tokens=5 * MILLION,
        reasoning_tokens=4 * MILLION,
    )
    assert charge(paid, {}, usage) == (1 + 10 + 2 * 100 + 3 * 1000 + 4 * 10_000 + 100_000) * BILLION
    assert charge(price(1), {}, usage) == 11 * BILLION


AMOUNT = st.integers(0, 10**12)
TOKENS = st.integers(0, MOST_TOKENS)


@given(AMOUNT, AMOUNT, AMOUNT, TOKENS, TOKENS)
def test_without_kinds_it_is_the_plain_cost(a: int, b: int, c: int, read: int, wrote: int) -> None:
    paid = Price(currency="USD", input=a, output=b, request=c)
    rates = {"USD": 90 * BILLION + 1}
    assert charge(paid, rates, Usage(read, wrote)) == cost(paid, rates, read, wrote)


def priced(rig: Rig, **prices: Price) -> None:
    """Give the models of these providers a price, and a route that looks for the cheapest."""
    current = rig.snapshots.current
    models = {
        name: structs.replace(
            m,
            policy=Policy(cache=Cache(ttl=60)),
            versions=(structs.replace(m.versions[0], price=prices.get(m.provider)),),
        )
        for name, m in current.models.items()
    }
    route = Route(
        name="r",
        targets=(RouteTarget(model=GIGA), RouteTarget(model=OPENAI)),
        policy=Policy(strategy="cheapest"),
    )
    rig.snapshots.replace(structs.replace(current, models=models, routes={"route/r": route}))


@pytest.mark.parametrize("stream", [True, False])
async def test_a_request_through_all_of_it(rig: Rig, stream: bool) -> None:
    rig.use(standby=False)
    priced(rig, gigachat=price(1000), openai=price(1))
    reply = await rig.chat("route/r", stream=stream)
    assert reply.served is not None
    assert reply.served.model == OPENAI
    event = rig.journal.events[0]
    tokens = event.tokens_in + event.tokens_out
    assert tokens > 0
    assert saved(rig.meters, "cheapest") == pytest.approx(999 * tokens / MILLION)
    assert saved(rig.meters, "cache") == 0

    first = await rig.chat(OPENAI, "Keep this", stream=stream)
    assert first.usage is not None
    assert saved(rig.meters, "cache") == 0
    again = await rig.chat(OPENAI, "Keep this", stream=stream)
    assert again.served is not None
    assert again.served.cached
    tokens = rig.journal.events[1].tokens_in + rig.journal.events[1].tokens_out
    assert saved(rig.meters, "cache") == pytest.approx(tokens / MILLION)


async def test_what_fails_saves_nothing(rig: Rig) -> None:
    rig.use(standby=False)
    priced(rig, gigachat=price(1000), openai=price(1))
    rig.fault("server_error")
    assert (await rig.chat("route/r")).error is not None
    assert saved(rig.meters, "cheapest") == 0
