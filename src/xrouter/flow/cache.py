"""Answers that were given before: kept where the policy or the caller says so.

A key is of one tenant, one model and version, and everything of the request that can change the
answer. The same request that comes while the first is being answered waits for that answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from hashlib import blake2b

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from xrouter.domain.answer import ChatAnswer
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.plan import Plan
from xrouter.domain.ports import AnswerStore, Reply, Served
from xrouter.domain.routes import Cache
from xrouter.flow.fold import deltas_of, folded
from xrouter.flow.savings import Savings
from xrouter.flow.tally import Tally
from xrouter.telemetry.logs import log
from xrouter.telemetry.metrics import Meters

HEADER = b"x-xrouter-cache"
OFF = b"off"
LONGEST_S = 30 * 24 * 3600.0
_GOOD = frozenset({"stop", "tool_calls", "function_call", "length"})
_BESIDE = frozenset(
    {
        *("model", "stream", "stream_options", "user", "metadata", "store", "service_tier"),
        *("prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
    }
)
"""Fields that say nothing of the answer."""

Ending = Callable[[], Awaitable[None]]
Make = Callable[[], Awaitable[Ending]]


class Kept(Struct):
    """An answer, and who gave it."""

    answer: ChatAnswer
    served: Served


class Job(Struct, frozen=True):
    """One request that may be answered from what is kept."""

    request: ChatRequest
    plan: Plan
    tally: Tally
    reply: Reply
    rule: Cache


def rule(plan: Plan, headers: Mapping[bytes, bytes]) -> Cache | None:
    """Whether and how long to keep: the caller's header, else the policy. Raises InvalidRequest."""
    said = headers.get(HEADER)
    if said is None:
        return plan.policy.cache
    if said.strip().lower() == OFF:
        return None
    try:
        ttl = float(said)
    except ValueError:
        ttl = 0.0
    if not 0 < ttl <= LONGEST_S:
        raise InvalidRequest(
            "The header 'x-xrouter-cache' must be 'off' or a number of seconds.",
            param="x-xrouter-cache",
            hint="For example: x-xrouter-cache: 3600",
        )
    scope = plan.policy.cache.scope if plan.policy.cache is not None else "project"
    return Cache(ttl=ttl, scope=scope)


class AnswerCache:
    """Looks answers up, and keeps new ones."""

    def __init__(self, store: AnswerStore, meters: Meters, savings: Savings | None = None) -> None:
        self._store = store
        self._savings = savings
        self._looked = meters.counter("xrouter_cache", "Requests that may be cached", ("result",))
        self._saved = meters.counter(
            "xrouter_cache_saved_tokens", "Tokens not asked for", ("model",)
        )
        self._making: dict[bytes, asyncio.Future[None]] = {}

    async def answer(self, job: Job, make: Make) -> Ending:
        """What is kept, else what `make` makes; that is kept then."""
        key = _key(job)
        while True:
            kept = await self._find(key)
            if kept is not None:
                return await self._give(kept, job)
            other = self._making.get(key)
            if other is None:
                break
            await asyncio.shield(other)
        mine = self._making[key] = asyncio.get_running_loop().create_future()
        try:
            self._looked.labels("miss").inc()
            return await self._made(key, job, make)
        finally:
            del self._making[key]
            mine.set_result(None)

    async def _made(self, key: bytes, job: Job, make: Make) -> Ending:
        tally = job.tally
        tally.kept = []
        ending = await make()
        answer = _answer_of(ending, tally)
        if answer is not None and _is_good(answer):
            value = msgspec.msgpack.encode(Kept(answer, tally.served()))
            await self._store.put(key, value, job.rule.ttl)
        return ending

    async def _find(self, key: bytes) -> Kept | None:
        value = await self._store.get(key)
        if value is None:
            return None
        try:
            return msgspec.msgpack.decode(value, type=Kept)
        except msgspec.MsgspecError as error:  # of another version of this program
            log.warning("kept_answer_unreadable", error=str(error))
            return None

    async def _give(self, kept: Kept, job: Job) -> Ending:
        tally, reply, answer = job.tally, job.reply, kept.answer
        served = replace(kept.served, cached=True, attempts=0, upstream_request_id=None)
        tally.cached = served
        tally.finish_reasons = {choice.index: choice.finish_reason for choice in answer.choices}
        self._looked.labels("hit").inc()
        if answer.usage is not None:
            tokens = answer.usage.prompt_tokens + answer.usage.completion_tokens
            self._saved.labels(served.model).inc(tokens)
        if self._savings is not None:
            self._savings.kept(served, answer.usage)
        if not job.request.streaming:
            return partial(reply.answer, answer, served)
        await reply.start(served)
        await reply.deltas(deltas_of(answer))
        return partial(reply.end, answer.usage)


def _answer_of(ending: Ending, tally: Tally) -> ChatAnswer | None:
    """The answer that is about to be sent: whole, or what its deltas were."""
    if tally.kept:
        answer = folded(tally.kept)
        answer.usage = tally.usage
        return answer
    arguments = ending.args if isinstance(ending, partial) else ()
    found = arguments[0] if arguments else None
    return found if isinstance(found, ChatAnswer) else None


def _is_good(answer: ChatAnswer) -> bool:
    return bool(answer.choices) and all(c.finish_reason in _GOOD for c in answer.choices)


def _key(job: Job) -> bytes:
    who, plan, request = job.tally.principal, job.plan, job.request
    first = plan.targets[0]
    tenant = "" if who is None else (who.key_id if job.rule.scope == "key" else who.project)
    fields = {name: raw for name, raw in sorted(request.fields.items()) if name not in _BESIDE}
    plain = replace(request, model="", stream=None, stream_options=None, user=None, fields=fields)
    parts = (
        job.rule.scope.encode(),
        tenant.encode(),
        first.model.model_id.encode(),
        first.version.upstream.encode(),
        ",".join(sorted({target.endpoint.country or "" for target in plan.targets})).encode(),
        msgspec.json.encode(plain),
    )
    digest = blake2b(digest_size=32)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
