"""What is known of one request so far; `settle` turns it into a usage event."""

from __future__ import annotations

import time

from xrouter.domain.answer import AnswerMessage, AnswerMeta, ChatAnswer, ChatDelta, Usage
from xrouter.domain.chat import ChatRequest, text_of
from xrouter.domain.identity import Principal
from xrouter.domain.plan import Plan, Target
from xrouter.domain.ports import Hold, Notice, Served
from xrouter.domain.usage import Tried
from xrouter.flow.board import Standing
from xrouter.flow.fold import summed

REMAINING = "x-ratelimit-remaining-requests"
"""Where providers say how many requests are left of their limit."""

CHARACTERS_PER_TOKEN = 4
"""A cautious mean of Russian and English prose; only used when a provider sends no usage."""


class Copy:
    """One of the calls by which a target is asked the same; mostly there is but one.

    sent: it is on its way, or was when nobody waited for it any more. accepted: the provider has
    begun to answer. In both cases it may charge for it, whatever came after.
    """

    __slots__ = ("accepted", "characters", "sent", "usage")

    def __init__(self) -> None:
        self.sent = False
        self.accepted = False
        self.characters = 0
        self.usage: Usage | None = None

    def hear(self, delta: ChatDelta) -> None:
        """A piece of its answer has come."""
        if delta.text is not None:
            self.characters += len(delta.text)
        if delta.usage is not None:
            self.usage = delta.usage
        if delta.reasoning is not None or delta.tool_calls is not None:
            self.characters += _hidden_characters(delta)

    def take(self, answer: ChatAnswer) -> None:
        """Its whole answer has come; once more when it has been completed."""
        self.usage = answer.usage
        self.characters = sum(_characters(choice.message) for choice in answer.choices)

    def spent(self, request: ChatRequest) -> Usage:
        """What the provider says that it used; an estimate, marked so, where it says nothing."""
        return self.usage or Usage(
            prompt_tokens=prompt_tokens(request),
            completion_tokens=tokens_of(self.characters),
            estimated=True,
        )


class Tally:
    """Times are `time.monotonic()` seconds. raw: the answer is passed on as it comes.

    kept: the deltas so far, None where nobody will want them. cached: whose kept answer it is.
    held: what it holds of its limits, None where none counts.
    """

    __slots__ = (
        "_asked",
        "attempts",
        "build",
        "cached",
        "dispatched_at",
        "dropped",
        "entered",
        "finish_reasons",
        "first_token_at",
        "held",
        "kept",
        "model",
        "operation",
        "plan",
        "principal",
        "raw",
        "remaining",
        "started_at",
        "streamed",
        "target",
        "tried",
        "upstream_model",
        "upstream_request_id",
        "usage",
    )

    def __init__(self, operation: str, model: str, *, streamed: bool, started_at: float) -> None:
        self.operation = operation
        self.model = model
        self.streamed = streamed
        self.started_at = started_at
        self.principal: Principal | None = None
        self.target: Target | None = None
        self.plan: Plan | None = None
        self.tried: list[Tried] = []
        self.remaining: str | None = None
        self.kept: list[ChatDelta] | None = None
        self.cached: Served | None = None
        self.entered: Standing | None = None
        self.held: Hold | None = None
        self.attempts = 0
        self._asked: list[list[Copy]] = []
        self.raw = False
        self.dropped: tuple[str, ...] = ()
        self.dispatched_at: float | None = None
        self.first_token_at: float | None = None
        self.finish_reasons: dict[int, str] = {}
        self.usage: Usage | None = None
        self.upstream_model: str | None = None
        self.build: str | None = None
        self.upstream_request_id: str | None = None

    def ask(self, copies: int) -> list[Copy]:
        """A target is going to be asked for a chat, by so many calls."""
        self._asked.append([Copy() for _ in range(copies)])
        return self._asked[-1]

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
        return bool(self._asked) and any(c.sent or c.accepted for c in self._asked[-1])

    def attempt(self) -> None:
        """The request is about to be sent to the target."""
        self.attempts += 1
        if self.dispatched_at is None:
            self.dispatched_at = time.monotonic()

    def heard(
        self, headers: dict[str, str], id_headers: tuple[str, ...], dropped: tuple[str, ...]
    ) -> None:
        """A provider has accepted the request; `id_headers` may name the call there."""
        self.dropped = dropped
        found = (headers[name] for name in id_headers if headers.get(name))
        self.upstream_request_id = next(found, None)
        self.remaining = headers.get(REMAINING)

    def count(self, deltas: list[ChatDelta]) -> None:
        """Pieces have come from the provider."""
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
        if self.kept is not None:
            self.kept += deltas
        copies = self._asked[-1]
        for delta in deltas:
            copies[delta.choice if len(copies) > 1 else 0].hear(delta)
            if delta.finish_reason is not None:
                self.finish_reasons[delta.choice] = delta.finish_reason
            if delta.meta is not None:
                self._meet(delta.meta)

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
        """Fill in the usage of a chat: of all calls to the last target that may charge for any."""
        for copies in reversed(self._asked):
            spent = [copy.spent(request) for copy in copies if copy.sent or copy.accepted]
            if spent:
                self.usage = summed(spent) if len(spent) > 1 else spent[0]
                return


def notice_of(target: Target) -> Notice | None:
    """What the caller should know of a version that will not stay; None for all others."""
    version = target.version
    if version.status == "active" and version.channel != "deprecated":
        return None
    newer = next((v for v in target.model.versions if v.channel == "latest"), None)
    since = None if newer is None else newer.released_at
    return Notice(since, version.retires_at, version.successor or target.model.model_id)


def prompt_tokens(request: ChatRequest) -> int:
    """An estimate of what the request's prompt counts."""
    return tokens_of(sum(len(text_of(message.content)) for message in request.messages))


def tokens_of(characters: int) -> int:
    """An estimate, rounded up."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def _characters(message: AnswerMessage) -> int:
    calls = message.tool_calls or ()
    functions = [call.function for call in calls if call.function is not None]
    if message.function_call is not None:
        functions.append(message.function_call)
    said = len(message.content or "") + len(message.reasoning or "")
    called = sum(len(call.name) + len(call.arguments) for call in functions)
    customs = [call.custom for call in calls if call.custom is not None]
    return said + called + sum(len(str(value)) for call in customs for value in call.values())


def _hidden_characters(delta: ChatDelta) -> int:
    calls = sum(len(call.arguments) + len(call.name or "") for call in delta.tool_calls or ())
    return len(delta.reasoning or "") + calls
