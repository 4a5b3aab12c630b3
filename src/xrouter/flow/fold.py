"""A whole answer as the deltas of a stream."""

from __future__ import annotations

from xrouter.domain.answer import ChatAnswer, ChatDelta, Choice, ToolCallDelta
from xrouter.domain.chat import ToolCall


def deltas_of(answer: ChatAnswer) -> list[ChatDelta]:
    """The deltas that say the same as the answer: one for each choice, then the usage."""
    deltas = [_delta_of(choice) for choice in answer.choices]
    deltas.append(ChatDelta(usage=answer.usage, meta=answer.meta))
    return deltas


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
