"""What happens to a request. Read this first.

    1  edge/server             request id, body cap, the route of a dialect
    2  edge/dialects/openai    bytes -> ChatRequest
    3  here                    takes one snapshot, calls the verbs
    4  admit                   key -> principal
    5  resolve                 model, channel -> version
    6  route, limits           strategy -> plan of targets; what it may need is held
    7  dispatch                tries targets until one has spoken
    8  providers/*             events -> deltas
    9  relay, edge/reply       deltas onwards, tally kept
    10 settle                  usage event into the journal, then the last byte goes out

`work` does 4 to 9 and returns how to end the answer; `_conclude` guarantees 10 on every way out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from msgspec import Struct
from typing_extensions import override

from xrouter.domain.answer import ChatAnswer
from xrouter.domain.catalog import Kind, Model
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import CountRequest
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.errors import ClientGone, InternalError, NotReady, XRouterError
from xrouter.domain.feedback import Feedback
from xrouter.domain.images import ImagesRequest
from xrouter.domain.plan import Plan
from xrouter.domain.ports import (
    SERVER_SHUTDOWN,
    CallInfo,
    Deferred,
    Flow,
    KeyBook,
    Reply,
    SnapshotSource,
)
from xrouter.domain.raw import RawRequest
from xrouter.domain.track import Track
from xrouter.flow import admit, cache, listing
from xrouter.flow.ask import Ask
from xrouter.flow.cache import AnswerCache, Job
from xrouter.flow.dispatch import Dispatcher
from xrouter.flow.limits.keeper import Keeper
from xrouter.flow.relay import pass_on, relay
from xrouter.flow.resolve import left_with
from xrouter.flow.route import Router
from xrouter.flow.settle import Settler
from xrouter.flow.tally import Tally
from xrouter.telemetry.logs import log

Ending = Callable[[], Awaitable[None]]


RAW_KINDS: dict[str, tuple[Kind, ...]] = {
    "moderations": ("moderation",),
    "audio/speech": ("speech",),
    "audio/transcriptions": ("transcription",),
    "audio/translations": ("transcription",),
}
"""What kind of model an operation that is passed on asks for."""


class Gear(Struct, frozen=True):
    """What the pipeline works with; joined in `app`."""

    snapshots: SnapshotSource
    keys: KeyBook
    limits: Keeper
    router: Router
    dispatcher: Dispatcher
    settler: Settler
    cache: AnswerCache
    track: Track | None = None


class _Asker(Struct, frozen=True):
    """Who asks, and the way back. other: what is asked for, where it is no chat."""

    credential: str | None
    call: CallInfo
    reply: Reply
    other: EmbeddingsRequest | ImagesRequest | None = None


class Pipeline(Flow):
    """The conductor."""

    def __init__(self, gear: Gear) -> None:
        self._gear = gear

    @override
    def chat(
        self, request: ChatRequest, credential: str | None, call: CallInfo, reply: Reply
    ) -> Coroutine[Any, Any, None]:
        tally = Tally(
            "chat", request.model, streamed=request.streaming, started_at=call.received_at
        )
        tally.end_user = request.end_user
        if self._gear.track is not None:
            tally.follow(self._gear.track, call.request_id)

        async def work() -> Ending:
            plan = await self._plan(("chat",), _Asker(credential, call, reply), tally, request)
            rule = cache.rule(plan, call.headers)
            try:
                if rule is None:
                    return await self._answer(request, plan, tally, reply)
                job = Job(request, plan, tally, reply, rule, call.headers)
                make = partial(self._answer, request, plan, tally, reply)
                return await self._gear.cache.answer(job, make)
            finally:
                tally.sum_up(request)

        return self._conclude(work, call, tally, reply)

    @override
    async def embeddings(
        self, request: EmbeddingsRequest, credential: str | None, call: CallInfo, reply: Reply
    ) -> None:
        tally = Tally("embeddings", request.model, streamed=False, started_at=call.received_at)
        tally.end_user = request.user

        async def work() -> Ending:
            asker = _Asker(credential, call, reply, request)
            plan = await self._plan(("embeddings",), asker, tally)
            answer = await self._gear.dispatcher.embeddings(request, plan, tally)
            tally.usage = answer.usage
            return partial(reply.embeddings, answer, tally.served())

        await self._conclude(work, call, tally, reply)

    @override
    async def images(
        self, request: ImagesRequest, credential: str | None, call: CallInfo, reply: Reply
    ) -> None:
        tally = Tally("images", request.model, streamed=False, started_at=call.received_at)
        tally.end_user = request.user

        async def work() -> Ending:
            asker = _Asker(credential, call, reply, request)
            plan = await self._plan(("images", "chat"), asker, tally)
            answer = await self._gear.dispatcher.images(request, plan, tally)
            tally.usage, tally.pictures = answer.usage, len(answer.pictures)
            return partial(reply.images, answer, tally.served())

        await self._conclude(work, call, tally, reply)

    @override
    async def count(
        self, request: CountRequest, credential: str | None, call: CallInfo, reply: Reply
    ) -> None:
        tally = Tally("count", request.model, streamed=False, started_at=call.received_at)

        async def work() -> Ending:
            plan = await self._plan((), _Asker(credential, call, reply), tally)
            counted = await self._gear.dispatcher.count(request, plan, tally)
            return partial(reply.count, counted, tally.served())

        await self._conclude(work, call, tally, reply)

    @override
    async def raw(
        self, request: RawRequest, credential: str | None, call: CallInfo, reply: Reply
    ) -> None:
        tally = Tally(call.operation, request.model, streamed=False, started_at=call.received_at)

        async def work() -> Ending:
            kinds = RAW_KINDS.get(request.operation, ())
            plan = await self._plan(kinds, _Asker(credential, call, reply), tally)
            passage = await self._gear.dispatcher.raw(request, plan, tally)
            try:
                idle = plan.targets[0].endpoint.timeouts.idle
                await pass_on(passage, reply, tally, idle)
            finally:
                passage.exchange.close()
            return reply.close_raw

        await self._conclude(work, call, tally, reply)

    @override
    async def defer(
        self, request: ChatRequest, credential: str | None, call: CallInfo
    ) -> Deferred | None:
        gear = self._gear
        snapshot = gear.snapshots.current
        principal = admit.identify(credential, gear.keys, snapshot)
        if principal.bounds is not None:
            admit.hold(principal.bounds, "chat", call.client)
        request.tenant = principal.project
        ask = Ask(principal, request, call.headers, snapshot.rates)
        plan = gear.router.plan(request.model, ("chat",), ask, snapshot)
        held, plan = await gear.limits.take(ask, plan, snapshot, None)
        found = None
        try:
            found = await gear.dispatcher.defer(request, plan)
        finally:
            if held is not None:
                gear.limits.defer(held, None if found is None else found[0])
        if found is None:
            return None
        target, left = found
        return Deferred(
            reference=left.reference,
            model=target.model.model_id,
            version=target.version.label,
            provider=target.endpoint.provider,
            endpoint=target.endpoint.name,
            principal=principal,
            started_at=time.time(),
            dropped=left.dropped,
        )

    @override
    async def collect(self, deferred: Deferred, call: CallInfo, reply: Reply) -> None:
        tally = Tally("chat", deferred.model, streamed=False, started_at=call.received_at)
        tally.principal = deferred.principal
        tally.dropped = deferred.dropped
        tally.is_deferred = True

        failure: XRouterError | None = None
        answer: ChatAnswer | None = None
        try:  # outside of the work: whoever stops waiting does not end the request
            target = tally.target = left_with(deferred, self._gear.snapshots.current)
            answer = await self._gear.dispatcher.collect(deferred.reference, target, tally)
        except XRouterError as error:
            failure = error
        except asyncio.CancelledError as cancelled:
            if SERVER_SHUTDOWN not in cancelled.args:
                self._gear.settler.settle(call, tally, _abandoned(cancelled))
            raise

        async def work() -> Ending:
            if answer is None:
                raise failure or InternalError("There is no answer.")
            tally.take(answer)
            return partial(reply.answer, answer, tally.served())

        await self._conclude(work, call, tally, reply)

    @override
    def rate(self, feedback: Feedback, credential: str | None) -> None:
        snapshot = self._gear.snapshots.current
        principal = admit.identify(credential, self._gear.keys, snapshot)
        self._gear.router.rate(feedback, principal, snapshot)

    @override
    def models(self, credential: str | None) -> list[Model]:
        snapshot = self._gear.snapshots.current
        principal = admit.identify(credential, self._gear.keys, snapshot)
        return listing.available(snapshot, principal)

    @override
    def model(self, credential: str | None, model_id: str) -> Model:
        snapshot = self._gear.snapshots.current
        principal = admit.identify(credential, self._gear.keys, snapshot)
        return listing.shown(model_id, snapshot, principal)

    async def _answer(self, request: ChatRequest, plan: Plan, tally: Tally, reply: Reply) -> Ending:
        """Stops 7 to 9."""
        if not request.streaming:
            answer = await self._gear.dispatcher.answer(request, plan, tally)
            tally.take(answer)
            tally.sum_up(request)
            answer.usage = tally.usage
            return partial(reply.answer, answer, tally.served())
        stream = await self._gear.dispatcher.stream(request, plan, tally)
        try:
            await relay(stream, reply, tally)
        finally:
            stream.close()
        tally.sum_up(request)
        return partial(reply.end, tally.usage)

    async def _plan(
        self,
        kinds: tuple[Kind, ...],
        asker: _Asker,
        tally: Tally,
        request: ChatRequest | None = None,
    ) -> Plan:
        """Stops 4 to 6, on one snapshot. kinds: of models that will do; () for all."""
        gear = self._gear
        snapshot = gear.snapshots.current
        tally.principal = principal = admit.identify(asker.credential, gear.keys, snapshot)
        if principal.bounds is not None:
            admit.hold(principal.bounds, tally.operation, asker.call.client)
        if request is not None:
            request.tenant = principal.project
        ask = Ask(principal, request, asker.call.headers, snapshot.rates, asker.other)
        tally.plan = plan = gear.router.plan(tally.model, kinds, ask, snapshot)
        if snapshot.limits or principal.rpm is not None:
            tally.held, plan = await gear.limits.take(ask, plan, snapshot, asker.reply)
            tally.plan = plan
        return plan

    async def _conclude(
        self, work: Callable[[], Awaitable[Ending]], call: CallInfo, tally: Tally, reply: Reply
    ) -> None:
        """Run the work, settle exactly once, then send the end: the answer's or the error's."""
        try:
            ending = await work()
        except asyncio.CancelledError as cancelled:
            self._gear.settler.settle(call, tally, _abandoned(cancelled))
            raise
        except XRouterError as error:
            ending = _told(error, tally, reply)
            self._gear.settler.settle(call, tally, error)
        except Exception:  # noqa: BLE001 - the last line of defence
            log.exception("defect", request_id=call.request_id)
            defect = InternalError("XRouter failed to handle the request; it has been recorded.")
            ending = _told(defect, tally, reply)
            self._gear.settler.settle(call, tally, defect)
        else:
            self._gear.settler.settle(call, tally, None)
        finally:
            tally.leave()
        await ending()


def _told(error: XRouterError, tally: Tally, reply: Reply) -> Ending:
    """How the caller learns of it."""
    if not reply.started:
        if tally.attempts:
            reply.asked(tally.served())
        return partial(reply.refuse, error)
    return reply.break_raw if tally.raw else partial(reply.fail, error)


def _abandoned(cancelled: asyncio.CancelledError) -> XRouterError:
    """Why the task was cancelled: the server leaves, or the caller has left."""
    if SERVER_SHUTDOWN in cancelled.args:
        return NotReady("The server was shut down.", code=SERVER_SHUTDOWN)
    return ClientGone("The caller left.")
