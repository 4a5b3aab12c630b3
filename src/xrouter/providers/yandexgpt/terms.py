"""What a decoder must know of the request that it reads the answer to."""

from __future__ import annotations

import secrets
from typing import Any

from msgspec import Struct

from xrouter.domain.answer import FINISH_REASONS, AnswerMessage, ChatDelta, ToolCallDelta
from xrouter.domain.chat import ChatRequest, FunctionCall, ToolCall
from xrouter.providers.yandexgpt.errors import ErrorReader
from xrouter.providers.yandexgpt.payload import read_object
from xrouter.providers.yandexgpt.text import TextGate


class Manner(Struct, frozen=True, omit_defaults=True):
    """How the caller wants to be answered; as JSON it goes with a deferred request.

    legacy: asked with `functions`, so a call is answered as `function_call`.
    single_call: at most one call may be answered. tools: names of the tools that were offered to a
    model whose calls leak. fenced: JSON was asked for in words, and may come in a fence.
    """

    stops: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    legacy: bool = False
    single_call: bool = False
    fenced: bool = False


class Terms(Struct, frozen=True, kw_only=True):
    """ref: `name/branch` that was asked. own: it is one of the provider's own models."""

    ref: str
    folder: str
    own: bool
    errors: ErrorReader
    manner: Manner
    markers: tuple[str, ...] = ()

    def read(self, data: bytes) -> dict[str, Any]:
        """A body of either API. Raises the error that it reports."""
        body = read_object(data)
        if body.get("error"):
            raise self.errors.from_object(body)
        return body

    def gate(self) -> TextGate:
        """A new gate for the text of one alternative."""
        manner = self.manner
        return TextGate(manner.stops, self.markers, manner.tools, fenced=manner.fenced)

    def finish(self, reason: str | None, gate: TextGate, *, called: bool) -> str:
        """The finish reason that goes out. A missing or unknown one is told by what was said."""
        if gate.stopped:
            return "stop"
        if reason in ("length", "content_filter"):
            return reason
        if called:
            return "function_call" if self.manner.legacy else "tool_calls"
        if self.own and gate.filtered:
            return "content_filter"
        return reason if reason in FINISH_REASONS and "call" not in reason else "stop"

    @property
    def one_call(self) -> bool:
        """Whether only the first call goes out."""
        return self.manner.single_call or self.manner.legacy

    def put_calls(self, message: AnswerMessage, calls: list[tuple[str, FunctionCall]]) -> None:
        """Calls and their ids into a whole answer's message."""
        if calls and self.manner.legacy:
            message.function_call = calls[0][1]
        elif calls:
            wanted = calls[:1] if self.one_call else calls
            message.tool_calls = [ToolCall(id=key, function=function) for key, function in wanted]

    def whole_calls(self, index: int, calls: list[FunctionCall]) -> list[ChatDelta]:
        """Calls that come in one piece in a stream, for the alternative `index`."""
        if not calls:
            return []
        if self.manner.legacy:
            return [ChatDelta(choice=index, legacy_call=calls[0])]
        pieces = [
            ToolCallDelta(place, new_call_id(), call.name, call.arguments)
            for place, call in enumerate(calls[:1] if self.one_call else calls)
        ]
        return [ChatDelta(choice=index, tool_calls=pieces)]


def manner_of(
    request: ChatRequest, stops: tuple[str, ...], tools: tuple[str, ...], *, fenced: bool
) -> Manner:
    """The manner that a request asks for. tools: see `Manner`."""
    return Manner(
        stops=stops,
        tools=tools,
        legacy=not request.tools and bool(request.functions),
        single_call=request.parallel_tool_calls is False,
        fenced=fenced,
    )


def new_call_id() -> str:
    """An id for a tool call: the provider has none, or none that is unique."""
    return f"call_{secrets.token_hex(12)}"
