"""Stop 7: try the plan's targets in order until one has spoken.

The `course` knows what may be tried again; `attempt` and `errands` know how.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from xrouter.domain.answer import ChatAnswer
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from xrouter.domain.errors import OperatorError
from xrouter.domain.images import ImagesAnswer, ImagesRequest
from xrouter.domain.plan import Plan, Target
from xrouter.domain.raw import RawRequest
from xrouter.flow import accounts, errands, vectors
from xrouter.flow.attempt import ChatAttempt
from xrouter.flow.board import Board
from xrouter.flow.course import Attempt, Course, Means, Refused
from xrouter.flow.fold import is_refused
from xrouter.flow.stream import DeltaStream, begins_refused
from xrouter.flow.tally import Tally
from xrouter.flow.upstreams import Upstream, Upstreams
from xrouter.providers.base import Left
from xrouter.telemetry.metrics import Meters

T = TypeVar("T")


def _never(_result: object) -> bool:
    return False


class Dispatcher:
    """Sends requests to targets."""

    def __init__(self, upstreams: Upstreams, meters: Meters, board: Board) -> None:
        self._upstreams = upstreams
        self._means = Means(upstreams, board, meters)

    def stream(self, request: ChatRequest, plan: Plan, tally: Tally) -> Awaitable[DeltaStream]:
        """A stream that has spoken. Raises the last error when no target answers."""

        def attempt(target: Target, upstream: Upstream) -> Awaitable[DeltaStream]:
            return ChatAttempt(request, target, upstream, tally, plan.policy).stream()

        return self._first_that_answers(plan, tally, attempt, begins_refused)

    def answer(self, request: ChatRequest, plan: Plan, tally: Tally) -> Awaitable[ChatAnswer]:
        """A whole answer. Raises the last error when no target answers."""

        def attempt(target: Target, upstream: Upstream) -> Awaitable[ChatAnswer]:
            return ChatAttempt(request, target, upstream, tally, plan.policy).answer()

        return self._first_that_answers(plan, tally, attempt, is_refused)

    def embeddings(
        self, request: EmbeddingsRequest, plan: Plan, tally: Tally
    ) -> Awaitable[EmbeddingsAnswer]:
        """Vectors. Raises the last error when no target answers."""

        def attempt(target: Target, upstream: Upstream) -> Awaitable[EmbeddingsAnswer]:
            return vectors.embed(request, target, upstream, tally)

        return self._first_that_answers(plan, tally, attempt)

    def images(self, request: ImagesRequest, plan: Plan, tally: Tally) -> Awaitable[ImagesAnswer]:
        """Pictures. Raises the last error when no target answers."""

        def attempt(target: Target, upstream: Upstream) -> Awaitable[ImagesAnswer]:
            return errands.draw(request, target, upstream, tally)

        return self._first_that_answers(plan, tally, attempt)

    def count(self, request: CountRequest, plan: Plan, tally: Tally) -> Awaitable[TokenCount]:
        """Tokens, estimated where the provider cannot count."""

        def attempt(target: Target, upstream: Upstream) -> Awaitable[TokenCount]:
            return errands.count(request, target, upstream, tally)

        return self._first_that_answers(plan, tally, attempt)

    def raw(self, request: RawRequest, plan: Plan, tally: Tally) -> Awaitable[errands.Passage]:
        """An answer of status 2xx, to be passed on. The caller closes it."""

        def attempt(target: Target, upstream: Upstream) -> Awaitable[errands.Passage]:
            return errands.passed_on(request, target, upstream, tally)

        return self._first_that_answers(plan, tally, attempt)

    async def defer(self, request: ChatRequest, plan: Plan) -> tuple[Target, Left] | None:
        """The first target that answers later, and what it left; None when none does."""
        for target in plan.targets:
            try:
                upstream = self._upstreams.get(target.endpoint)
                left = await errands.left(request, target, upstream)
            except OperatorError as error:
                if target.endpoint.owner is None:
                    raise
                self._means.board.failed(target, refused := accounts.told(error, target))
                if target.endpoint.is_only:
                    raise refused from error
                continue
            if left is not None:
                return target, left
        return None

    async def collect(self, reference: str, target: Target, tally: Tally) -> ChatAnswer:
        """A deferred answer, when it is there."""
        return await errands.collected(
            reference, target, self._upstreams.get(target.endpoint), tally
        )

    def _first_that_answers(
        self, plan: Plan, tally: Tally, attempt: Attempt[T], refused: Refused[T] = _never
    ) -> Awaitable[T]:
        return Course(plan, tally, self._means, attempt, refused).run()
