from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest

from xrouter.domain.errors import InternalError, UpstreamDenied, UpstreamMalformed
from xrouter.wire import tokens
from xrouter.wire.tokens import TokenBook
from xrouter.wire.types import Token, TokenFlow, WireReply, WireRequest

LIFE = 1800.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Provider:
    """A token service: each exchange is two requests and gives the next token."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.life = LIFE
        self.started = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    def start(self) -> TokenFlow:
        self.started += 1
        number = self.started
        hello = yield WireRequest("POST", "http://auth/hello")
        reply = yield WireRequest("POST", "http://auth/token", {}, hello.body)
        return Token(f"{reply.body.decode()}{number}", self.clock.now + self.life)

    async def fetch(self, request: WireRequest) -> WireReply:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        body = b"token" if request.url.endswith("hello") else request.body
        return WireReply(200, {}, body)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(clock: Clock) -> Provider:
    return Provider(clock)


Get = Callable[[], Awaitable[str]]


@pytest.fixture
async def book(clock: Clock) -> TokenBook:
    return TokenBook(clock)


@pytest.fixture
def get(book: TokenBook, provider: Provider) -> Get:
    return lambda: book.get("key", provider.start, provider.fetch)


async def spin() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_token_is_fetched_once(get: Get, provider: Provider) -> None:
    assert [await get(), await get()] == ["token1", "token1"]
    assert provider.started == 1


async def test_all_who_come_at_once_share_one_exchange(get: Get, provider: Provider) -> None:
    provider.gate.clear()
    tasks = [asyncio.ensure_future(get()) for _ in range(100)]
    await spin()
    provider.gate.set()
    assert await asyncio.gather(*tasks) == ["token1"] * 100
    assert provider.started == 1


async def test_keys_are_apart(book: TokenBook, provider: Provider) -> None:
    first = await book.get(("a", 1), provider.start, provider.fetch)
    second = await book.get(("a", 2), provider.start, provider.fetch)
    assert (first, second) == ("token1", "token2")


@pytest.mark.parametrize("life, margin", [(1800.0, 60.0), (100.0, 20.0)])
async def test_it_is_renewed_before_it_expires_and_nobody_waits(
    get: Get, provider: Provider, clock: Clock, life: float, margin: float
) -> None:
    provider.life = life
    await get()
    clock.now += life - margin - 0.1
    assert await get() == "token1"
    await spin()
    assert provider.started == 1
    clock.now += 0.2
    provider.gate.clear()
    assert await get() == "token1"  # the old one, at once
    provider.gate.set()
    await spin()
    assert await get() == "token2"
    assert provider.started == 2


@pytest.mark.parametrize("late", [-tokens.LAST_SECONDS, 0.0, 5000.0])
async def test_in_its_last_seconds_and_later_all_wait_for_the_new_one(
    get: Get, clock: Clock, late: float
) -> None:
    await get()
    clock.now += LIFE + late
    assert await get() == "token2"


async def test_a_failure_reaches_all_who_wait_and_is_not_repeated_at_once(
    get: Get, provider: Provider, clock: Clock
) -> None:
    provider.error = UpstreamDenied("no")
    results = await asyncio.gather(*(get() for _ in range(50)), return_exceptions=True)
    assert all(isinstance(r, UpstreamDenied) for r in results)
    with pytest.raises(UpstreamDenied):
        await get()
    assert provider.started == 1
    clock.now += tokens.BACK_OFF_S
    with pytest.raises(UpstreamDenied):
        await get()
    assert provider.started == 2
    provider.error = None
    clock.now += tokens.BACK_OFF_S
    assert await get() == "token3"


@pytest.mark.parametrize("left", [30.0, 1.0])
async def test_the_old_token_serves_while_renewing_fails(
    get: Get, provider: Provider, clock: Clock, left: float
) -> None:
    await get()
    clock.now += LIFE - left
    provider.error = UpstreamDenied("no")
    assert await get() == "token1"
    await spin()
    assert await get() == "token1"
    assert provider.started == 2
    clock.now += left
    with pytest.raises(UpstreamDenied):
        await get()


async def test_who_leaves_does_not_disturb_the_others(get: Get, provider: Provider) -> None:
    provider.gate.clear()
    first, second = asyncio.ensure_future(get()), asyncio.ensure_future(get())
    await spin()
    first.cancel()
    await spin()
    assert first.cancelled()
    provider.gate.set()
    assert await second == "token1"
    assert provider.started == 1


async def test_when_all_leave_the_exchange_still_serves_the_next(
    get: Get, provider: Provider
) -> None:
    provider.gate.clear()
    only = asyncio.ensure_future(get())
    await spin()
    only.cancel()
    await spin()
    provider.gate.set()
    assert await get() == "token1"
    assert provider.started == 1


async def test_a_failure_nobody_waits_for_makes_no_noise(get: Get, provider: Provider) -> None:
    noise: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: noise.append(context))
    provider.gate.clear()
    provider.error = UpstreamDenied("no")
    only = asyncio.ensure_future(get())
    await spin()
    only.cancel()
    provider.gate.set()
    await spin()
    gc.collect()
    assert noise == []


async def test_a_refused_token_is_dropped(book: TokenBook, get: Get) -> None:
    token = await get()
    book.drop("key", token)
    book.drop("unknown", token)
    assert await get() == "token2"
    book.drop("key", token)  # the one that was refused is long gone
    assert await get() == "token2"


async def test_a_token_that_looks_expired_on_arrival_is_tried(
    get: Get, provider: Provider, clock: Clock
) -> None:
    provider.life = -100.0
    assert [await get(), await get()] == ["token1", "token1"]
    clock.now += tokens.BACK_OFF_S
    assert await get() == "token2"


async def test_an_adapters_defect_is_an_internal_error(book: TokenBook, provider: Provider) -> None:
    def broken() -> TokenFlow:
        yield WireRequest("POST", "http://auth")
        raise KeyError("s3cret")

    with pytest.raises(InternalError) as caught:
        await book.get("key", broken, provider.fetch)
    assert "s3cret" not in caught.value.message
    assert isinstance(caught.value.__cause__, KeyError)


async def test_an_endless_exchange_is_stopped(book: TokenBook, provider: Provider) -> None:
    closed = []

    def endless() -> TokenFlow:
        try:
            while True:
                yield WireRequest("POST", "http://auth")
        finally:
            closed.append(True)

    with pytest.raises(UpstreamMalformed, match="end"):
        await book.get("key", endless, provider.fetch)
    assert closed == [True]


async def test_the_book_is_bounded(
    book: TokenBook, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MAX_KEYS", 3)
    for key in range(10):
        await book.get(key, provider.start, provider.fetch)
    assert list(book._entries) == [7, 8, 9]


async def test_closing_stops_what_is_under_way(
    book: TokenBook, get: Get, provider: Provider
) -> None:
    provider.gate.clear()
    waiting = asyncio.ensure_future(get())
    await spin()
    await book.close()
    with pytest.raises(InternalError):
        await waiting
    assert asyncio.all_tasks() == {asyncio.current_task()}
