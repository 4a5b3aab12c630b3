"""What is asked: the chat request in the one language that all floors speak.

The shapes are OpenAI's chat completions (`POST /v1/chat/completions`); every public dialect is
turned into them, every provider is spoken to from them.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

Fields = dict[str, Raw]
"""A request body by top-level key, each value exactly as the client wrote it."""

Number = Annotated[float, Meta(ge=-2, le=2)]
Natural = Annotated[int, Meta(ge=1)]


class FunctionCall(Struct):
    """A function to be called; `arguments` is JSON text, as OpenAI has it."""

    name: str
    arguments: str = ""


class ToolCall(Struct):
    """A call made by the assistant in the history. Only `function` calls have `function`."""

    id: str = ""
    type: str = "function"
    function: FunctionCall | None = None
    custom: dict[str, Any] | None = None


class Message(Struct):
    """One message of the history. `content` is text, a list of content parts, or None.

    reasoning_details: reasoning as objects that must come back as they were (signed thinking), in
    OpenRouter's shapes: {type: "reasoning.text", text, signature}, {type: "reasoning.encrypted",
    data}; an answer has them in `extra["reasoning_details"]`.
    """

    role: str
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[dict[str, Any]] | None = None


class StreamOptions(Struct):
    """`include_usage`: send one last chunk with the token counts."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatRequest(Struct, kw_only=True):
    """A validated chat request. Absent and null are the same: None.

    `fields` holds the whole body by top-level key, untouched, so that adapters which speak OpenAI's
    language pass unknown parameters through; it always contains `model` and `messages`.
    tenant: whose request it is, set by the flow whatever the body says; names that the caller gives
    to conversations and the like count within it.
    """

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Natural | None = None
    max_completion_tokens: Natural | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[dict[str, Any]] | None = None
    function_call: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    modalities: list[str] | None = None
    user: str | None = None
    fields: Fields = msgspec.field(default_factory=dict, name="xrouter.fields")
    tenant: str = msgspec.field(default="", name="xrouter.tenant")

    @property
    def streaming(self) -> bool:
        """Whether the caller asked for a stream."""
        return self.stream is True

    @property
    def include_usage(self) -> bool:
        """Whether the caller asked for the usage chunk at the end of the stream."""
        return self.stream_options is not None and self.stream_options.include_usage is True

    @property
    def end_user(self) -> str | None:
        """Whom the caller names as theirs: `user`, else `safety_identifier`."""
        if self.user is not None or "safety_identifier" not in self.fields:
            return self.user
        named = msgspec.json.decode(self.fields["safety_identifier"])
        return named if isinstance(named, str) else None

    @property
    def output_limit(self) -> int | None:
        """The largest answer asked for, in tokens: `max_completion_tokens`, else `max_tokens`."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> list[str]:
        """Stop sequences as a list; empty when none were given."""
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else self.stop


def text_of(content: str | list[dict[str, Any]] | None) -> str:
    """The text of a message's content: its text parts joined by newlines, "" for none."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = (part.get("text") for part in content if part.get("type") in ("text", "input_text"))
    return "\n".join(part for part in parts if isinstance(part, str))


def first_other_part(content: str | list[dict[str, Any]] | None) -> tuple[int, str] | None:
    """Index and type of the first content part that is not text, or None when all are text."""
    if not isinstance(content, list):
        return None
    for index, part in enumerate(content):
        kind = part.get("type")
        if kind not in ("text", "input_text"):
            return index, str(kind)
    return None
