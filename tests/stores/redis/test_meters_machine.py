"""Any interleaving over three processes and a real Redis: the bound of docs/limits.md holds.

spent <= cap + under + away: `under` is what requests used above what they held, `away` is 0 as long
as Redis answers everybody, else what the others of n processes may have granted: cap x (1 - 1/n).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

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
from msgspec import structs
from tests.services.redis import Redis
from tests.stores.redis.conftest import PATIENT_S
from typing_extensions import override

from xrouter.domain.choices import Choices
from xrouter.domain.ports import Hold, Spent, Want
from xrouter.domain.secret import Secret
from xrouter.stores.redis import meters as module
from xrouter.stores.redis.link import Link, RedisAway
from xrouter.stores.redis.meters import RedisMeters

CAP = 90
PROCESSES = 3
AWAY = CAP - CAP // PROCESSES
OTHER = Want("model:o|*|money|total", "money", "total", 10**9, 1, "UTC", "o")
LEASE_S = 600.0
NAME = "project:p|*|money|total"
HOLDERS = f"xr:{{limits}}:h:{NAME}"

T = TypeVar("T")


def want(amount: int) -> Want:
    return Want(NAME, "money", "total", CAP, amount, "UTC")


class Process(RedisMeters):
    """One that can be cut off, or whose Redis answers too late."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self.link = link
        self.is_cut = False
        self.is_late = False
        self.held: dict[Hold, int] = {}

    @override
    async def _run(self, keys: list[str], told: Sequence[str | int], *, patient: bool) -> Any:
        if self.is_cut:
            raise RedisAway
        found = await super()._run(keys, told, patient=patient)
        if self.is_late and not patient:
            raise RedisAway
        return found


class Interleavings(RuleBasedStateMachine):
    """What really was spent is known here; what each process believes is its own affair.

    ghosts: what Redis believes held, and is not: by the dead, or it could not be told. heard: what
    was held when a process heard of it last. over: what was too much when all was calm again.
    """

    redis: Redis

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.processes: list[Process] = []
        self.spent = self.under = self.over = 0
        self.dead = self.unheard = 0
        self.heard = [0] * PROCESSES
        self.was_away = self.is_lost = False

    @initialize()
    def begin(self) -> None:
        assert self.redis.ask("FLUSHALL") == "+OK"
        self.processes = [self.born() for _ in range(PROCESSES)]
        self.reseed()
        self.all_beat()

    def born(self) -> Process:
        async def make() -> Process:
            return Process(Link(Secret(self.redis.url), PATIENT_S))

        return self.loop.run_until_complete(make())

    def do(self, process: Process, work: Coroutine[Any, Any, T]) -> T:
        """With all that it leaves to the background."""

        async def whole() -> T:
            found = await work
            while process.link._later:
                await asyncio.sleep(0.0005)
            return found

        return self.loop.run_until_complete(whole())

    @property
    def held(self) -> int:
        return sum(sum(process.held.values()) for process in self.processes)

    @property
    def ghosts(self) -> int:
        return self.dead + self.unheard

    def is_healthy(self) -> bool:
        return not self.was_away and not any(p.is_cut or p.is_late for p in self.processes)

    def listens(self, which: int) -> None:
        if not (self.processes[which].is_cut or self.is_lost):
            self.heard[which] = self.held + self.ghosts

    # --- requests

    @rule(
        which=st.integers(0, PROCESSES - 1),
        amount=st.integers(1, 30),
        other=st.sampled_from([None, True, False]),
    )
    def take(self, which: int, amount: int, other: bool | None) -> None:
        """other: whether another one may answer instead, whose limit is not used up."""
        process = self.processes[which]
        free = CAP - self.spent - self.held
        wants, choices = [want(amount)], None
        if other is not None:
            wants.append(OTHER if other else structs.replace(OTHER, limit=0))
            choices = Choices(((0,), (1,)), 2)
        verdict = self.do(process, process.take(wants, LEASE_S, choices))
        assert verdict.hold is not None or not other
        is_granted = verdict.hold is not None and verdict.hold.wants[0].counter == NAME
        if verdict.hold is not None:
            process.held[verdict.hold] = amount if is_granted else 0
        if not is_granted and not self.is_healthy():
            away = CAP - CAP // process._shares.mates
            assert amount + away + self.heard[which] + self.ghosts > free - PROCESSES
        if self.is_healthy():
            assert is_granted == (amount <= free - self.ghosts)
        self.listens(which)

    @precondition(lambda self: any(process.held for process in self.processes))
    @rule(data=st.data(), part=st.floats(0, 1.2))
    def settle(self, data: st.DataObject, part: float) -> None:
        which = data.draw(st.sampled_from([n for n, p in enumerate(self.processes) if p.held]))
        process = self.processes[which]
        hold = list(process.held)[data.draw(st.integers(0, len(process.held) - 1))]
        amount = process.held.pop(hold)
        actual = round(amount * part)
        self.spent += actual
        self.under += max(0, actual - amount)
        if process.is_cut and getattr(hold, "is_known", False):
            self.unheard += amount
        self.do(process, self.settled(process, hold, actual))

    async def settled(self, process: Process, hold: Hold, actual: int) -> None:
        process.settle(hold, [actual if of.counter == NAME else 0 for of in hold.wants])

    # --- what goes wrong

    @rule(which=st.integers(0, PROCESSES - 1))
    def cut(self, which: int) -> None:
        self.processes[which].is_cut = self.was_away = True

    @rule(which=st.integers(0, PROCESSES - 1))
    def slow(self, which: int) -> None:
        self.processes[which].is_late = self.was_away = True

    @rule(which=st.integers(0, PROCESSES - 1))
    def mend(self, which: int) -> None:
        self.processes[which].is_cut = self.processes[which].is_late = False

    @rule(which=st.integers(0, PROCESSES - 1))
    def beat(self, which: int) -> None:
        self.do(self.processes[which], self.processes[which].turn())
        self.listens(which)

    @precondition(lambda self: self.is_healthy())
    @rule(which=st.integers(0, PROCESSES - 1))
    def crash(self, which: int) -> None:
        """Its requests die with it; another process takes its place."""
        died = self.processes[which]
        self.dead += sum(died.held.values())
        self.gone(died)
        self.processes[which] = self.born()
        self.beat(which)

    @rule()
    def leases_end(self) -> None:
        """Of the dead; the living renew theirs."""
        ours = {hold.hold_id for p in self.processes for hold in p._open.values()}
        process = self.processes[0]

        async def end() -> None:
            redis = process.link._client
            for member in await redis.zrange(HOLDERS, 0, -1):
                if member.decode().partition("|")[0] not in ours:
                    await redis.zadd(HOLDERS, {member: 1})

        self.do(process, end())
        self.dead = self.unheard = 0

    @rule()
    def forget(self) -> None:
        """Redis dies and comes back with nothing."""
        assert self.redis.ask("FLUSHALL") == "+OK"
        self.was_away = self.is_lost = True
        self.dead = self.unheard = 0

    @precondition(lambda self: self.is_lost and not any(p.is_cut for p in self.processes))
    @rule()
    def reseed(self) -> None:
        """Who has a database tells what was spent, when all have been heard."""
        self.all_beat()
        self.do(self.processes[0], self.seeded())
        self.is_lost = False

    async def seeded(self) -> None:
        self.processes[0].seed([Spent(NAME, "total", "UTC", self.spent, 0.0)])

    def all_beat(self) -> None:
        for _ in range(2):
            for which in range(PROCESSES):
                self.beat(which)

    @precondition(lambda self: not self.is_lost)
    @rule()
    def calm_down(self) -> None:
        """All are heard: Redis knows the truth, and from now on nothing is excused."""
        for process in self.processes:
            process.is_cut = process.is_late = False
        self.all_beat()
        self.was_away = False
        self.dead += self.unheard
        self.unheard = 0
        self.over = max(0, self.spent + self.held - CAP)
        for process in self.processes:
            assert process._shares._untold == {}
            level = self.do(process, process.look([want(0)]))[0]
            assert level.remaining == max(0, CAP - self.spent - self.held - self.dead)

    # --- what stays true

    @invariant()
    def the_bound_holds(self) -> None:
        away = AWAY + PROCESSES if self.was_away else 0
        assert self.spent + self.held <= CAP + self.under + self.over + away

    @override
    def teardown(self) -> None:
        for process in self.processes:
            self.gone(process)
        self.loop.close()

    def gone(self, process: Process) -> None:
        self.do(process, process.link.close())
        self.do(process, process.close())


@pytest.fixture
def machine(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> type[Interleavings]:
    monkeypatch.setattr(module, "RETRIES_S", (0.0,))
    monkeypatch.setattr(module, "PATIENT_S", 30.0)
    Interleavings.redis = redis
    return Interleavings


def test_no_interleaving_passes_the_bound(machine: type[Interleavings]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
