from __future__ import annotations

import asyncio
import threading
import unicodedata
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, update
from tests.control.people.conftest import PASSWORD, Browser, NewBrowser
from typing_extensions import override

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.people import UserRow
from xrouter.control.people import passwords, throttle
from xrouter.control.people.passwords import Passwords, require_good
from xrouter.control.people.throttle import Throttle
from xrouter.domain.errors import InvalidRequest, RateLimited

CHEAP = PasswordHasher(1, 8, 1)


class Counting(PasswordHasher):
    """Notes each check, and how many run at a time."""

    def __init__(self) -> None:
        super().__init__(1, 8, 1)
        self.checks = 0
        self.most = 0
        self._running = 0
        self._lock = threading.Lock()

    @override
    def verify(self, *given: Any, **more: Any) -> Any:
        with self._lock:
            self.checks += 1
            self._running += 1
            self.most = max(self.most, self._running)
        try:
            return super().verify(*given, **more)
        finally:
            with self._lock:
                self._running -= 1


async def test_right_and_wrong() -> None:
    ours = Passwords(CHEAP)
    kept = await ours.hash("пароль с пробелами")
    assert await ours.check(kept, "пароль с пробелами")
    assert not await ours.check(kept, "Пароль с пробелами")
    assert not await ours.check("no hash at all", "x")


async def test_the_same_letter_written_otherwise_is_the_same() -> None:
    ours = Passwords(CHEAP)
    kept = await ours.hash(unicodedata.normalize("NFC", "мой пароль"))
    assert await ours.check(kept, unicodedata.normalize("NFD", "мой пароль"))


async def test_who_is_unknown_costs_what_who_is_known_costs() -> None:
    hasher = Counting()
    ours = Passwords(hasher)
    kept = await ours.hash(PASSWORD)
    counts = []
    for given in (kept, None, kept, None):
        before = hasher.checks
        assert await ours.check(given, "wrong") is False
        counts.append(hasher.checks - before)
    assert counts == [1, 1, 1, 1]


async def test_nobodys_password_is_no_password() -> None:
    ours = Passwords(CHEAP)
    await ours.check(None, "x")
    ours._nobodys = CHEAP.hash("known")
    assert not await ours.check(None, "known")


async def test_few_checks_run_at_a_time() -> None:
    hasher = Counting()
    ours = Passwords(hasher, at_once=2)
    kept = await ours.hash("x")
    await asyncio.gather(*(ours.check(kept, "y") for _ in range(20)))
    assert hasher.checks == 20
    assert hasher.most <= 2


async def test_few_checks_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "WAITING", 3)
    ours = Passwords(CHEAP)
    kept = await ours.hash("x")
    done = await asyncio.gather(*(ours.check(kept, "x") for _ in range(5)), return_exceptions=True)
    assert [each for each in done if each is True] == [True] * 3
    refused = [each for each in done if isinstance(each, RateLimited)]
    assert [each.retry_after for each in refused] == [1.0, 1.0]


def test_ours_are_the_parameters_that_owasp_names() -> None:
    hasher = Passwords()._hasher
    assert (hasher.memory_cost, hasher.time_cost, hasher.parallelism) == (19 * 1024, 2, 1)
    assert hasher.type.name == "ID"
    assert Passwords().is_stale(CHEAP.hash("x"))


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "ninechars",
        "1234567890",
        "Password123",
        "ЙЦУКЕНГШЩЗ",
        "aaaaaaaaaaaa",
        "ababababababab",
        "somebody@a.test",
        "SOMEBODY@a.test",
    ],
)
def test_what_is_guessed_first_is_refused(password: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        require_good(password, "somebody@a.test")
    assert (caught.value.param, caught.value.code) == ("password", "weak_password")
    assert password not in caught.value.message


@pytest.mark.parametrize(
    "password", ["correct horse", "длинный пароль", "x7-Kq!92-zz", "🐙🦑🐙🦐🐡🦞🦀🐚🐳🐬"]
)
def test_others_are_good(password: str) -> None:
    require_good(password, "somebody@a.test")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def tries(gate: Throttle, account: str, ip: str | None, count: int) -> float | None:
    """The pause that ends them, None when all were let in."""
    for _ in range(count):
        try:
            await gate.enter(account, ip)
        except RateLimited as refused:
            return refused.retry_after
    return None


async def test_pauses_grow_and_end() -> None:
    clock = Clock()
    gate = Throttle(clock)
    assert await tries(gate, "a", None, throttle.FREE_OF_ACCOUNT) is None
    pauses = []
    for _ in range(12):
        pause = await tries(gate, "a", None, 1)
        assert pause is not None
        pauses.append(pause)
        clock.now += pause
        assert await tries(gate, "a", None, 1) is None
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == throttle.LONGEST_S
    assert await tries(gate, "b", None, throttle.FREE_OF_ACCOUNT) is None
    clock.now += throttle.FORGET_S + 1
    assert await tries(gate, "a", None, throttle.FREE_OF_ACCOUNT) is None


async def test_what_is_refused_does_not_count() -> None:
    clock = Clock()
    gate = Throttle(clock)
    await tries(gate, "a", None, throttle.FREE_OF_ACCOUNT)
    assert {await tries(gate, "a", None, 1) for _ in range(100)} == {1.0}


async def test_many_accounts_from_one_address() -> None:
    gate = Throttle(Clock())
    for number in range(throttle.FREE_OF_ADDRESS):
        assert await tries(gate, f"a{number}", "203.0.113.5", 1) is None
    assert await tries(gate, "another", "203.0.113.5", 1) is not None
    assert await tries(gate, "another", "::ffff:203.0.113.5", 1) is not None
    assert await tries(gate, "another", "203.0.113.6", 1) is None


async def test_a_network_of_ipv6_is_one_address() -> None:
    gate = Throttle(Clock())
    for number in range(throttle.FREE_OF_ADDRESS):
        assert await tries(gate, f"a{number}", f"2001:db8::{number + 1:x}", 1) is None
    assert await tries(gate, "another", "2001:db8::ffff", 1) is not None
    assert await tries(gate, "another", "2001:db8:0:1::1", 1) is None


async def test_a_right_password_frees_the_account_and_not_the_address() -> None:
    """One account of one's own does not help to try the passwords of others."""
    gate = Throttle(Clock())
    for _ in range(throttle.FREE_OF_ACCOUNT * 5):
        await gate.enter("own", "203.0.113.5")
        await gate.passed("own", "203.0.113.5")
    for number in range(throttle.FREE_OF_ADDRESS):
        assert await tries(gate, f"a{number}", "203.0.113.5", 1) is None
    assert await tries(gate, "own", "203.0.113.5", 1) is not None


async def test_memory_is_bounded() -> None:
    gate = Throttle(Clock(), size=100)
    for number in range(1000):
        await gate.enter(f"a{number}", f"10.0.{number // 250}.{number % 250}")
    assert len(gate) == 100


async def test_too_many_wrong_passwords(operator: Browser, browser: NewBrowser) -> None:
    person = browser()
    body = {"email": "op@a.test", "password": "wrong"}
    path = "/control/v1/auth/sign-in"
    replies = await asyncio.gather(*(person.http.post(path, json=body) for _ in range(20)))
    statuses = [reply.status_code for reply in replies]
    assert statuses.count(401) == throttle.FREE_OF_ACCOUNT
    assert statuses.count(429) == 20 - throttle.FREE_OF_ACCOUNT
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] == "too_many_attempts"
    right = await person.http.post(path, json={**body, "password": PASSWORD})
    assert right.status_code == 429
    await operator.ask("GET", "/auth/me")


async def test_a_hash_of_other_parameters_is_made_anew(operator: Browser, db: Database) -> None:
    async with db.write() as session:
        await session.execute(update(UserRow).values(password=CHEAP.hash(PASSWORD)))
    for _ in range(2):
        await operator.sign_in("op@a.test")
        async with db.read() as session:
            kept = (await session.scalars(select(UserRow.password))).one()
        assert kept is not None
        assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
