"""Responses in the background: begun, gone on with after a restart, cancelled.

With `service_tier: "flex"` a request is left with the provider where that answers later, and
cheaper; such work survives a restart, and takes up next to nothing meanwhile. Other work is done
here, and counts as a running request: when the server leaves it has the same grace to end, and
what has not ended then has failed, as it has after a crash.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct
from typing_extensions import override

from xrouter.domain.answer import ChatAnswer
from xrouter.domain.errors import InternalError, InvalidRequest, NotReady, XRouterError
from xrouter.domain.history import StoredJob, StoredResponse
from xrouter.domain.ports import SERVER_SHUTDOWN, CallInfo, Deferred, Served
from xrouter.edge.background import CANCELLED
from xrouter.edge.dialects.responses.body import Item, ResponsesBody, read_body
from xrouter.edge.dialects.responses.kept import PREFIX, UNFINISHED, Kept, status_of, stored
from xrouter.edge.dialects.responses.request import Asked, translate
from xrouter.edge.dialects.responses.voice import Draft, Ended, Manner
from xrouter.edge.visit import Means, Visit
from xrouter.edge.voice import encode
from xrouter.edge.whole import WholeReply
from xrouter.flow.fold import deltas_of

FLEX = "flex"
LOOK_EVERY_S = 10.0
QUEUED = "queued"

_log = logging.getLogger(__name__)


class Job(Struct):
    """All that is needed to go on. body: the request as it was sent; before: the conversation.

    own: the items of the request, references resolved; None where there are none.
    """

    id: str
    project: str
    body: bytes
    before: list[Item]
    deferred: Deferred | None = None
    own: list[Item] | None = None


_decode = msgspec.msgpack.Decoder(Job).decode
_pack = msgspec.msgpack.Encoder().encode


class Course:
    """A job under way: its response object, kept anew at each turn."""

    def __init__(self, job: Job, means: Means) -> None:
        self.job = job
        self.means = means
        body = read_body(job.body)
        if job.own is not None:
            body.input = job.own
        self.tier = body.service_tier
        self.asked: Asked = translate(body, job.before)
        self.asked.chat.stream = None
        self.draft = Draft(Manner(job.id, body, self.asked, self._ended))
        if job.deferred is not None:
            self.leave_with(job.deferred)

    def leave_with(self, deferred: Deferred) -> None:
        """It was left with a provider."""
        self.job.deferred = deferred
        self.draft.dropped = (*self.asked.dropped, *deferred.dropped)

    def keep(self, **more: Any) -> StoredResponse:
        """Let it be found as it is now."""
        return self._keep(self.draft.so_far() | more, [], self.draft.dropped)

    async def is_wanted(self) -> bool:
        """Whether nobody has cancelled or deleted it, here or in another process."""
        kept = await self.means.responses.find(self.job.id, self.job.project)
        return kept is not None and status_of(kept) in UNFINISHED

    async def end(self, error: XRouterError | None = None) -> None:
        """Nothing more is to be done. error: what is told when there is no answer."""
        if error is not None and not self.draft.over and await self.is_wanted():
            self.draft.fail(error)
        await self.means.responses.finish(self.job.id)

    def _ended(self, ended: Ended) -> None:
        self._keep(ended.body, ended.items, ended.dropped)

    def _keep(
        self, body: dict[str, Any], output: list[Item], dropped: tuple[str, ...]
    ) -> StoredResponse:
        asked = self.asked
        kept = stored(
            self.job.project,
            body,
            before=asked.before,
            own=asked.own,
            output=output,
            dropped=dropped,
        )
        self.means.responses.keep(kept)
        return kept


async def begin(
    visit: Visit, body: ResponsesBody, before: list[Item], project: str
) -> StoredResponse:
    """Start the work; the response as it is now."""
    means, key, call = visit.means, visit.credential(), visit.info("responses")
    own = body.input if isinstance(body.input, list) else None
    job = Job(PREFIX + visit.serial, project, encode(body.fields), before, own=own)
    course = Course(job, means)
    means.flow.model(key, course.asked.chat.model)  # an unknown one is told at once
    means.background.reserve(job.id, project)
    try:
        if course.tier == FLEX:
            await _leave(course, key, call)
        await means.responses.begin(StoredJob(job.id, _pack(job)))
    except BaseException:
        means.background.release(job.id)
        raise
    kept = course.keep(status=QUEUED)
    _start(course, partial(_work, course, key, call))
    return kept


async def _leave(course: Course, key: str | None, call: CallInfo) -> None:
    """Leave it with a provider, if there is one that answers later."""
    asked = course.asked
    try:
        deferred = await course.means.flow.defer(asked.chat, key, call)
    except XRouterError as error:
        error.param = asked.renamed(error.param)
        raise
    if deferred is not None:
        course.leave_with(deferred)


async def cancel(visit: Visit, kept: StoredResponse) -> StoredResponse:
    """End the work; the response as it is then."""
    if not msgspec.json.decode(kept.body).get("background"):
        raise InvalidRequest(
            "Only responses in the background can be cancelled.",
            code="invalid_value",
            param="response_id",
        )
    if status_of(kept) not in UNFINISHED:
        return kept
    means = visit.means
    await means.background.cancel(kept.id)
    kept = await Kept(means.responses, kept.project).find(kept.id)  # it may have just ended
    if status_of(kept) in UNFINISHED:
        body = msgspec.json.decode(kept.body, type=dict[str, Any]) | {"status": CANCELLED}
        kept = msgspec.structs.replace(kept, body=encode(body))
        means.responses.keep(kept)
    await means.responses.finish(kept.id)
    return kept


async def forget(visit: Visit, response_id: str) -> None:
    """End the work on a response that is to be deleted, so that it does not come back."""
    await visit.means.background.cancel(response_id)
    await visit.means.responses.finish(response_id)


async def revive(means: Means) -> None:
    """Go on with what other processes have begun and left, as long as the door is open."""
    while True:
        try:
            for job in await means.responses.abandoned():
                await _take_over(job, means)
            await end_unwanted(means)
        except Exception:  # noqa: BLE001 - looking must go on: it also says that we are there
            _log.exception("abandoned work was not looked at")
        await asyncio.sleep(LOOK_EVERY_S)


async def end_unwanted(means: Means) -> None:
    """End the work here on what was cancelled or deleted by way of another process."""
    for name, project in means.background.running():
        kept = await means.responses.find(name, project)
        if kept is None or status_of(kept) == CANCELLED:
            await means.background.cancel(name)


async def _take_over(written: StoredJob, means: Means) -> None:
    """Go on with one; what cannot be read any more is given up, and logged."""
    try:
        course = Course(_decode(written.data), means)
    except (msgspec.MsgspecError, XRouterError) as error:
        _log.error("work cannot be gone on with, response_id=%s: %s", written.id, error)
        await means.responses.finish(written.id)
        return
    job = course.job
    kept = await means.responses.find(job.id, job.project)
    if kept is not None and status_of(kept) not in UNFINISHED:
        await course.end()
        return
    if kept is None:
        course.keep()  # the process was killed before it was written
    _start(course, partial(_revive, course))


def _start(course: Course, work: Callable[[], Awaitable[None]]) -> None:
    job = course.job
    course.means.background.start(
        job.id, _guarded(course, work), holder=job.project, ends=job.deferred is None
    )


async def _guarded(course: Course, work: Callable[[], Awaitable[None]]) -> None:
    """Whatever becomes of the work, its response does not stay unfinished."""
    if course.job.deferred is not None:
        await _to_its_end(course, work)
        return
    place = course.means.shed.occupy(len(course.job.body))
    try:
        await _to_its_end(course, work)
    finally:
        place.leave()


async def _to_its_end(course: Course, work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except asyncio.CancelledError as gone:
        if SERVER_SHUTDOWN in gone.args and course.job.deferred is None:
            await course.end(NotReady("The server was stopped while it worked on this."))
        raise
    except Exception:  # noqa: BLE001 - the last line of defence of a job
        _log.exception("defect in the background, response_id=%s", course.job.id)
    await course.end(InternalError("XRouter failed to handle the request; it has been recorded."))


async def _work(course: Course, key: str | None, call: CallInfo) -> None:
    course.keep()
    deferred, flow, reply = course.job.deferred, course.means.flow, KeepingReply(course)
    if deferred is not None:
        await flow.collect(deferred, call, reply)
    else:
        await flow.chat(course.asked.chat, key, call, reply)


async def _revive(course: Course) -> None:
    deferred = course.job.deferred
    if deferred is None:
        await course.end(NotReady("The server was restarted while it worked on this."))
        return
    call = CallInfo("req_" + course.job.id.removeprefix(PREFIX), time.monotonic(), "responses")
    await course.means.flow.collect(deferred, call, KeepingReply(course))


class KeepingReply(WholeReply):
    """The way back of a request that nobody waits for: into the response object."""

    def __init__(self, course: Course) -> None:
        self._course = course

    @override
    async def answer(self, answer: ChatAnswer, served: Served) -> None:
        if not await self._course.is_wanted():
            return
        draft = self._course.draft
        draft.served_by(served)
        for delta in deltas_of(answer):
            draft.grow(delta)
        draft.output.close(draft.item_status())
        draft.end(answer.usage)

    @override
    async def refuse(self, error: XRouterError) -> None:
        await self._course.end(error)
