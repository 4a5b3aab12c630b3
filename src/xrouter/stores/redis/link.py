"""The one way to Redis (or Valkey): each call bounded in time, and none while it is away.

A call is made once. One that fails costs its caller the deadline at most; then nobody asks for a
tenth of a second, after three failures in a row for a second, and one call tries alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from importlib import import_module
from typing import Any, TypeVar

from xrouter.domain.deadline import Deadline
from xrouter.domain.errors import OperatorError
from xrouter.domain.secret import Secret
from xrouter.telemetry.logs import log

DEADLINE_S = 0.05
PATIENT_S = 1.0
"""For what nobody waits for."""
DOUBT_S = 0.1
OPEN_S = 1.0
FAILURES = 3
CONNECTIONS = 32

T = TypeVar("T")
Client = Any
"""redis.asyncio.Redis; the package is an optional extra."""
Work = Callable[[Client], Awaitable[T]]


class RedisAway(Exception):
    """It did not answer, or is not asked at the moment."""


class Link:
    """The connections of one process."""

    def __init__(
        self,
        url: Secret,
        deadline_s: float = DEADLINE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """url: redis://, rediss:// or unix://. Opens nothing yet.

        Raises OperatorError when the package is not there or the URL cannot be understood.
        """
        self._url = url
        self._driver = _driver()
        self._client = self.client(deadline_s, CONNECTIONS)
        self._expected = (self._driver.RedisError, OSError, EOFError)
        self._deadline_s = deadline_s
        self._clock = clock
        self._seats = asyncio.Semaphore(CONNECTIONS)
        self._failures = 0
        self._alone_until = 0.0
        self._trying = False
        self._later: set[asyncio.Task[None]] = set()

    @property
    def up(self) -> bool:
        """Whether it answered when it was asked the last few times."""
        return self._failures < FAILURES

    @property
    def expected(self) -> tuple[type[Exception], ...]:
        """What a client raises when Redis fails."""
        return self._expected

    def client(self, timeout_s: float, connections: int) -> Client:
        """A client of its own, for who needs another timeout. It tries nothing twice.

        timeout_s: to connect. All else is bounded by who asks, with a `Deadline`: the driver's own
        timeout of a command is `asyncio.wait_for`, in which a cancellation can be lost (3.11).
        """
        try:
            pool = self._driver.ConnectionPool.from_url(
                self._url.reveal(),
                max_connections=connections,
                socket_timeout=None,
                socket_connect_timeout=timeout_s,
                retry=_no_retry(),
                protocol=2,
                driver_info=None,
            )
        except ValueError:
            raise OperatorError(
                "XROUTER_REDIS_URL cannot be understood.",
                hint="For example: redis://user:password@host:6379/0",
            ) from None
        return self._driver.Redis.from_pool(pool)

    async def call(self, work: Work[T], within: float | None = None) -> T:
        """What `work` makes of the client, within so many seconds. Raises RedisAway."""
        self._refuse_while_away()
        async with self._seats:
            self._refuse_while_away()
            trial = self._trying = self._failures > 0
            try:
                with Deadline(within or self._deadline_s):
                    result = await work(self._client)
            except self._expected as error:
                self._failed(error)
                raise RedisAway from None
            finally:
                if trial:
                    self._trying = False
            self._worked()
            return result

    def script(self, text: str) -> Any:
        """A Lua script, sent once and called by its hash: `script(keys=, args=, client=)`."""
        return self._client.register_script(text)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it in the background; RedisAway ends it in silence."""
        task = asyncio.create_task(_quietly(work))
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def close(self) -> None:
        """Finish what was begun, for a second at most, then close the connections."""
        if self._later:
            _, late = await asyncio.wait(self._later, timeout=PATIENT_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._client.aclose()

    def _refuse_while_away(self) -> None:
        if self._failures and (self._trying or self._clock() < self._alone_until):
            raise RedisAway

    def _worked(self) -> None:
        if not self.up:
            log.info("redis_back")
        self._failures = 0

    def _failed(self, error: Exception) -> None:
        was_up = self.up
        self._failures += 1
        self._alone_until = self._clock() + (DOUBT_S if self.up else OPEN_S)
        if was_up and not self.up:
            log.error("redis_away", error=str(error) or type(error).__name__)


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except RedisAway:
        return


def _driver() -> Any:
    """The package, loaded by those alone who use it."""
    try:
        return import_module("redis.asyncio")
    except ImportError:
        raise OperatorError(
            "XROUTER_REDIS_URL needs the package redis.", hint='pip install "xrouter[redis]"'
        ) from None


def _no_retry() -> Any:
    retry, backoff = import_module("redis.asyncio.retry"), import_module("redis.backoff")
    return retry.Retry(backoff.NoBackoff(), 0)
