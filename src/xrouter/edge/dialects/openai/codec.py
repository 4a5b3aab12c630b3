"""The voice of chat completions: whole answers here, streams in `chunks`."""

from __future__ import annotations

import time
from typing import Any

from msgspec import UNSET, to_builtins
from typing_extensions import override

from xrouter.domain.answer import AnswerMessage, ChatAnswer, ChatDelta, Choice, Usage
from xrouter.domain.chat import ChatRequest, FunctionCall, ToolCall
from xrouter.domain.errors import XRouterError
from xrouter.domain.ports import Served
from xrouter.edge.dialects.openai.chunks import ChunkWriter
from xrouter.edge.dialects.openai.schema import (
    AssistantMessage,
    Completion,
    CompletionChoice,
    FunctionPart,
    ToolCallPart,
)
from xrouter.edge.voice import Voice, encode


def chat_voice(request: ChatRequest, serial: str) -> Voice:
    """The voice for one chat request. serial: the ULID of the visit."""
    name = "chatcmpl-" + serial
    if request.streaming:
        return StreamVoice(name, request)
    return WholeVoice(name)


class StreamVoice(Voice):
    """Answers with chunks."""

    streaming = True

    def __init__(self, name: str, request: ChatRequest) -> None:
        self._chunks = ChunkWriter(
            name, int(time.time()), request.model, with_usage=request.include_usage
        )

    @override
    def start(self, served: Served) -> bytes:
        self._chunks.name(served.model)
        return b""

    @override
    def deltas(self, deltas: list[ChatDelta]) -> bytes:
        return self._chunks.frames(deltas)

    @override
    def end(self, usage: Usage | None) -> bytes:
        return self._chunks.end(usage)

    @override
    def fail(self, error: XRouterError) -> bytes:
        return self._chunks.fail(error)


class WholeVoice(Voice):
    """Answers with one object."""

    def __init__(self, name: str) -> None:
        self._name = name

    @override
    def answer(self, answer: ChatAnswer, served: Served) -> bytes:
        meta, usage = answer.meta, answer.usage
        more = meta.extra if meta else None
        has_more = bool(more)
        choices: list[CompletionChoice] = []
        for choice in answer.choices:
            choices.append(_choice(choice))
            if choice.extra or choice.message.extra:
                has_more = True
        body = Completion(
            id=self._name,
            created=int(time.time()),
            model=served.model,
            choices=choices,
            usage=UNSET if usage is None else usage.openai(),
            system_fingerprint=meta.fingerprint if meta else None,
        )
        return encode(_with_more(body, more or {}, answer.choices) if has_more else body)


def _choice(choice: Choice) -> CompletionChoice:
    return CompletionChoice(
        index=choice.index,
        message=_message(choice.message),
        logprobs=choice.logprobs,
        finish_reason=choice.finish_reason,
    )


def _message(message: AnswerMessage) -> AssistantMessage:
    told = AssistantMessage(content=message.content, refusal=message.refusal)
    if message.reasoning:
        told.reasoning = told.reasoning_content = message.reasoning
    if message.tool_calls:
        told.tool_calls = [_call(call) for call in message.tool_calls]
    if message.function_call is not None:
        told.function_call = _function(message.function_call)
    return told


def _call(call: ToolCall) -> ToolCallPart:
    part = ToolCallPart(call.id, call.type)
    if call.function is not None:
        part.function = _function(call.function)
    if call.custom is not None:
        part.custom = call.custom
    return part


def _function(call: FunctionCall) -> FunctionPart:
    return FunctionPart(call.name, call.arguments)


def _with_more(body: Completion, more: dict[str, Any], choices: list[Choice]) -> dict[str, Any]:
    """The provider's further fields beside ours; ours stay."""
    plain: dict[str, Any] = more | to_builtins(body)
    for told, choice in zip(plain["choices"], choices, strict=True):
        extra = choice.message.extra
        if extra:
            told["message"] = extra | told["message"]
            told["message"]["annotations"] = extra.get("annotations") or []
        if choice.extra:
            told.update(choice.extra | told)
    return plain
