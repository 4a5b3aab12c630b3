"""Estimates that the provider itself makes exact, when it is asked: against the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace
from tests.control.billing.conftest import Book, asked, charge
from tests.control.billing.test_attempts import attempts, of
from tests.control.billing.test_calls import FAR, NEAR
from tests.control.billing.test_reconcile import kept

from xrouter.control.billing.afterwards import PAUSE_S, TRIES, Afterwards
from xrouter.control.catalog import rows
from xrouter.control.catalog.adapters import supported
from xrouter.control.catalog.live import LiveLists
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.catalog import EndpointRow, ModelRow, ProviderRow
from xrouter.control.db.tables.routing import PriceRow
from xrouter.control.health.roster import Roster
from xrouter.control.kit.lease import Lease
from xrouter.domain.money import BILLION
from xrouter.domain.secret import Secret
from xrouter.domain.usage import UsageEvent
from xrouter.sandbox.application import Sandbox
from xrouter.sandbox.server import running
from xrouter.stores.vault import Vault
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook

OURS = "openrouter/openai/gpt-4o-mini"
KEY = "sk-or-v1-sandbox"
BEGAN = 1_800_000_000.0
RATE = 80 * BILLION

Make = Callable[[str], Afterwards]


class Clock:
    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> float:
        return self.now


class Upstream:
    """The sandbox, asked without us."""

    def __init__(self, url: str, sandbox: Sandbox) -> None:
        self.url = url + "/openrouter/api/v1"
        self.sandbox = sandbox

    async def cut(self) -> str:
        """A stream that its reader has left; its name."""
        body = {
            "model": "openai/gpt-4o-mini",
            "messages": [{"role": "user", "content": "[[words:50]] [[pause:0.01]]"}],
            "stream": True,
        }
        headers = {"authorization": f"Bearer {KEY}"}
        async with aiohttp.ClientSession() as http:
            url = self.url + "/chat/completions"
            async with http.post(url, json=body, headers=headers) as reply:
                await reply.content.readany()
                name = reply.headers["x-generation-id"]
        while self.sandbox.seen.open:
            await asyncio.sleep(0.005)
        return name


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    sandbox = Sandbox()
    async with running(app=sandbox) as url:
        yield Upstream(url, sandbox)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def make(
    book: Book, vault: Vault, wire_client: Client, clock: Clock, upstream: Upstream
) -> AsyncIterator[Make]:
    """Jobs, by the name of their process."""
    await _set_up(book.db, vault, upstream.url)
    tokens = TokenBook()

    def made(holder: str) -> Afterwards:
        lease = Lease(book.db, "afterwards", holder, 30.0, clock=clock)
        roster = Roster(book.db, vault, supported())
        return Afterwards(book.db, lease, roster, LiveLists(wire_client, tokens), clock)

    yield made
    await tokens.close()


async def _set_up(db: Database, vault: Vault, url: str) -> None:
    """OpenRouter with one endpoint, one model, and a price for that."""
    adapter_class = supported().default("openrouter") or ""
    async with db.write() as session:
        session.add(ProviderRow(name="openrouter", display_name="O", adapter_class=adapter_class))
        await session.flush()
        endpoint = EndpointRow(provider="openrouter", name="main", base_url=url)
        session.add(endpoint)
        await session.flush()
        endpoint.credential = rows.seal(vault, endpoint.id, {"api_key": Secret(KEY)})
        model = ModelRow(
            model_id=OURS, provider="openrouter", adapter_class=adapter_class, display_name="M"
        )
        session.add(model)
        await session.flush()
        price = PriceRow(
            id=7,
            llm_model_id=model.id,
            effective_from=utc_now(),
            currency="USD",
            input=1,
            output=1,
            source="a test",
        )
        session.add(price)


def guessed(name: str | None, **more: Any) -> UsageEvent:
    made = replace(charge(15_000), is_estimated=True, price_id=7, currency="USD", rate=RATE)
    given: dict[str, Any] = {"provider": "openrouter", "model_served": OURS, "at": BEGAN - 1}
    return asked(**given | {"charge": made, "upstream_request_id": name} | more)


def cost_of(upstream: Upstream) -> int:
    """Billionths of a ruble: 15 cents and 60 cents for a million tokens, in dollars at 80."""
    (line,) = upstream.sandbox.bill
    return (line.tokens_in * 150 + line.tokens_out * 600) * 80


async def test_an_estimate_becomes_what_the_provider_says(
    book: Book, make: Make, clock: Clock, upstream: Upstream
) -> None:
    """The first time it is not written down there."""
    await kept(book.db, [guessed(await upstream.cut())])
    job = make("one")
    assert await job.turn() == 0
    assert await job.turn() == 0, "it is asked again after a pause"
    clock.now += PAUSE_S
    assert await job.turn() == 1
    (row,) = await book.charges()
    assert (row.cost, row.is_estimated) == (cost_of(upstream), False)
    (part,) = await attempts(book)
    (line,) = upstream.sandbox.bill
    assert (part.tokens_in, part.tokens_out) == (line.tokens_in, line.tokens_out)
    assert (await book.balances())["provider:openrouter"] == cost_of(upstream)
    clock.now += 1000
    assert await job.turn() == 0
    await book.check()


async def test_one_process_asks_and_another_goes_on_where_it_died(
    book: Book, make: Make, clock: Clock, upstream: Upstream
) -> None:
    await kept(book.db, [guessed(await upstream.cut())])
    first, second = make("one"), make("two")
    assert await first.turn() == 0
    clock.now += PAUSE_S
    assert await second.turn() == 0, "the other one's lease"
    clock.now += 30
    assert await second.turn() == 1
    assert await first.turn() == 0
    assert await book.number("SELECT count(*) FROM settlements") == 1


async def test_a_call_that_nobody_knows_is_given_up(
    book: Book, make: Make, clock: Clock, upstream: Upstream
) -> None:
    await kept(book.db, [guessed("gen-unknown")])
    job, before = make("one"), len(upstream.sandbox.seen.report())
    for _ in range(TRIES + 5):
        await job.turn()
        clock.now += 2000
    assert len(upstream.sandbox.seen.report()) - before == TRIES
    (row,) = await book.charges()
    assert (row.cost, row.is_estimated) == (15_000, True)
    clock.now += 4 * 86_400
    event = guessed("gen-other", at=clock.now - 1)
    await kept(book.db, [event])
    await job.turn()
    assert await book.number("SELECT count(*) FROM lookups") == 1, "old ones are forgotten"


async def test_it_is_asked_for_more_and_more_seldom(
    book: Book, make: Make, clock: Clock, upstream: Upstream
) -> None:
    await kept(book.db, [guessed("gen-unknown")])
    job, asked_at = make("one"), list[float]()
    for _ in range(13):
        before = len(upstream.sandbox.seen.report())
        await job.turn()
        if len(upstream.sandbox.seen.report()) > before:
            asked_at.append(clock.now - BEGAN)
        clock.now += PAUSE_S
    assert asked_at == [0, PAUSE_S, 3 * PAUSE_S, 7 * PAUSE_S]


async def test_what_cannot_be_told_is_not_asked_for(
    book: Book, make: Make, upstream: Upstream
) -> None:
    two_calls = replace(charge(15_000), is_estimated=True, calls=2)
    events = [
        guessed(None),
        guessed("req_1"),
        guessed("gen-1", charge=two_calls),
        guessed("gen-1", endpoint="gone"),
        guessed("gen-1", at=BEGAN - 90_000),
        guessed("gen-1", charge=charge(15_000)),
        guessed("gen-1", provider="acme"),
    ]
    await kept(book.db, events)
    job, before = make("one"), len(upstream.sandbox.seen.report())
    assert [await job.turn() for _ in range(2)] == [0, 0]
    assert len(upstream.sandbox.seen.report()) == before


async def test_an_attempt_among_others_is_settled_by_itself(
    book: Book, make: Make, clock: Clock, upstream: Upstream
) -> None:
    name = await upstream.cut()
    ours = {"provider": "openrouter", "model": OURS, "price_id": 7, "rate": RATE}
    first = replace(FAR, **ours, currency="USD", upstream_ids=(name,))
    await kept(book.db, [of(first, NEAR, at=BEGAN - 1)])
    job = make("one")
    await job.turn()
    clock.now += PAUSE_S
    assert await job.turn() == 1
    (row,) = await book.charges()
    assert (row.cost, row.is_estimated) == (cost_of(upstream) + NEAR.cost, False)
    assert [part.cost for part in await attempts(book)] == [cost_of(upstream), NEAR.cost]
    await book.check()


async def test_what_is_under_way_when_the_lease_is_lost_is_not_written(
    book: Book, make: Make, clock: Clock, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept(book.db, [guessed(await upstream.cut())])
    slow, quick = make("slow"), make("quick")
    await slow.turn()
    clock.now += PAUSE_S
    ask = slow._ask

    async def overtaken(*given: Any) -> Any:
        found = await ask(*given)
        clock.now += 31
        assert await quick.turn() == 1
        return found

    monkeypatch.setattr(slow, "_ask", overtaken)
    await slow._look()
    assert await book.number("SELECT tries FROM lookups") == 1 + TRIES
    assert await book.number("SELECT count(*) FROM settlements") == 1
    assert (await book.balances())["provider:openrouter"] == cost_of(upstream)
