"""Tries of passwords and secrets, by several processes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.harness import SandboxProcess, Server
from tests.services.redis import Redis

from xrouter.control.oauth import guesses
from xrouter.control.oauth.guesses import Guesses
from xrouter.control.oauth.problems import OAuthError
from xrouter.control.people import throttle
from xrouter.control.people.throttle import FREE_OF_ACCOUNT, FREE_OF_ADDRESS, Throttle
from xrouter.domain.errors import RateLimited
from xrouter.stores.redis import tries as module
from xrouter.stores.redis.link import Link
from xrouter.stores.redis.tries import RedisTries
from xrouter.stores.vault import Vault

VAULT = Vault(b"k" * 32)
EMAIL = "somebody@example.test"
TRIES, LAST = "xr:{tries}:tries", "xr:{tries}:last"
LinkTo = Callable[..., Link]


@pytest.fixture(autouse=True)
def _between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A microsecond passes in Redis, and none here: how slow a test is counts for nothing."""
    ours = "{1700000000, redis.call('INCR', 'clock')}"
    script = module._SCRIPT.replace("redis.call('TIME')", ours)
    assert ours in script
    monkeypatch.setattr(module, "_SCRIPT", script)


def process(link_to: LinkTo, url: str, size: int = 100, door: str = "people") -> Throttle:
    return Throttle(lambda: 0.0, shared=RedisTries(link_to(url), VAULT.mac, size), door=door)


@pytest.fixture
def pair(link_to: LinkTo, redis_url: str) -> list[Throttle]:
    return [process(link_to, redis_url) for _ in range(2)]


def name_of(who: str, door: str = "people") -> str:
    return VAULT.mac(f"tries:{door}:{who}").hex()


async def wait(gate: Throttle, account: str | None = EMAIL, ip: str | None = None) -> float:
    """0.0 when it is let in."""
    try:
        await gate.enter(account, ip)
    except RateLimited as refused:
        return refused.retry_after or -1.0
    return 0.0


async def let_in(gates: list[Throttle], count: int, account: str | None = EMAIL) -> int:
    """Of so many at once."""
    waits = await asyncio.gather(*(wait(gates[n % len(gates)], account) for n in range(count)))
    return waits.count(0.0)


async def test_many_at_once_are_as_slow_as_at_one_process(
    pair: list[Throttle], redis: Redis
) -> None:
    assert await let_in(pair, 10 * FREE_OF_ACCOUNT) == FREE_OF_ACCOUNT
    for gate in pair:
        assert 0 < await wait(gate) <= 1.0
    kept = redis.ask(f"HGET {TRIES} {name_of('account:' + EMAIL)}")
    assert kept.startswith("$"), "what is refused does not count"
    assert await let_in(pair, 3, "other") == 3


async def test_an_address_is_one_for_all_accounts(pair: list[Throttle]) -> None:
    for number in range(FREE_OF_ADDRESS):
        assert await wait(pair[number % 2], f"a{number}", "203.0.113.5") == 0.0
    assert await wait(pair[0], "another", "::ffff:203.0.113.5") > 0
    assert await wait(pair[1], "another", "203.0.113.6") == 0.0


async def test_a_right_password_frees_the_account_at_all(pair: list[Throttle]) -> None:
    """And gives the address that try back, but none of the others."""
    first, second = pair
    for _ in range(3 * FREE_OF_ACCOUNT):
        assert await wait(first, "own", "203.0.113.5") == 0.0
        await second.passed("own", "203.0.113.5")
    for number in range(FREE_OF_ADDRESS):
        assert await wait(second, f"a{number}", "203.0.113.5") == 0.0
    assert await wait(first, "own", "203.0.113.5") > 0
    await let_in(pair, 50)
    await first.forgive(EMAIL)
    assert await wait(second) == 0.0


async def test_pauses_grow_and_end(pair: list[Throttle], link: Link, redis: Redis) -> None:
    name = name_of("account:" + EMAIL)

    async def after(count: int) -> float:
        """The pause that a further try makes."""
        assert redis.ask(f"HSET {TRIES} {name} {count}|0").startswith(":")
        assert await wait(pair[0]) == 0.0
        return await wait(pair[1])

    pauses = [await after(FREE_OF_ACCOUNT - 1 + more) for more in range(4)]
    assert pauses == pytest.approx([1.0, 2.0, 4.0, 8.0], abs=0.001)
    assert await after(5000) == pytest.approx(throttle.LONGEST_S)
    await link.call(lambda r: r.zadd(LAST, {name: 1.0}))  # it was long ago
    assert await let_in(pair, 20) == FREE_OF_ACCOUNT


async def test_the_least_recent_are_forgotten(
    link_to: LinkTo, redis: Redis, redis_url: str
) -> None:
    gate = process(link_to, redis_url, size=10)
    for number in range(30):
        assert await wait(gate, f"a{number}", f"10.0.0.{number}") == 0.0
    assert redis.ask(f"ZCARD {LAST}") == redis.ask(f"HLEN {TRIES}") == ":10"
    assert redis.ask(f"HEXISTS {TRIES} {name_of('account:a29')}") == ":1"


async def test_redis_sees_no_names(pair: list[Throttle], link: Link) -> None:
    await wait(pair[0], EMAIL, "203.0.113.5")
    found = await link.call(lambda r: r.hgetall(TRIES))
    assert set(found) == {
        name_of("account:" + EMAIL).encode(),
        name_of("address:203.0.113.5").encode(),
    }
    assert await link.call(lambda r: r.pttl(TRIES)) > 0


async def test_people_and_clients_are_counted_apart(
    pair: list[Throttle], link_to: LinkTo, redis_url: str
) -> None:
    assert await let_in(pair, 20) == FREE_OF_ACCOUNT
    assert await wait(process(link_to, redis_url, door="clients")) == 0.0


async def test_without_redis_each_goes_on_from_what_it_has_seen(
    pair: list[Throttle], redis: Redis
) -> None:
    first, second = pair
    for _ in range(FREE_OF_ACCOUNT - 1):
        assert await wait(first) == 0.0
    redis.stop()
    try:
        assert await let_in([first], 10) == 1
        assert await let_in([second], 10) == FREE_OF_ACCOUNT
        await second.passed(EMAIL, None)
        assert await wait(second) == 0.0
    finally:
        redis.start()


async def test_unknown_tokens_are_counted_together(
    link_to: LinkTo, redis_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guesses, "LIMIT", 6)
    first, second = (Guesses(shared=RedisTries(link_to(redis_url), VAULT.mac)) for _ in range(2))
    for _ in range(5):
        first.enter("client")
        await first.miss("client")
    second.enter("client")
    await second.miss("client")
    for _ in range(2):
        with pytest.raises(OAuthError) as caught:
            second.enter("client")
        assert 0 < float(caught.value.headers["retry-after"]) <= guesses.WINDOW_S
    second.enter("another")
    redis.stop()
    try:
        await first.miss("client")
        with pytest.raises(OAuthError):
            first.enter("client")
    finally:
        redis.start()


def test_two_servers(tmp_path: Path, sandbox: SandboxProcess, redis_url: str) -> None:
    """Wrong passwords at one count at the other."""
    env = {**sandbox.environment, "XROUTER_REDIS_URL": redis_url}
    pair = [Server(tmp_path / name, env) for name in ("one", "other")]
    for each in pair:
        each.data.mkdir(parents=True)
    try:
        pair[0].start()
        shutil.copy(pair[0].data / "master.key", pair[1].data)
        pair[1].start()
        tried = [sign_in(pair[number % 2]) for number in range(2 * FREE_OF_ACCOUNT)]
    finally:
        for each in pair:
            each.close()
    assert tried[:FREE_OF_ACCOUNT] == [401] * FREE_OF_ACCOUNT
    assert 429 in tried, "each alone lets so many in"


def sign_in(server: Server) -> int:
    body = {"email": EMAIL, "password": "a wrong one"}
    return server.ask("POST", "/control/v1/auth/sign-in", body).status
