"""Between whole answers and deltas; several answers as one."""

from __future__ import annotations

from xrouter.domain.answer import ChatAnswer, ChatDelta, Choice, ToolCallDelta, Usage
from xrouter.domain.chat import ToolCall

FILTERED = "content_filter"
"""The finish reason of an answer that the provider's filter took."""


def deltas_of(answer: ChatAnswer) -> list[ChatDelta]:
    """The deltas that say the same as the answer: one for each choice, then the usage."""
    deltas = [_delta_of(choice) for choice in answer.choices]
    deltas.append(ChatDelta(usage=answer.usage, meta=answer.meta))
    return deltas


def add(answer: ChatAnswer, deltas: list[ChatDelta]) -> None:
    """Complete the answer by what was asked for after it: text, extras, the usage."""
    choices = {choice.index: choice for choice in answer.choices}
    for delta in deltas:
        answer.usage = delta.usage or answer.usage
        choice = choices.get(delta.choice)
        if choice is None:
            continue
        message = choice.message
        if delta.text:
            message.content = (message.content or "") + delta.text
        if delta.extra:
            message.extra = {**(message.extra or {}), **delta.extra}


def as_alternatives(answers: list[ChatAnswer]) -> ChatAnswer:
    """The first choice of each answer, numbered in order; what they used, the tally knows."""
    for index, answer in enumerate(answers):
        answer.choices[0].index = index
    return ChatAnswer([answer.choices[0] for answer in answers], meta=answers[0].meta)


def summed(usages: list[Usage]) -> Usage:
    """What several calls used together; the prompt is charged with each."""
    writes = [usage.cache_write_tokens for usage in usages if usage.cache_write_tokens is not None]
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
        cache_write_tokens=sum(writes) if writes else None,
        estimated=any(usage.estimated for usage in usages),
    )


def is_refused(answer: ChatAnswer) -> bool:
    """Whether the provider's filter took the whole answer."""
    return bool(answer.choices) and all(c.finish_reason == FILTERED for c in answer.choices)


def _delta_of(choice: Choice) -> ChatDelta:
    message = choice.message
    calls = [_call_of(index, call) for index, call in enumerate(message.tool_calls or ())]
    return ChatDelta(
        choice=choice.index,
        text=message.content,
        reasoning=message.reasoning,
        refusal=message.refusal,
        tool_calls=calls or None,
        legacy_call=message.function_call,
        finish_reason=choice.finish_reason,
        logprobs=choice.logprobs,
        extra=message.extra,
        choice_extra=choice.extra,
    )


def _call_of(index: int, call: ToolCall) -> ToolCallDelta:
    if call.function is not None:
        return ToolCallDelta(index, call.id, call.function.name, call.function.arguments)
    custom = call.custom or {}
    return ToolCallDelta(index, call.id, custom.get("name"), custom.get("input") or "", custom=True)
