"""The way of one request through its plan: what may be tried after a failure, and when."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from random import random
from typing import Generic, TypeVar

from msgspec import Struct

from xrouter.domain.errors import (
    ContextLengthExceeded,
    InternalError,
    ProjectCredentialRefused,
    UpstreamRateLimited,
    XRouterError,
)
from xrouter.domain.plan import Plan, Target
from xrouter.domain.usage import Tried
from xrouter.flow import accounts
from xrouter.flow.board import Board
from xrouter.flow.stream import DeltaStream
from xrouter.flow.tally import Tally
from xrouter.flow.upstreams import Upstream, Upstreams
from xrouter.telemetry.logs import log
from xrouter.telemetry.metrics import Meters

PAUSE_S = 0.25
"""Before the same target is asked again; twice as long each time, half of it by chance."""

LONGEST_WAIT_S = 5.0
"""A provider that asks for a longer one gets it: its error is told to the caller."""

LEFT_S = 60.0
"""How long a provider's word on what is left of its limit counts."""

_MOST_LEFT = 1_000_000_000
REFUSED = ("content_policy_violation", "content_filter")

T = TypeVar("T")
Attempt = Callable[[Target, Upstream], Awaitable[T]]
Refused = Callable[[T], bool]


class Means(Struct, frozen=True):
    """What all courses work with."""

    upstreams: Upstreams
    board: Board
    meters: Meters


class Course(Generic[T]):
    """One request. attempt: asks one target; refused: whether its answer is but a refusal."""

    def __init__(
        self, plan: Plan, tally: Tally, means: Means, attempt: Attempt[T], refused: Refused[T]
    ) -> None:
        self._plan = plan
        self._tally = tally
        self._means = means
        self._attempt = attempt
        self._refused = refused
        self._ahead: deque[Target] = deque(plan.targets)
        self._left = plan.policy.max_attempts
        self._dead: set[int] = set()
        self._again: list[Target] = []
        self._last: XRouterError | None = None
        self._turned = False

    async def run(self) -> T:
        """The first answer. Raises the last error when no target answers."""
        while (target := self._next() or await self._once_more()) is not None:
            self._left -= 1
            try:
                result = await self._ask(target)
            except XRouterError as error:
                self._last = error
                if not self._goes_on(target, error):
                    raise
                continue
            if not self._refused(result):
                return result
            self._means.board.standing(target).refused += 1
            if self._turned or not self._plan.refusal:
                return result
            return await self._elsewhere(target, result)
        raise self._last or InternalError("The plan was empty.")

    async def _ask(self, target: Target) -> T:
        """One attempt, with what it means for the board and the records."""
        means, tally = self._means, self._tally
        tally.target = target
        tally.enter(means.board.enter(target))
        began = time.monotonic()
        try:
            result = await self._attempt(target, means.upstreams.get(target.endpoint))
        except XRouterError as raw:
            tally.leave()
            error = accounts.told(raw, target)
            tally.tried.append(_tried(target, began, error))
            self._failed(target, error)
            if error is not raw:
                raise error from raw
            raise
        except BaseException:
            tally.leave()
            means.board.gave_up(target)
            raise
        means.board.answered(target, time.monotonic() - began, streamed=tally.streamed)
        if tally.remaining is not None and tally.remaining.isdecimal():
            means.board.left(target, min(int(tally.remaining[:9]), _MOST_LEFT), LEFT_S)
        if tally.tried:
            tally.tried.append(_tried(target, began, None))
        return result

    def _next(self) -> Target | None:
        """The next target to ask, None when there is none or too much was tried."""
        while self._ahead and self._left > 0:
            target = self._ahead.popleft()
            if target.endpoint.id not in self._dead:
                return target
        return None

    async def _once_more(self) -> Target | None:
        """One of those that may do better in a moment, after that moment."""
        error = self._last
        if error is None or not self._again or self._turned or self._left <= 0:
            return None
        target = self._again.pop(0)
        base = PAUSE_S * 2.0 ** (self._plan.policy.max_attempts - self._left - 1)
        wait = base * (0.5 + random() / 2)  # noqa: S311 - spreads the load, no secret
        if error.retry_after is not None:
            wait = max(wait, error.retry_after)
        if wait > LONGEST_WAIT_S or not self._means.board.may_retry(target):
            return None
        await asyncio.sleep(wait)
        return target

    def _goes_on(self, target: Target, error: XRouterError) -> bool:
        """Whether another attempt makes sense; sets the targets ahead right."""
        if target.endpoint.owner is not None:
            self._ahead = deque(accounts.worth_asking(self._ahead, target, error))
        if isinstance(error, ProjectCredentialRefused):
            self._left += 1  # what the project's own mistake takes is not the request's
        if isinstance(error, ContextLengthExceeded):
            return self._to_longer(target)
        if error.code in REFUSED and self._plan.refusal and not self._turned:
            self._turn(self._plan.refusal)
            return True
        if not error.fallback:
            return False
        if isinstance(error, UpstreamRateLimited):
            self._spare(target)
        if error.again and not self._tally.may_be_charged:
            self._again.append(target)
        elif error.reach == "endpoint":
            self._dead.add(target.endpoint.id)
        return True

    def _to_longer(self, target: Target) -> bool:
        """Only targets that may have room for more are left."""
        if self._plan.overflow and not self._turned:
            self._turn(self._plan.overflow)
            return True
        limit, where = target.model.context_length or 0, target.endpoint.id
        longer = [
            t
            for t in self._ahead
            if t.endpoint.id != where or (t.model.context_length or 0) > limit
        ]
        self._ahead = deque(longer)
        return bool(longer)

    def _spare(self, target: Target) -> None:
        """An older version is no answer to a limit that all versions share."""
        model, where = target.model.model_id, target.endpoint.id
        self._ahead = deque(
            t for t in self._ahead if t.endpoint.id != where or t.model.model_id != model
        )

    def _turn(self, chain: tuple[Target, ...]) -> None:
        """Go on with another chain, once."""
        self._turned = True
        self._ahead = deque(chain)
        self._left = max(self._left, 1)
        self._again.clear()

    async def _elsewhere(self, target: Target, refusal: T) -> T:
        """Another provider's answer in place of a refusal; the refusal where there is none."""
        board, tally = self._means.board, self._tally
        self._turn(self._plan.refusal)
        while (other := self._next() or await self._once_more()) is not None:
            self._left -= 1
            try:
                answer = await self._ask(other)
            except XRouterError as error:
                self._last = error
                if error.fallback:
                    continue
                break
            if isinstance(refusal, DeltaStream):
                refusal.close()
            return answer
        tally.target = target
        tally.enter(board.enter(target))
        return refusal

    def _failed(self, target: Target, error: XRouterError) -> None:
        """Count it, and tell the operator: a fallback hides it from everybody else."""
        means, endpoint = self._means, target.endpoint
        means.board.failed(target, error)
        if error.upstream_request_id is not None:
            self._tally.upstream_request_id = error.upstream_request_id
        if error.blame == "caller":
            return
        means.meters.upstream_failed(endpoint, error)
        log.warning(
            "attempt_failed",
            provider=endpoint.provider,
            endpoint=endpoint.name,
            model=target.model.model_id,
            version=target.version.label,
            code=error.code,
            error=error.message,
            hint=error.hint,
            upstream_status=error.upstream_status,
        )


def _tried(target: Target, began: float, error: XRouterError | None) -> Tried:
    code = None if error is None else error.code or type(error).__name__
    return Tried(
        target.endpoint.provider,
        target.endpoint.name,
        target.model.model_id,
        target.version.label,
        code,
        round((time.monotonic() - began) * 1000, 3),
    )
