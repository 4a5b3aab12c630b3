"""What is known of one request so far; `settle` turns it into a usage event."""

from __future__ import annotations

import time

from xrouter.domain.answer import AnswerMessage, ChatAnswer, ChatDelta, Usage
from xrouter.domain.chat import ChatRequest, text_of
from xrouter.domain.identity import Principal
from xrouter.domain.plan import Target
from xrouter.domain.ports import Served

CHARACTERS_PER_TOKEN = 4
"""A cautious mean of Russian and English prose; only used when a provider sends no usage."""


class Tally:
    """Times are `time.monotonic()` seconds. raw: the answer is passed on as it comes."""

    __slots__ = (
        "accepted",
        "attempts",
        "characters",
        "dispatched_at",
        "dropped",
        "finish_reasons",
        "first_token_at",
        "model",
        "operation",
        "principal",
        "raw",
        "started_at",
        "streamed",
        "target",
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
        self.attempts = 0
        self.accepted = False
        self.raw = False
        self.dropped: tuple[str, ...] = ()
        self.dispatched_at: float | None = None
        self.first_token_at: float | None = None
        self.characters = 0
        self.finish_reasons: dict[int, str] = {}
        self.usage: Usage | None = None
        self.upstream_model: str | None = None
        self.upstream_request_id: str | None = None

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

    def count(self, deltas: list[ChatDelta]) -> None:
        """Pieces have come from the provider."""
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
        for delta in deltas:
            if delta.text is not None:
                self.characters += len(delta.text)
            if delta.finish_reason is not None:
                self.finish_reasons[delta.choice] = delta.finish_reason
            if delta.usage is not None:
                self.usage = delta.usage
            if delta.meta is not None and delta.meta.model is not None:
                self.upstream_model = delta.meta.model
            if delta.reasoning is not None or delta.tool_calls is not None:
                self.characters += _hidden_characters(delta)

    def take(self, answer: ChatAnswer) -> None:
        """A whole answer has come."""
        self.usage = answer.usage
        self.upstream_model = answer.meta.model if answer.meta else None
        for choice in answer.choices:
            self.finish_reasons[choice.index] = choice.finish_reason
            self.characters += _characters(choice.message)

    def served(self) -> Served:
        """Who answers, for the headers. A target has been tried before."""
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
        )

    def estimate(self, request: ChatRequest) -> None:
        """Fill in the usage when the provider sent none: marked as estimated.

        Only for a request that a provider has accepted: it may charge for it, whatever came after.
        """
        if self.usage is not None or not self.accepted:
            return
        self.usage = Usage(
            prompt_tokens=prompt_tokens(request),
            completion_tokens=tokens_of(self.characters),
            estimated=True,
        )


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
