"""What is known of one request so far; `settle` turns it into a usage event."""

from __future__ import annotations

import time

from msgspec import Struct, field

from xrouter.domain.answer import AnswerMessage, AnswerMeta, ChatAnswer, ChatDelta, Usage
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import (
    UpstreamMalformed,
    UpstreamTimeout,
    UpstreamUnreachable,
    XRouterError,
)
from xrouter.domain.identity import Principal
from xrouter.domain.plan import Plan, Target
from xrouter.domain.ports import Hold, Notice, Served
from xrouter.domain.track import Sent, Track
from xrouter.domain.usage import Tried, new_id
from xrouter.flow.fold import summed
from xrouter.flow.standing import Standing
from xrouter.flow.yardstick import PLAIN, prompt_characters

REMAINING = "x-ratelimit-remaining-requests"
"""Where providers say how many requests are left of their limit."""

_PATIENT = ("flex", "batch")
"""Tiers of answers that cost as much as those that are left for later."""

_BROKEN_OFF = (UpstreamMalformed, UpstreamTimeout, UpstreamUnreachable)
"""After these the provider may think that it has answered."""


class Copy(Struct, eq=False):
    """One of the calls by which a target is asked the same; mostly there is but one.

    sent: it is on its way, or was when nobody waited for it any more. accepted: the provider has
    begun to answer. In both cases it may charge for it, whatever came after. over: its answer was
    heard to the end. upstream_id: the provider's name of it. is_patient: it was answered as one
    that may wait, says the provider; what the caller has asked for does not matter.
    """

    sent: bool = False
    accepted: bool = False
    over: bool = False
    is_patient: bool = False
    characters: int = 0
    usage: Usage | None = None
    upstream_id: str | None = None

    @property
    def may_be_charged(self) -> bool:
        """Whether the provider may ask money for it."""
        return self.sent or self.accepted

    def hear(self, delta: ChatDelta) -> None:
        """A piece of its answer has come."""
        if delta.text is not None:
            self.characters += len(delta.text)
        if delta.usage is not None:
            self.usage = delta.usage
        if delta.reasoning is not None or delta.tool_calls is not None:
            self.characters += _hidden_characters(delta)

    def meet(self, meta: AnswerMeta) -> None:
        """The provider may say as what it answers."""
        if meta.extra is not None and "service_tier" in meta.extra:
            self.is_patient = meta.extra["service_tier"] in _PATIENT

    def take(self, answer: ChatAnswer) -> None:
        """Its whole answer has come; once more when it has been completed."""
        self.over = True
        if answer.meta is not None:
            self.meet(answer.meta)
        self.usage = answer.usage
        self.characters = 0
        for choice in answer.choices:
            self.characters += _characters(choice.message)

    def failed(self, error: XRouterError) -> None:
        """It has ended so. Nobody charges for an error in place of an answer."""
        if not self.over and not isinstance(error, _BROKEN_OFF):
            self.sent = self.accepted = False


class Asked(Struct, eq=False):
    """A target, and the calls by which it was asked for a chat. Known of it: `standing`."""

    target: Target | None
    standing: Standing | None
    copies: list[Copy]

    @property
    def model(self) -> str | None:
        """Whose tokens they are."""
        return None if self.target is None else self.target.model.model_id

    def used(self, copy: Copy, request: ChatRequest, told: Usage | None = None) -> Usage:
        """What the provider says that a call has used; an estimate, marked so, where it says none.

        told: what another call to the same model has used for the same request.
        """
        usage, standing = copy.usage, self.standing
        if usage is not None:
            if copy.over and standing is not None:
                standing.yardstick.learn(request, copy.characters, usage)
            return usage
        yardstick = PLAIN if standing is None else standing.yardstick
        answer = yardstick.answer(copy.characters)
        if told is None:
            return Usage(yardstick.prompt(request), answer, estimated=True)
        if not request.streaming:  # it was made as a whole, though it was not heard
            answer = max(answer, told.completion_tokens)
        return Usage(told.prompt_tokens, answer, estimated=True)


class Paid(Struct, frozen=True):
    """What one attempt has used that may be charged: by call. over: all were heard to the end.

    upstream_ids: of those calls that the provider has named. patient: as of Copy, by call.
    """

    target: Target
    usages: list[Usage]
    over: bool
    upstream_ids: tuple[str, ...] = ()
    patient: tuple[bool, ...] = ()


class Tally(Struct, eq=False):
    """Times are `time.monotonic()` seconds. raw: the answer is passed on as it comes.

    kept: the deltas so far, None where nobody will want them. cached: whose kept answer it is.
    held: what it holds of its limits, None where none counts. pictures: drawn. calls: that made
    the answer. is_deferred: it is charged as one left for later. paid: by attempt, None where it is
    the one call that `usage` tells of.
    """

    operation: str
    model: str
    streamed: bool
    started_at: float
    event_id: str = field(default_factory=new_id)
    principal: Principal | None = None
    plan: Plan | None = None
    target: Target | None = None
    held: Hold | None = None
    entered: Standing | None = None
    tried: list[Tried] = []
    attempts: int = 0
    dispatched_at: float | None = None
    first_token_at: float | None = None
    remaining: str | None = None
    kept: list[ChatDelta] | None = None
    cached: Served | None = None
    end_user: str | None = None
    is_deferred: bool = False
    pictures: int = 0
    calls: int = 1
    paid: list[Paid] | None = None
    raw: bool = False
    dropped: tuple[str, ...] = ()
    finish_reasons: dict[int, str] = {}
    usage: Usage | None = None
    upstream_model: str | None = None
    build: str | None = None
    upstream_request_id: str | None = None
    _track: Track | None = None
    _request_id: str = ""
    _slot: int | None = None
    _asked: list[Asked] = []
    _is_summed: bool = False

    def ask(self, copies: int) -> list[Copy]:
        """A target is going to be asked for a chat, by so many calls."""
        self._is_summed = False
        made = [Copy()] if copies == 1 else [Copy() for _ in range(copies)]
        asked = Asked(self.target, self.entered, made)
        self._asked.append(asked)
        return asked.copies

    def enter(self, standing: Standing) -> None:
        """A call to this target is under way, and none to another."""
        self.leave()
        self.entered = standing

    def leave(self) -> None:
        """No call is under way."""
        if self.entered is not None:
            self.entered.running -= 1
            self.entered = None

    @property
    def may_be_charged(self) -> bool:
        """Whether the target that was asked last may charge for a chat, though it has failed."""
        return bool(self._asked) and any(c.may_be_charged for c in self._asked[-1].copies)

    def attempt(self, chat: ChatRequest | None = None) -> None:
        """The request is about to be sent to the target."""
        self.attempts += 1
        if self.dispatched_at is None:
            self.dispatched_at = time.monotonic()
        if chat is not None and self._track is not None:
            self._keep(chat, self._track)

    def follow(self, track: Track, request_id: str) -> None:
        """Keep what is under way there."""
        self._track, self._request_id = track, request_id

    def settled(self) -> None:
        """Its event is written: nothing is under way any more."""
        if self._track is not None:
            if self._slot is not None:
                self._track.clear(self._slot)
            self._track = None

    def _keep(self, chat: ChatRequest, track: Track) -> None:
        """The last attempt is what is kept."""
        target, who = self.target, self.principal
        if target is None or who is None:
            return
        sent = Sent(
            self.event_id,
            self._request_id,
            time.time(),
            who.key_id,
            who.project,
            self.end_user,
            self.model,
            target.model.model_id,
            target.version.label,
            target.endpoint.provider,
            target.endpoint.name,
            self.attempts,
            len(self._asked[-1].copies),
            self.streamed,
            prompt_characters(chat),
        )
        before, self._slot = self._slot, track.put(sent)
        if before is not None:
            track.clear(before)

    def heard(
        self, headers: dict[str, str], id_headers: tuple[str, ...], dropped: tuple[str, ...]
    ) -> None:
        """A provider has accepted the request; `id_headers` may name the call there."""
        self.dropped = dropped
        for name in id_headers:
            if headers.get(name):
                self.upstream_request_id = headers[name]
                break
        else:
            self.upstream_request_id = None
        self.remaining = headers.get(REMAINING)

    def count(self, deltas: list[ChatDelta]) -> None:
        """Pieces have come from the provider."""
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
        if self.kept is not None:
            self.kept += deltas
        asked = self._asked[-1]
        if asked.target is not self.target:
            asked = self._speaking()
        copies = asked.copies
        for delta in deltas:
            copy = copies[delta.choice if len(copies) > 1 else 0]
            copy.hear(delta)
            if delta.finish_reason is not None:
                copy.over = True
                self.finish_reasons[delta.choice] = delta.finish_reason
            if delta.meta is not None:
                self._meet(delta.meta)
                copy.meet(delta.meta)

    def take(self, answer: ChatAnswer) -> None:
        """A whole answer has come."""
        self.usage = answer.usage
        if answer.meta is not None:
            self._meet(answer.meta)
        for choice in answer.choices:
            self.finish_reasons[choice.index] = choice.finish_reason

    def _meet(self, meta: AnswerMeta) -> None:
        """The provider says which model, and which build of it, answers."""
        if meta.model is not None:
            self.upstream_model = meta.model
        if meta.fingerprint is not None:
            self.build = meta.fingerprint

    def served(self) -> Served:
        """Who answers, for the headers. A target has been tried, or an answer was kept."""
        if self.cached is not None:
            return self.cached
        target = self.target
        if target is None:  # pragma: no cover - the order of calls in the pipeline excludes it
            raise RuntimeError("nobody has been asked yet")
        return Served(
            target.model.model_id,
            target.version.label,
            target.endpoint.provider,
            target.endpoint.name,
            self.attempts,
            self.dropped,
            self.upstream_request_id,
            None if self.plan is None else self.plan.route,
            "" if self.plan is None else self.plan.reason,
            notice_of(target),
        )

    def sum_up(self, request: ChatRequest) -> None:
        """Fill in the usage of a chat: of all calls to the target that has answered, or else to
        the last one that may charge; and `paid`, where that is not one call to the target.
        """
        asked = self._asked
        if not asked or self._is_summed:
            return
        self._is_summed = True
        only = asked[0]
        if len(asked) == 1 and len(only.copies) == 1 and only.target is self.target:
            copy = only.copies[0]
            if copy.may_be_charged:
                self.usage = only.used(copy, request)
                self.is_deferred = copy.is_patient
        else:
            self._sum_up_all(request)

    def _sum_up_all(self, request: ChatRequest) -> None:
        told = {
            asked.model: copy.usage for asked in self._asked for copy in asked.copies if copy.over
        }
        spoke, found = self._speaking(), False
        self.paid = []
        for asked in self._asked:
            charged = [copy for copy in asked.copies if copy.may_be_charged]
            if not charged:
                continue
            usages = [asked.used(copy, request, told.get(asked.model)) for copy in charged]
            if not found:
                self.usage = summed(usages) if len(usages) > 1 else usages[0]
                found = asked is spoke
            if asked.target is not None:
                ids = tuple(copy.upstream_id for copy in charged if copy.upstream_id)
                over = all(copy.over for copy in charged)
                patient = tuple(copy.is_patient for copy in charged)
                self.paid.append(Paid(asked.target, usages, over, ids, patient))
                if asked is spoke and ids:
                    self.upstream_request_id = ids[-1]

    def _speaking(self) -> Asked:
        """Who was asked last of those that are the target now: a refusal is one to come back to."""
        for asked in reversed(self._asked):
            if asked.target is self.target:
                return asked
        return self._asked[-1]


def notice_of(target: Target) -> Notice | None:
    """What the caller should know of a version that will not stay; None for all others."""
    version = target.version
    if version.status == "active" and version.channel != "deprecated":
        return None
    newer = next((v for v in target.model.versions if v.channel == "latest"), None)
    since = None if newer is None else newer.released_at
    return Notice(since, version.retires_at, version.successor or target.model.model_id)


def _characters(message: AnswerMessage) -> int:
    said = len(message.content or "") + len(message.reasoning or "")
    if not message.tool_calls and message.function_call is None:
        return said
    calls = message.tool_calls or ()
    functions = [call.function for call in calls if call.function is not None]
    if message.function_call is not None:
        functions.append(message.function_call)
    called = sum(len(call.name) + len(call.arguments) for call in functions)
    customs = [call.custom for call in calls if call.custom is not None]
    return said + called + sum(len(str(value)) for call in customs for value in call.values())


def _hidden_characters(delta: ChatDelta) -> int:
    calls = sum(len(call.arguments) + len(call.name or "") for call in delta.tool_calls or ())
    return len(delta.reasoning or "") + calls
