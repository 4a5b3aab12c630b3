"""Our ledger beside the sandboxes' own bills, which count tokens by themselves."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from fractions import Fraction
from math import ceil
from typing import Any

import msgspec
import pytest
from msgspec import structs
from sqlalchemy import select
from tests.control.billing.test_taker import Pages
from tests.flow.harness import Recorder, Rig, open_rig, until

from xrouter.control.billing.taker import Charges
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import ChargeRow, LineRow
from xrouter.control.drain import Drain
from xrouter.domain.catalog import Price
from xrouter.domain.limits import Tenant
from xrouter.domain.money import MILLION, UNKNOWN
from xrouter.domain.routes import Cache, Policy
from xrouter.domain.usage import UsageEvent
from xrouter.sandbox.kit import Charge as Billed

REQUESTS = 200
PRICES = {
    "gigachat/GigaChat-2-Max": Price(currency="RUB", input=1_234_567_891, output=987_654_321),
    "yandex/yandexgpt-lite": Price(currency="RUB", input=200_000_001, output=400_000_003),
    "openai/gpt-4o-mini": Price(currency="USD", input=150_000_001, output=600_000_007, request=3),
    "llamacpp/qwen3-8b": Price(currency="RUB", input=1, output=1),
}
DOLLAR = 81_234_567_891
TENANT = Tenant(project="tests", organization="default", margin=1234, vat=2000)

FAULTS: dict[str, dict[str, Any]] = {
    "fallback": {"kind": "server_error"},
    "refused": {"kind": "refuse"},
    "retried": {"kind": "unauthorized_once"},
    "busy": {"kind": "rate_limited"},
    "error in 200": {"kind": "error_in_200"},
    "early error": {"kind": "early_error_frame", "after": 0},
    "cut at once": {"kind": "cut", "after": 0},
    "cut": {"kind": "cut", "after": 3},
    "reset": {"kind": "reset", "after": 3},
}
KINDS = ["plain", "plain", "embedded", "bad", "left", *FAULTS]
CUT_OFF = {"cut at once", "cut", "reset"}
"""A provider that has answered is not heard to the end: it may charge, and does not say it.

When another one answers then, the project pays for both: the first one's charge is an estimate.
"""


class Asked(msgspec.Struct):
    """A request, and what both sandboxes have written on their bills for it."""

    kind: str
    event: UsageEvent
    first: list[Billed]
    second: list[Billed]

    def cost(self, lines: Sequence[Billed]) -> int:
        """Billionths, rounded up for each call; worked out by fractions, not by our code."""
        price = _price(self.event.model_served or "")
        rate = Fraction(DOLLAR, 10**9) if price.currency == "USD" else 1
        return sum(
            ceil(
                (
                    Fraction(line.tokens_in * price.input + line.tokens_out * price.output, MILLION)
                    + price.request
                )
                * rate
            )
            for line in lines
        )

    @property
    def served(self) -> list[Billed]:
        """The line of the call that has answered."""
        lines = self.first if self.event.endpoint == "at-1" else self.second
        return lines[-1:]


def _price(model: str) -> Price:
    return PRICES.get(model) or PRICES["gigachat/GigaChat-2-Max"]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with open_rig() as rig:
        now = rig.snapshots.current
        models = {
            name: structs.replace(
                model,
                versions=tuple(structs.replace(v, price=_price(name)) for v in model.versions),
            )
            for name, model in now.models.items()
        }
        rig.snapshots.replace(
            structs.replace(now, models=models, rates={"USD": DOLLAR}, tenants={"tests": TENANT})
        )
        yield rig


async def _asked(rig: Rig, kind: str, model: str, words: int, *, stream: bool) -> Asked:
    marks = len(rig.first.bill), len(rig.second.bill), len(rig.journal.events)
    for sandbox in (rig.first, rig.second):
        sandbox.faults.clear()
    text = f"[[words:{words}]]"
    if kind in FAULTS:
        rig.board._held.clear()  # so that it is asked again, and fails
        rig.board._standings.clear()
        rig.fault(**FAULTS[kind], times=1)
    if kind == "left":
        await _left(rig, model)
    elif kind == "embedded":
        await rig.embed("gigachat/Embeddings", [text, "two words"])
    elif kind == "bad":
        await rig.chat("nobody/knows", text, stream=stream)
    else:
        await rig.chat(model, text, stream=stream)
    await until(lambda: rig.first.seen.open + rig.second.seen.open == 0, "all is written")
    (event,) = rig.journal.events[marks[2] :]
    return Asked(kind, event, rig.first.bill[marks[0] :], rig.second.bill[marks[1] :])


async def _left(rig: Rig, model: str) -> None:
    reply = Recorder()
    text = "[[words:40]] [[pause:0.01]]"
    task = asyncio.create_task(rig.chat(model, text, stream=True, reply=reply))
    await until(lambda: len(reply.text) > 5, "a few words have come")
    task.cancel()
    await asyncio.wait([task])


async def test_the_ledger_is_the_sandboxes_bill(rig: Rig, sqlite_url: str) -> None:
    """To the last billionth wherever the provider was heard to the end, and only there."""
    rng = random.Random(5)
    asked = [
        await _asked(
            rig,
            KINDS[number % len(KINDS)],
            rng.choice(list(PRICES)),
            rng.randrange(1, 40),
            stream=rng.random() < 0.5,
        )
        for number in range(REQUESTS)
    ]
    db = Database(sqlite_url)
    events = [each.event for each in asked]
    batches = [events[at : at + 37] for at in range(0, REQUESTS, 37)]
    drain = Drain(db, Pages([*batches, *batches]), takers=(Charges(),))
    while await drain.drain_once():
        pass
    async with db.read() as session:
        rows = {row.event_id: row for row in await session.scalars(select(ChargeRow))}
        lines = (await session.scalars(select(LineRow))).all()
    await db.close()

    exact, heard = 0, Counter[str]()
    for each in asked:
        row = rows.get(each.event.event_id)
        billed = each.cost([*each.first, *each.second])
        if row is None:
            assert billed == 0 or each.kind in CUT_OFF, each
        elif row.is_estimated:
            assert each.kind in {*CUT_OFF, "left"}, each
        else:
            assert row.cost == each.cost(each.served), each
            exact += row.cost
            heard[each.kind] += 1
            assert row.cost == billed, each
        if each.kind in FAULTS.keys() - {"cut", "reset", "refused", "retried"}:
            assert each.event.attempts > 1 or each.event.endpoint == "at-2", each
    assert sum(heard.values()) > REQUESTS * 0.6
    assert {*heard} >= {"plain", "embedded", "fallback", "refused", "retried", "busy"}

    providers = sum(line.amount for line in lines if line.account.startswith("provider:"))
    guessed = sum(row.cost for row in rows.values() if row.is_estimated)
    assert providers - guessed == exact
    assert sum(line.amount for line in lines) == 0
    paid = sum(line.amount for line in lines if line.account == "project:tests")
    assert paid == -sum(row.total for row in rows.values())


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_was_kept_costs_nothing(rig: Rig, stream: bool) -> None:
    """E07."""
    now = rig.snapshots.current
    kept = Policy(cache=Cache(ttl=60))
    models = {name: structs.replace(model, policy=kept) for name, model in now.models.items()}
    rig.snapshots.replace(structs.replace(now, models=models))
    for _ in range(2):
        await rig.chat("openai/gpt-4o-mini", stream=stream, temperature=0)
    made, again = rig.journal.events
    assert made.charge is not None
    assert again.charge is not None
    assert (made.cached, again.cached) == (False, True)
    assert made.charge.cost > 0
    assert (again.charge.total, again.charge.is_known) == (0, True)
    assert len(rig.first.bill) == 1


async def test_what_nobody_has_answered_is_not_charged(rig: Rig) -> None:
    rig.use(standby=False)
    rig.fault("server_error")
    await rig.chat("openai/gpt-4o-mini")
    await rig.chat("nobody/knows")
    await rig.count("openai/gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}])
    assert [event.charge for event in rig.journal.events] == [None, None, None]


async def test_without_a_price_the_charge_is_unknown(rig: Rig) -> None:
    rig.use()  # models without prices
    await rig.chat("openai/gpt-4o-mini")
    assert rig.event.charge == UNKNOWN
