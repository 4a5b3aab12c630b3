"""What is answered: usage, a whole answer, and the pieces of a streamed one."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from xrouter.domain.chat import FunctionCall, ToolCall

FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
"""The only values of `finish_reason` that ever leave the router."""


class Usage(Struct):
    """Token counts in OpenAI's sense: prompt includes cached, completion includes reasoning.

    cache_write_tokens: of the prompt's, those newly written into the provider's cache.
    cost: what the provider says it charged, in its own currency's units as text (`0.00014`).
    estimated: the provider sent none, or not for all alternatives, and the numbers are ours.
    details: the provider's usage object where it speaks OpenAI's language, passed on as it came.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int | None = None
    cost: str | None = None
    estimated: bool = False
    details: dict[str, Any] | None = None

    def openai(self) -> dict[str, Any]:
        """OpenAI's `usage` object."""
        usage: dict[str, Any] = dict(self.details) if self.details else {}
        usage["prompt_tokens"] = self.prompt_tokens
        usage["completion_tokens"] = self.completion_tokens
        usage["total_tokens"] = self.prompt_tokens + self.completion_tokens
        if self.cached_tokens:
            details = usage.get("prompt_tokens_details") or {}
            usage["prompt_tokens_details"] = {**details, "cached_tokens": self.cached_tokens}
        if self.reasoning_tokens:
            details = usage.get("completion_tokens_details") or {}
            usage["completion_tokens_details"] = {
                **details,
                "reasoning_tokens": self.reasoning_tokens,
            }
        return usage


class AnswerMeta(Struct):
    """What the provider said of itself beside the text. All may be None.

    model: its own name for what answered, with the build (`GigaChat-2-Max:2.0.30.01`).
    fingerprint: goes out as `system_fingerprint`.
    extra: further top-level fields of an OpenAI-speaking provider (`service_tier`, ...).
    """

    model: str | None = None
    fingerprint: str | None = None
    extra: dict[str, Any] | None = None


class AnswerMessage(Struct):
    """The assistant's message. `content` is None when only tools are called."""

    content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    extra: dict[str, Any] | None = None


class Choice(Struct):
    """One alternative; `finish_reason` is one of FINISH_REASONS.

    extra: further fields of the choice of an OpenAI-speaking provider (`stop_reason`, ...).
    """

    message: AnswerMessage
    finish_reason: str
    index: int = 0
    logprobs: Any = None
    extra: dict[str, Any] | None = None


class ChatAnswer(Struct):
    """A whole chat answer."""

    choices: list[Choice]
    usage: Usage | None = None
    meta: AnswerMeta | None = None


class ToolCallDelta(Struct):
    """A piece of a tool call. The first piece of each `index` has `id` and `name`, later ones only
    `arguments` (a piece of JSON text). Indexes start at 0 and have no gaps.

    custom: a call of a custom tool; `arguments` is a piece of its free text then.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    custom: bool = False


class ChatDelta(Struct):
    """A piece of a streamed answer, for the alternative `choice`. What is None is not in it.

    legacy_call: the answer to a request that used the legacy `functions`.
    extra: further fields of the message. choice_extra: further fields of the choice around it.
    """

    choice: int = 0
    text: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    legacy_call: FunctionCall | None = None
    finish_reason: str | None = None
    logprobs: Any = None
    extra: dict[str, Any] | None = None
    choice_extra: dict[str, Any] | None = None
    usage: Usage | None = None
    meta: AnswerMeta | None = None
