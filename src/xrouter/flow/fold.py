"""Between whole answers and deltas; several answers as one."""

from __future__ import annotations

from typing import Any

from xrouter.domain.answer import (
    AnswerMessage,
    AnswerMeta,
    ChatAnswer,
    ChatDelta,
    Choice,
    ToolCallDelta,
    Usage,
)
from xrouter.domain.chat import FunctionCall, ToolCall

FILTERED = "content_filter"
"""The finish reason of an answer that the provider's filter took."""


def deltas_of(answer: ChatAnswer) -> list[ChatDelta]:
    """The deltas that say the same as the answer: one for each choice, then the usage."""
    deltas = [_delta_of(choice) for choice in answer.choices]
    deltas.append(ChatDelta(usage=answer.usage, meta=answer.meta))
    return deltas


def folded(deltas: list[ChatDelta]) -> ChatAnswer:
    """The answer that says the same as a finished stream's deltas."""
    choices: dict[int, Choice] = {}
    answer = ChatAnswer([])
    for delta in deltas:
        answer.usage = delta.usage or answer.usage
        answer.meta = _meta(answer.meta, delta.meta)
        if delta.choice not in choices:
            choices[delta.choice] = Choice(AnswerMessage(), "stop", delta.choice)
        _fold(choices[delta.choice], delta)
    answer.choices = [choices[index] for index in sorted(choices)]
    return answer


def _meta(before: AnswerMeta | None, more: AnswerMeta | None) -> AnswerMeta | None:
    if before is None or more is None:
        return more or before
    return AnswerMeta(
        more.model or before.model, more.fingerprint or before.fingerprint, more.extra
    )


def _fold(choice: Choice, delta: ChatDelta) -> None:
    message = choice.message
    if delta.text is not None:
        message.content = (message.content or "") + delta.text
    if delta.reasoning is not None:
        message.reasoning = (message.reasoning or "") + delta.reasoning
    if delta.refusal is not None:
        message.refusal = (message.refusal or "") + delta.refusal
    if delta.legacy_call is not None:
        before = message.function_call or FunctionCall("", "")
        message.function_call = FunctionCall(
            before.name or delta.legacy_call.name, before.arguments + delta.legacy_call.arguments
        )
    for call in delta.tool_calls or ():
        _fold_call(message, call)
    choice.finish_reason = delta.finish_reason or choice.finish_reason
    if delta.extra:
        message.extra = _joined(message.extra, delta.extra)
    if delta.choice_extra:
        choice.extra = _joined(choice.extra, delta.choice_extra)
    if delta.logprobs is not None:
        choice.logprobs = _joined(choice.logprobs, delta.logprobs)


def _fold_call(message: AnswerMessage, piece: ToolCallDelta) -> None:
    calls = message.tool_calls = message.tool_calls or []
    if piece.index >= len(calls):
        if piece.custom:
            custom = {"name": piece.name, "input": piece.arguments}
            made = ToolCall(piece.id or "", "custom", custom=custom)
        else:
            function = FunctionCall(piece.name or "", piece.arguments)
            made = ToolCall(piece.id or "", function=function)
        calls.append(made)
        return
    call = calls[piece.index]
    if call.function is not None:
        function = call.function
        call.function = FunctionCall(function.name, function.arguments + piece.arguments)
    elif call.custom is not None:
        call.custom["input"] = str(call.custom.get("input") or "") + piece.arguments


def _joined(before: Any, more: Any) -> Any:
    """Objects whose lists grow piece by piece; whatever else, the last word counts."""
    if not isinstance(before, dict) or not isinstance(more, dict):
        return more
    joined = dict(before)
    for name, new in more.items():
        known = joined.get(name)
        if isinstance(known, list) and isinstance(new, list):
            joined[name] = [*known, *new]
        else:
            joined[name] = new
    return joined


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
