"""Responses in the background: begun, gone on with after a restart, cancelled.

With `service_tier: "flex"` a request is left with the provider where that answers later, and
cheaper; such work survives a restart. Other work is done here: after a restart it has failed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import msgspec
from msgspec import Struct
from typing_extensions import override

from xrouter.domain.answer import ChatAnswer
from xrouter.domain.errors import InvalidRequest, NotReady, XRouterError
from xrouter.domain.history import StoredJob, StoredResponse
from xrouter.domain.ports import CallInfo, Deferred, Served
from xrouter.edge.dialects.responses.body import Item, read_body
from xrouter.edge.dialects.responses.request import Asked, items_json, translate
from xrouter.edge.dialects.responses.voice import Draft, Manner
from xrouter.edge.visit import Means, Visit
from xrouter.edge.voice import encode
from xrouter.edge.whole import WholeReply
from xrouter.flow.fold import deltas_of

FLEX = "flex"
LOOK_EVERY_S = 10.0
CANCELLED = "cancelled"
QUEUED = "queued"
_UNFINISHED = (QUEUED, "in_progress")

_log = logging.getLogger(__name__)


class Job(Struct):
    """All that is needed to go on. body: the request as it was sent; before: the conversation."""

    id: str
    project: str
    body: bytes
    before: list[Item]
    deferred: Deferred | None = None


_decode = msgspec.msgpack.Decoder(Job).decode
_pack = msgspec.msgpack.Encoder().encode


class Course:
    """A job under way: its response object, kept anew at each turn."""

    def __init__(self, job: Job, means: Means) -> None:
        self.job = job
        self.means = means
        body = read_body(job.body)
        self.tier = body.service_tier
        self.asked: Asked = translate(body, job.before)
        self.asked.chat.stream = None
        self.draft = Draft(Manner(job.id, body, self.asked, self.keep))

    def keep(self, response: dict[str, Any]) -> None:
        """Let it be found as it is now."""
        kept = StoredResponse(
            id=self.job.id,
            project=self.job.project,
            created_at=time.time(),
            body=encode(response),
            input=items_json(self.asked.own),
            items=items_json([*self.asked.items, *response["output"]]),
        )
        self.means.responses.keep(kept)

    async def end(self) -> None:
        """Nothing more is to be done."""
        await self.means.responses.finish(self.job.id)


async def begin(visit: Visit, body: bytes, before: list[Item], project: str) -> bytes:
    """Start the work; the response object as it is now."""
    means = visit.means
    means.background.has_room()
    job = Job("resp_" + visit.serial, project, body, before)
    course = Course(job, means)
    key, call = visit.credential(), visit.info("responses")
    means.flow.model(key, course.asked.chat.model)  # an unknown one is told at once
    if course.tier == FLEX:
        job.deferred = await means.flow.defer(course.asked.chat, key, call)
    await means.responses.begin(StoredJob(job.id, _pack(job)))
    state = course.draft.so_far() | {"status": QUEUED}
    course.keep(state)
    means.background.start(job.id, _run(course, key, call))
    return encode(state)


async def cancel(visit: Visit, kept: StoredResponse) -> bytes:
    """End the work; the response object as it is then."""
    state = msgspec.json.decode(kept.body, type=dict[str, Any])
    if not state.get("background"):
        raise InvalidRequest(
            "Only responses in the background can be cancelled.",
            code="invalid_value",
            param="response_id",
        )
    if state["status"] not in _UNFINISHED:
        return kept.body
    state["status"] = CANCELLED
    body = encode(state)
    visit.means.background.cancel(kept.id)
    visit.means.responses.keep(msgspec.structs.replace(kept, body=body))
    await visit.means.responses.finish(kept.id)
    return body


async def forget(visit: Visit, response_id: str) -> None:
    """End the work on a response that is to be deleted, so that it does not come back."""
    visit.means.background.cancel(response_id)
    await visit.means.responses.finish(response_id)


async def revive(means: Means) -> None:
    """Go on with what other processes have begun and left, as long as the door is open."""
    while True:
        try:
            for stored in await means.responses.abandoned():
                await _take_over(stored, means)
        except Exception:  # noqa: BLE001 - looking must go on: it also says that we are there
            _log.exception("abandoned work was not looked at")
        await asyncio.sleep(LOOK_EVERY_S)


async def _take_over(stored: StoredJob, means: Means) -> None:
    """Go on with one; what cannot be read any more is given up, and logged."""
    try:
        job = _decode(stored.data)
        course = Course(job, means)
    except (msgspec.MsgspecError, XRouterError) as error:
        _log.error("work cannot be gone on with, response_id=%s: %s", stored.id, error)
        await means.responses.finish(stored.id)
        return
    kept = await means.responses.find(job.id, job.project)
    if kept is not None and msgspec.json.decode(kept.body)["status"] not in _UNFINISHED:
        await course.end()
        return
    means.background.start(stored.id, _revived(course))


async def _run(course: Course, key: str | None, call: CallInfo) -> None:
    deferred = course.job.deferred
    course.keep(course.draft.so_far())
    if deferred is not None:
        await course.means.flow.collect(deferred, call, KeepingReply(course))
    else:
        await course.means.flow.chat(course.asked.chat, key, call, KeepingReply(course))
    await course.end()


async def _revived(course: Course) -> None:
    deferred = course.job.deferred
    if deferred is None:
        course.draft.fail(NotReady("The server was restarted while it worked on this."))
    else:
        call = CallInfo("req_" + course.job.id.partition("_")[2], time.monotonic(), "responses")
        await course.means.flow.collect(deferred, call, KeepingReply(course))
    await course.end()


class KeepingReply(WholeReply):
    """The way back of a request that nobody waits for: into the response object."""

    def __init__(self, course: Course) -> None:
        self._draft = course.draft

    @override
    async def answer(self, answer: ChatAnswer, served: Served) -> None:
        draft = self._draft
        draft.served_by(served)
        for delta in deltas_of(answer):
            draft.grow(delta)
        draft.output.close(draft.item_status())
        draft.end(answer.usage)

    @override
    async def refuse(self, error: XRouterError) -> None:
        self._draft.fail(error)
