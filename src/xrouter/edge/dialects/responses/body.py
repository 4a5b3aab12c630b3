"""The body of `POST /v1/responses`, checked."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from xrouter.domain.chat import Fields, StreamOptions
from xrouter.domain.errors import InvalidRequest
from xrouter.edge.mistakes import DECODE_ERRORS, explain, missing

Item = dict[str, Any]


class Reasoning(Struct):
    """How much it is to think, and whether a summary of that is wanted."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class ResponsesBody(Struct, kw_only=True):
    """A request. `fields` holds the whole body by key, as it was sent."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    input: str | list[Item] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    text: dict[str, Any] | None = None
    reasoning: Reasoning | None = None
    include: list[str] | None = None
    truncation: str | None = None
    metadata: dict[str, Any] | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    user: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    fields: Fields = msgspec.field(default_factory=dict, name="xrouter.fields")

    @property
    def stored(self) -> bool:
        """Whether the answer is to be kept; so it is unless the caller says otherwise."""
        return self.store is not False

    def included(self, what: str) -> bool:
        """Whether the caller asked for this besides."""
        return self.include is not None and what in self.include


_fields = msgspec.json.Decoder(Fields)
_body = msgspec.json.Decoder(ResponsesBody)


def read_body(body: bytes) -> ResponsesBody:
    """A checked body. Raises InvalidRequest that names the parameter at fault."""
    try:
        if not body.isascii():
            body.decode()
        fields = _fields.decode(body)
        parsed = _body.decode(body)
    except DECODE_ERRORS as error:
        raise explain(error) from None
    parsed.fields = fields
    if parsed.input is None and parsed.previous_response_id is None:
        hint = "This looks like chat completions; responses take 'input'."
        raise missing("input", hint=hint if "messages" in fields else None)
    for name in ("conversation", "prompt"):
        if getattr(parsed, name) is not None:
            raise InvalidRequest(
                f"'{name}' is not supported: there are no stored {name}s here.",
                code="unsupported_parameter",
                param=name,
            )
    if parsed.truncation not in (None, "disabled", "auto"):
        raise InvalidRequest(
            "'truncation' must be 'auto' or 'disabled'.", code="invalid_value", param="truncation"
        )
    return parsed
