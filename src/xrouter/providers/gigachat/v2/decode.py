"""From answers of the second contract, whole or streamed, to ours."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from xrouter.domain.answer import AnswerMessage, ChatAnswer, ChatDelta, Choice, ToolCallDelta
from xrouter.domain.chat import FunctionCall, ToolCall
from xrouter.providers.gigachat.answers import arguments_of, meta_of, reported
from xrouter.providers.gigachat.decode import GigaChatExchange, Reading
from xrouter.providers.gigachat.names import caller_name, new_call_id
from xrouter.providers.gigachat.v2.answers import (
    WireAnswer,
    WireCall,
    WireMessage,
    parse,
    usage_of,
)
from xrouter.providers.gigachat.v2.citations import Citations
from xrouter.wire.types import WireReply, WireRequest

_SPEAKERS = (None, "assistant")
_THINKER = "reasoning"
_MAX_PICTURES = 10
_MAX_CALLS = 128


class GigaChatV2Exchange(GigaChatExchange):
    """Reads one chat call. Several messages of the assistant are one text.

    A whole answer is read as a stream of one event would be: it means the same.
    """

    def __init__(self, wire: WireRequest, dropped: tuple[str, ...], reading: Reading) -> None:
        super().__init__(wire, dropped, reading)
        self._files: list[str] = []
        self._calls: list[tuple[Any, str, str]] = []
        self._citations = Citations()

    @property
    def pictures(self) -> list[str]:
        """The files of the pictures so far, by part or by tag."""
        return [*self._files, *self._speech.pictures]

    @override
    def answer(self, reply: WireReply) -> ChatAnswer:
        body = parse(reply.body)
        if body.messages is None:
            raise reported(body, reply.headers.get("x-request-id"))
        deltas: list[ChatDelta] = []
        for message in body.messages:
            self._hear(message, body.tools_state_id, deltas)
        deltas += self._finish(body.finish)
        usage = usage_of(body.usage) if body.usage is not None else None
        return ChatAnswer([_joined(self._annotated(deltas))], usage, meta_of(body))

    @override
    def _feed(self, data: bytes) -> list[ChatDelta]:
        if data.strip() == b"[DONE]":
            self._finished = True
            return self._finish(None)
        body = parse(data)
        if not body.messages and (body.status is not None or body.message is not None):
            raise reported(body)
        deltas = self._annotated(self._events_of(body))
        if deltas and not self._meta_sent:
            self._meta_sent = True
            deltas[0].meta = meta_of(body)
        return deltas

    def _events_of(self, body: WireAnswer) -> list[ChatDelta]:
        """What one event says. The last one may repeat the message: it is passed over."""
        deltas: list[ChatDelta] = []
        if body.finish is None or not self._spoken:
            for message in body.messages or ():
                self._hear(message, body.tools_state_id, deltas)
        if body.finish is not None:
            deltas += self._finish(body.finish)
        if body.usage is not None:
            deltas.append(ChatDelta(usage=usage_of(body.usage)))
            self._finished = self._ended
        return deltas

    def _hear(self, message: WireMessage, state: Any, deltas: list[ChatDelta]) -> None:
        """Append what one message says. Order: reasoning, then its parts as they stand."""
        if self._ended:
            return
        if message.reasoning_content:
            deltas.append(ChatDelta(reasoning=message.reasoning_content))
        for part in message.parts:
            if message.role == _THINKER and part.text:
                deltas.append(ChatDelta(reasoning=part.text))
            if message.role not in _SPEAKERS:
                continue
            if part.text and not self._ended:
                self._read_text(part.text, deltas)
            if part.function_call is not None and not self._ended:
                self._read_another(part.function_call, message.state or state, deltas)
            pictures = [file.id for file in part.files or () if file.is_picture]
            self._files += pictures[: _MAX_PICTURES - len(self._files)]
            if part.inline_data is not None:
                self._citations.add_sources(part.inline_data.sources or {})
        self._spoken = self._spoken or bool(deltas)

    def _read_another(self, call: WireCall, state: Any, deltas: list[ChatDelta]) -> None:
        """A call comes as a whole in one part; a repetition of it is ignored."""
        known = (call.id, call.name, arguments_of(call))
        if known in self._calls or len(self._calls) >= _MAX_CALLS:
            return
        self._calls.append(known)
        if len(self._calls) == 1:
            self._read_call(call, state, deltas)
        elif not self._reading.legacy and not self._reading.call_is_text:
            piece = ToolCallDelta(
                len(self._calls) - 1, new_call_id(state), caller_name(call.name), known[2]
            )
            deltas.append(ChatDelta(tool_calls=[piece]))

    def _annotated(self, deltas: list[ChatDelta]) -> list[ChatDelta]:
        """The same, with the sources of the text before the finish."""
        for delta in deltas:
            self._citations.add_text(delta.text or "")
        place = next((n for n, delta in enumerate(deltas) if delta.finish_reason), None)
        annotations = self._citations.annotations() if place is not None else []
        if place is None or not annotations:
            return deltas
        return [*deltas[:place], ChatDelta(extra={"annotations": annotations}), *deltas[place:]]


def _joined(deltas: list[ChatDelta]) -> Choice:
    """The pieces of an answer as one."""
    said = AnswerMessage(
        content="".join(delta.text or "" for delta in deltas),
        reasoning="".join(delta.reasoning or "" for delta in deltas) or None,
        tool_calls=[_call(piece) for delta in deltas for piece in delta.tool_calls or ()] or None,
        function_call=next((delta.legacy_call for delta in deltas if delta.legacy_call), None),
        extra=next((delta.extra for delta in deltas if delta.extra), None),
    )
    if not said.content and (said.tool_calls or said.function_call):
        said.content = None
    return Choice(said, next(delta.finish_reason for delta in deltas if delta.finish_reason))


def _call(piece: ToolCallDelta) -> ToolCall:
    return ToolCall(id=piece.id or "", function=FunctionCall(piece.name or "", piece.arguments))
