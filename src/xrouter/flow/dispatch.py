"""Stop 7: try the plan's targets in order until one has spoken.

The loop (`_first_that_answers`) knows what may be tried again; `attempt` and `errands` know how.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from xrouter.domain.answer import ChatAnswer
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from xrouter.domain.errors import InternalError, XRouterError
from xrouter.domain.images import ImagesAnswer, ImagesRequest
from xrouter.domain.plan import Plan, Target
from xrouter.domain.raw import RawRequest
from xrouter.flow import errands
from xrouter.flow.attempt import ChatAttempt
from xrouter.flow.stream import DeltaStream
from xrouter.flow.tally import Tally
from xrouter.flow.upstreams import Upstream, Upstreams
from xrouter.telemetry.logs import log
from xrouter.telemetry.metrics import Meters
from xrouter.wire.client import Exchange as WireExchange

T = TypeVar("T")
Attempt = Callable[[Target, Upstream], Awaitable[T]]


class Dispatcher:
    """Sends requests to targets."""

    def __init__(self, upstreams: Upstreams, meters: Meters) -> None:
        self._upstreams = upstreams
        self._meters = meters

    async def stream(self, request: ChatRequest, plan: Plan, tally: Tally) -> DeltaStream:
        """A stream that has spoken. Raises the last error when no target answers."""

        async def attempt(target: Target, upstream: Upstream) -> DeltaStream:
            return await ChatAttempt(request, target, upstream, tally).stream()

        return await self._first_that_answers(plan, tally, attempt)

    async def answer(self, request: ChatRequest, plan: Plan, tally: Tally) -> ChatAnswer:
        """A whole answer. Raises the last error when no target answers."""

        async def attempt(target: Target, upstream: Upstream) -> ChatAnswer:
            return await ChatAttempt(request, target, upstream, tally).answer()

        return await self._first_that_answers(plan, tally, attempt)

    async def embeddings(
        self, request: EmbeddingsRequest, plan: Plan, tally: Tally
    ) -> EmbeddingsAnswer:
        """Vectors. Raises the last error when no target answers."""

        async def attempt(target: Target, upstream: Upstream) -> EmbeddingsAnswer:
            return await errands.embed(request, target, upstream, tally)

        return await self._first_that_answers(plan, tally, attempt)

    async def images(self, request: ImagesRequest, plan: Plan, tally: Tally) -> ImagesAnswer:
        """Pictures. Raises the last error when no target answers."""

        async def attempt(target: Target, upstream: Upstream) -> ImagesAnswer:
            return await errands.draw(request, target, upstream, tally)

        return await self._first_that_answers(plan, tally, attempt)

    async def count(self, request: CountRequest, plan: Plan, tally: Tally) -> TokenCount:
        """Tokens, estimated where the provider cannot count."""

        async def attempt(target: Target, upstream: Upstream) -> TokenCount:
            return await errands.count(request, target, upstream, tally)

        return await self._first_that_answers(plan, tally, attempt)

    async def raw(self, request: RawRequest, plan: Plan, tally: Tally) -> WireExchange:
        """An answer of status 2xx, to be passed on. The caller closes it."""

        async def attempt(target: Target, upstream: Upstream) -> WireExchange:
            return await errands.passed_on(request, target, upstream, tally)

        return await self._first_that_answers(plan, tally, attempt)

    async def defer(self, request: ChatRequest, plan: Plan) -> tuple[Target, str] | None:
        """The first target that answers later, and its reference; None when none does."""
        for target in plan.targets:
            upstream = self._upstreams.get(target.endpoint)
            reference = await errands.left(request, target, upstream)
            if reference is not None:
                return target, reference
        return None

    async def collect(self, reference: str, target: Target, tally: Tally) -> ChatAnswer:
        """A deferred answer, when it is there."""
        return await errands.collected(
            reference, target, self._upstreams.get(target.endpoint), tally
        )

    async def _first_that_answers(self, plan: Plan, tally: Tally, attempt: Attempt[T]) -> T:
        last: XRouterError | None = None
        for target in plan.targets:
            tally.target = target
            try:
                return await attempt(target, self._upstreams.get(target.endpoint))
            except XRouterError as error:
                if error.blame != "caller":
                    self._failed(target, error)
                if error.upstream_request_id is not None:
                    tally.upstream_request_id = error.upstream_request_id
                if not error.fallback:
                    raise
                last = error
        raise last or InternalError("The plan was empty.")

    def _failed(self, target: Target, error: XRouterError) -> None:
        """Count it, and tell the operator: a fallback hides it from everybody else."""
        self._meters.upstream_failed(target.endpoint, error)
        log.warning(
            "attempt_failed",
            provider=target.endpoint.provider,
            endpoint=target.endpoint.name,
            code=error.code,
            error=error.message,
            hint=error.hint,
            upstream_status=error.upstream_status,
        )
