"""Any interleaving of requests that may come to several models: in memory, and over a real Redis.

What really was used and what is held is known here. Exactly those targets go whose limits are used
up, a request is refused when there are no others, and no limit is passed by more than what requests
used above what they held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import Struct
from tests.flow import catalog
from tests.services.redis import Redis
from tests.stores.redis.conftest import PATIENT_S, patience
from typing_extensions import override

from xrouter.domain.answer import Usage
from xrouter.domain.catalog import Price, Version
from xrouter.domain.chat import ChatRequest, Message
from xrouter.domain.errors import XRouterError
from xrouter.domain.identity import Principal
from xrouter.domain.limits import Limit
from xrouter.domain.money import Charge
from xrouter.domain.plan import Plan, Target
from xrouter.domain.ports import Hold, Want
from xrouter.domain.ports import Meters as LimitMeters
from xrouter.domain.secret import Secret
from xrouter.flow.ask import Ask
from xrouter.flow.limits.keeper import Keeper
from xrouter.flow.tally import Tally
from xrouter.stores.memory.meters import MemoryMeters
from xrouter.stores.redis.link import Link
from xrouter.stores.redis.meters import RedisMeters
from xrouter.telemetry.metrics import Meters

WHO = Principal(key_id="k", name="k", project="p")
PRICES = {"a/a:1": 5, "b/b:1": 7, "b/b:2": 6, "c/c:1": 3}
"""Of a request: nothing else costs anything."""
LIMITS = (
    Limit(subject="project:p", meter="money", window="total", amount=90, time_zone="UTC"),
    Limit(subject="model:a/a", meter="money", window="total", amount=40, time_zone="UTC"),
    Limit(subject="model:b/b", meter="tokens", window="total", amount=900, time_zone="UTC"),
    Limit(subject="version:b/b:2", meter="requests", window="total", amount=6, time_zone="UTC"),
    Limit(subject="model:*", meter="running", window="now", amount=3, time_zone="UTC"),
    Limit(
        subject="key:*", meter="requests", window="total", amount=5, model="c/c", time_zone="UTC"
    ),
)
COMMON, RUNNING = "project:p|*|money|total", "|*|running|now"
CAPS = {
    COMMON: 90,
    "model:a/a|*|money|total": 40,
    "model:b/b|*|tokens|total": 900,
    "version:b/b:2|*|requests|total": 6,
    "key:k|c/c|requests|total": 5,
    **{f"model:{model}{RUNNING}": 3 for model in ("a/a", "b/b", "c/c")},
}
LOOK = [
    Want(name, "requests", "now" if name.endswith(RUNNING) else "total", cap, 0, "UTC")
    for name, cap in CAPS.items()
]
OWN: Mapping[str, tuple[str, ...]] = {
    "a/a:1": ("model:a/a|*|money|total", f"model:a/a{RUNNING}"),
    "b/b:1": ("model:b/b|*|tokens|total", f"model:b/b{RUNNING}"),
    "b/b:2": (
        "model:b/b|*|tokens|total",
        "version:b/b:2|*|requests|total",
        f"model:b/b{RUNNING}",
    ),
    "c/c:1": ("key:k|c/c|requests|total", f"model:c/c{RUNNING}"),
}

T = TypeVar("T")


def _targets() -> dict[str, Target]:
    found: dict[str, Target] = {}
    for number, name in enumerate(("a/a", "b/b", "c/c")):
        endpoint = catalog.endpoint(number, name[0])
        versions = [
            Version(
                label=who.rpartition(":")[2],
                upstream=who,
                price=Price(currency="RUB", input=0, output=0, request=price),
            )
            for who, price in PRICES.items()
            if who.startswith(name)
        ]
        model = catalog.model(name, *versions)
        for version in versions:
            found[f"{name}:{version.label}"] = Target(endpoint, model, version)
    return found


TARGETS = _targets()
NAMES = {id(target): name for name, target in TARGETS.items()}


def names(targets: tuple[Target, ...]) -> list[str]:
    return [NAMES[id(target)] for target in targets]


class Running(Struct, eq=False):
    """A request under way. held: by counter."""

    by: int
    hold: Hold
    plan: Plan
    held: dict[str, int]


class Interleavings(RuleBasedStateMachine):
    """By how many processes, and on what: said by who runs it."""

    processes = 1
    redis: Redis | None = None

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.meters: list[LimitMeters] = []
        self.links: list[Link] = []
        self.used = dict.fromkeys(CAPS, 0)
        self.under = dict.fromkeys(CAPS, 0)
        self.open: list[Running] = []
        self.snapshot = catalog.snapshot(
            *{t.model.model_id: t.model for t in TARGETS.values()}.values(),
            limits={each.subject: (each,) for each in LIMITS},
        )

    @initialize()
    def begin(self) -> None:
        if self.redis is None:
            self.meters = [MemoryMeters()]
        else:
            assert self.redis.ask("FLUSHALL") == "+OK"
            assert self.redis.ask("SET xr:{limits}:known 1") == "+OK"
            self.do(self._connect)
        self.keepers = [Keeper(each, Meters()) for each in self.meters]

    async def _connect(self) -> None:
        assert self.redis is not None
        self.links = [Link(Secret(self.redis.url), PATIENT_S) for _ in range(self.processes)]
        self.meters = [RedisMeters(link) for link in self.links]

    def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """With all that it leaves to the background."""

        async def whole() -> T:
            found = await work()
            while any(link._later for link in self.links):
                await asyncio.sleep(0.0005)
            return found

        return self.loop.run_until_complete(whole())

    # --- what must be

    def free(self, counter: str) -> int:
        held = sum(each.held.get(counter, 0) for each in self.open)
        return CAPS[counter] - self.used[counter] - held

    def needs(self, who: str, tokens: int) -> dict[str, int]:
        amounts = {"money": PRICES[who], "tokens": tokens, "requests": 1, "running": 1}
        return {counter: amounts[counter.split("|")[2]] for counter in OWN[who]}

    def is_able(self, who: str, tokens: int) -> bool:
        needs = self.needs(who, tokens)
        return all(self.free(counter) >= amount for counter, amount in needs.items())

    # --- requests

    @rule(
        data=st.data(),
        order=st.permutations(list(PRICES)),
        main=st.integers(1, 4),
        chain=st.integers(0, 3),
        output=st.integers(1, 200),
    )
    def ask(
        self, data: st.DataObject, order: list[str], main: int, chain: int, output: int
    ) -> None:
        by = data.draw(st.integers(0, len(self.meters) - 1))
        first, other = order[:main], order[main : main + chain]
        plan = Plan(
            tuple(TARGETS[who] for who in first),
            "priority",
            overflow=tuple(TARGETS[who] for who in other),
        )
        message = Message(role="user", content="Hello")
        ask = Ask(WHO, ChatRequest(model="x", messages=[message], max_tokens=output), None, {})
        tokens = ask.tokens + output
        money = max(PRICES[who] for who in first + other)
        able = [who for who in first if self.is_able(who, tokens)]
        chained = [who for who in other if self.is_able(who, tokens)]
        is_free = self.free(COMMON) >= money
        if not (able and is_free):
            with pytest.raises(XRouterError) as refused:
                self.do(lambda: self.keepers[by].take(ask, plan, self.snapshot, None))
            assert refused.value.status == 429
            return
        hold, left = self.do(lambda: self.keepers[by].take(ask, plan, self.snapshot, None))
        assert (names(left.targets), names(left.overflow)) == (able, chained)
        assert hold is not None
        held = {COMMON: money}
        for who in able + chained:
            needed = self.needs(who, tokens)
            held |= {c: n for c, n in needed.items() if not c.endswith(RUNNING)}
        held |= {c: 1 for c in OWN[able[0]] if c.endswith(RUNNING)}
        self.open.append(Running(by, hold, left, held))

    def any(self, data: st.DataObject) -> Running:
        return self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), tokens=st.integers(0, 250), more=st.integers(0, 1))
    def answer(self, data: st.DataObject, tokens: int, more: int) -> None:
        """By any target of the plan; it may cost a little more than was thought."""
        request = self.any(data)
        who = data.draw(st.sampled_from(names(request.plan.targets + request.plan.overflow)))
        tally = self.tally(request)
        tally.attempts, tally.target = 1, TARGETS[who]
        tally.usage = Usage(tokens, 0)
        cost = PRICES[who] + more
        self.do(lambda: self.settled(request, tally, Charge(cost=cost, total=cost)))
        amounts = {"money": cost, "tokens": tokens, "requests": 1, "running": 0}
        for counter in (COMMON, *OWN[who]):
            amount = amounts[counter.split("|")[2]]
            self.used[counter] += amount
            self.under[counter] += max(0, amount - request.held.get(counter, 0))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """Before anybody was asked."""
        request = self.any(data)
        self.do(lambda: self.settled(request, self.tally(request), None))

    def tally(self, request: Running) -> Tally:
        tally = Tally("chat", "x", streamed=False, started_at=0.0)
        tally.held = request.hold
        return tally

    async def settled(self, request: Running, tally: Tally, charge: Charge | None) -> None:
        self.keepers[request.by].settle(tally, charge)

    # --- what stays true

    @invariant()
    def the_sums_are_right(self) -> None:
        meters = self.meters[-1]
        levels = self.do(lambda: meters.look(LOOK))
        left = dict(zip(CAPS, (level.remaining for level in levels), strict=True))
        assert left == {counter: max(0, self.free(counter)) for counter in CAPS}

    @invariant()
    def the_bound_holds(self) -> None:
        for counter in CAPS:
            assert -self.free(counter) <= self.under[counter], counter

    @override
    def teardown(self) -> None:
        for link, meters in zip(self.links, self.meters, strict=False):
            self.do(link.close)
            if isinstance(meters, RedisMeters):
                self.do(meters.close)
        self.loop.close()


@pytest.mark.parametrize("processes", [0, 2])
def test_no_interleaving_passes_a_limit(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    """processes: that share a Redis; 0 for one without."""
    if processes:
        monkeypatch.setattr(Interleavings, "redis", request.getfixturevalue("redis"))
        monkeypatch.setattr(Interleavings, "processes", processes)
        patience(monkeypatch, PATIENT_S)
    run_state_machine_as_test(
        Interleavings,
        settings=settings(
            max_examples=25 if processes else 60,
            stateful_step_count=30,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
