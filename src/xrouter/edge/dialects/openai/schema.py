"""The shapes of answers: what is encoded, and what the OpenAPI document shows."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType


class FunctionPart(Struct):
    """`arguments` is JSON text."""

    name: str
    arguments: str


class ToolCallPart(Struct):
    """A call of a tool; `function` or `custom` by `type`."""

    id: str
    type: str
    function: FunctionPart | UnsetType = UNSET
    custom: dict[str, Any] | UnsetType = UNSET


class AssistantMessage(Struct, kw_only=True):
    """The answer itself. Reasoning is under both names that clients look for."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    annotations: list[Any] = []
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[ToolCallPart] | UnsetType = UNSET
    function_call: FunctionPart | UnsetType = UNSET


class CompletionChoice(Struct, kw_only=True):
    """One alternative. finish_reason: stop, length, tool_calls, content_filter, function_call."""

    index: int
    message: AssistantMessage
    logprobs: Any = None
    finish_reason: str


class Completion(Struct, kw_only=True):
    """A whole chat answer. created: unix seconds."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: dict[str, Any] | UnsetType = UNSET
    system_fingerprint: str | None = None


class Embedding(Struct):
    """One vector: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingList(Struct):
    """The vectors in the order of the texts. usage: prompt_tokens and total_tokens."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: dict[str, int]
