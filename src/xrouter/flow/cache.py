"""Answers that were given before: kept where the policy or the caller says so.

A key is of one tenant, one model and version (or one route: whichever of its targets stands first),
and everything of the request that can change the answer. The same request that comes while the
first is being answered waits for that answer, and shares its failure: asked again, the provider
would fail the same way, one caller after the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from copy import copy
from functools import partial
from hashlib import blake2b

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from xrouter.domain.answer import ChatAnswer
from xrouter.domain.chat import ChatRequest
from xrouter.domain.deadline import Deadline
from xrouter.domain.errors import (
    ClientGone,
    InvalidRequest,
    RateLimited,
    UpstreamTimeout,
    XRouterError,
)
from xrouter.domain.plan import Plan, Target
from xrouter.domain.ports import AnswerStore, Reply, Served
from xrouter.domain.routes import Cache
from xrouter.flow.ask import COUNTRIES, MAX_PRICE
from xrouter.flow.attempt import timeouts_of
from xrouter.flow.course import LONGEST_WAIT_S
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

_OWN = (ClientGone, RateLimited)
"""What stops one caller and not the others."""

_CHOSEN = "rules"
"""The strategy by which the request itself says who answers."""

Ending = Callable[[], Awaitable[None]]
Make = Callable[[], Awaitable[Ending]]


class Kept(Struct):
    """An answer, and who gave it."""

    answer: ChatAnswer
    served: Served


class Failure(Struct, frozen=True):
    """Why nobody answered, and who was asked last, if anybody."""

    error: XRouterError
    served: Served | None


Outcome = bytes | Failure | None
"""What became of a request: its answer (`Kept`), None when its caller left or was at fault."""


class Job(Struct, frozen=True):
    """One request that may be answered from what is kept. headers: of the request."""

    request: ChatRequest
    plan: Plan
    tally: Tally
    reply: Reply
    rule: Cache
    headers: Mapping[bytes, bytes] = {}


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
        self._making: dict[bytes, asyncio.Future[Outcome]] = {}

    async def answer(self, job: Job, make: Make) -> Ending:
        """What is kept, else what `make` makes; that is kept then. Raises what `make` raises."""
        key = _key(job)
        began = time.monotonic()
        kept = _fit(await self._find(key), job.plan)
        while kept is None and (other := self._making.get(key)) is not None:
            outcome = await _outcome(other, began + _longest(job.plan) - time.monotonic())
            if isinstance(outcome, Failure):
                raise _shared(outcome, job)
            kept = None if outcome is None else _fit(_read(outcome), job.plan)
        if kept is not None:
            return await self._give(kept, job)
        mine = self._making[key] = asyncio.get_running_loop().create_future()
        outcome = None
        try:
            self._looked.labels("miss").inc()
            ending, outcome = await self._made(key, job, make)
        except XRouterError as error:
            if not isinstance(error, _OWN):
                outcome = Failure(copy(error), job.tally.served() if job.tally.attempts else None)
            raise
        finally:
            del self._making[key]
            mine.set_result(outcome)
        return ending

    async def _made(self, key: bytes, job: Job, make: Make) -> tuple[Ending, bytes | None]:
        tally = job.tally
        tally.kept = []
        ending = await make()
        answer = _answer_of(ending, tally)
        if answer is None:
            return ending, None
        value = msgspec.msgpack.encode(Kept(answer, tally.served()))
        if _is_good(answer):
            await self._store.put(key, value, job.rule.ttl)
        return ending, value

    async def _find(self, key: bytes) -> Kept | None:
        value = await self._store.get(key)
        return None if value is None else _read(value)

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


def _fit(kept: Kept | None, plan: Plan) -> Kept | None:
    """What is kept, if who gave it could be asked now: conditions hold for kept answers, too."""
    if kept is None:
        return None
    who = kept.served
    may = any(
        target.endpoint.name == who.endpoint
        and target.endpoint.provider == who.provider
        and target.model.model_id == who.model
        and target.version.label == who.version
        for target in (*plan.targets, *plan.overflow, *plan.refusal)
    )
    return kept if may else None


def _read(value: bytes) -> Kept | None:
    try:
        return msgspec.msgpack.decode(value, type=Kept)
    except msgspec.MsgspecError as error:  # of another version of this program
        log.warning("kept_answer_unreadable", error=str(error))
        return None


async def _outcome(other: asyncio.Future[Outcome], seconds: float) -> Outcome:
    """Of another caller's same request; that caller may read slowly."""
    try:
        with Deadline(seconds):
            return await asyncio.shield(other)
    except TimeoutError:
        raise UpstreamTimeout("The same request of another caller took too long.") from None


def _longest(plan: Plan) -> float:
    """The most seconds that the request could take by itself."""
    total = max(timeouts_of(target, plan.policy).total for target in plan.targets)
    return plan.policy.max_attempts * (total + LONGEST_WAIT_S)


def _shared(failure: Failure, job: Job) -> XRouterError:
    """The failure of another caller's same request, told to this one."""
    if failure.served is not None:
        job.reply.asked(replace(failure.served, attempts=0))
    return copy(failure.error)


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
    tenant = "" if who is None else (who.key_id if job.rule.scope == "key" else who.project)
    fields = {name: raw for name, raw in sorted(request.fields.items()) if name not in _BESIDE}
    plain = replace(request, model="", stream=None, stream_options=None, user=None, fields=fields)
    everybody = (*plan.targets, *plan.overflow, *plan.refusal)
    parts = (
        job.rule.scope.encode(),
        tenant.encode(),
        *_whose(plan, everybody),
        ",".join(sorted({target.endpoint.country or "" for target in everybody})).encode(),
        *(job.headers.get(name, b"") for name in (COUNTRIES, MAX_PRICE)),
        msgspec.json.encode(plain),
    )
    digest = blake2b(digest_size=32)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _whose(plan: Plan, everybody: Iterable[Target]) -> Iterator[bytes]:
    """Whose answers will do: the first target's; of a route, any target's that it may go to."""
    first = plan.targets[0]
    if plan.route is None or plan.policy.strategy == _CHOSEN:
        yield first.model.model_id.encode()
        yield first.version.upstream.encode()
    if plan.route is not None:
        named = {(t.tier, t.model.model_id, t.version.upstream) for t in everybody}
        yield msgspec.json.encode((plan.route, sorted(named)))
