"""From GigaChat's answers, whole or streamed, to ours."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from typing_extensions import override

from xrouter.domain.answer import AnswerMessage, ChatAnswer, ChatDelta, Choice, ToolCallDelta
from xrouter.domain.chat import FunctionCall, ToolCall
from xrouter.domain.errors import UpstreamMalformed, XRouterError
from xrouter.providers.base import ChatExchange
from xrouter.providers.gigachat.answers import (
    CENSORED,
    WireChoice,
    WireFunction,
    arguments_of,
    first_choice,
    meta_of,
    parse,
    reported,
    usage_of,
)
from xrouter.providers.gigachat.json_text import is_object, outermost_object
from xrouter.providers.gigachat.names import caller_name, new_call_id
from xrouter.providers.gigachat.speech import Speech
from xrouter.wire.types import WireReply, WireRequest

_SERVICE_ROLES = frozenset({"function_in_progress", "search_result"})
"""Roles of chunks that report on GigaChat's own functions; their content is no answer."""


class Reading(Struct, frozen=True, kw_only=True):
    """How an answer is to be read.

    legacy: calls go out as `function_call`, as requests with `functions` expect.
    json: the text must be a JSON object, and only that goes out.
    call_is_text: the call was forced for the sake of its arguments: they are the text.
    must_call: an answer without a call is none.
    """

    stops: list[str] = []
    legacy: bool = False
    json: bool = False
    call_is_text: bool = False
    must_call: bool = False


class GigaChatExchange(ChatExchange):
    """Reads one chat call. Only the first choice is read: GigaChat is never asked for more.

    After a stop sequence nothing more is said, but the stream is read on for the token counts.
    What goes wrong after the finish reason is not reported: the answer is complete by then.
    """

    def __init__(self, wire: WireRequest, dropped: tuple[str, ...], reading: Reading) -> None:
        self.wire = wire
        self.dropped = dropped
        self._reading = reading
        self._speech = Speech(reading.stops, json=reading.json)
        self._withheld = ""
        self._spoken = False
        self._called = False
        self._ended = False
        self._finished = False
        self._meta_sent = False

    @override
    def answer(self, reply: WireReply) -> ChatAnswer:
        body = parse(reply.body)
        choice = first_choice(body)
        message = choice.message if choice is not None else None
        if choice is None or message is None:
            raise reported(body, reply.headers.get("x-request-id"))
        thought, text = self._speech.whole(message.content or "")
        call = None if self._speech.cut else message.function_call
        self._called = call is not None
        if call is not None and self._reading.call_is_text:
            text, call = arguments_of(call), None
        if choice.finish_reason == "error" and not text and not self._called:
            raise _bad_call()
        if not self._excused(choice.finish_reason):
            text = self._checked(text)
        said = AnswerMessage(
            content=None if call is not None and not text else text,
            reasoning=(message.reasoning_content or "") + thought or None,
        )
        if call is not None:
            self._put_call(said, call, message.functions_state_id)
        finish = self._finish_of(choice.finish_reason)
        usage = usage_of(body.usage) if body.usage is not None else None
        return ChatAnswer([Choice(said, finish)], usage, meta_of(body))

    @override
    def feed(self, name: str, data: bytes) -> list[ChatDelta]:
        if self._finished:
            return []
        try:
            return self._feed(data)
        except XRouterError:
            if not self._ended:
                raise
            self._finished = True
            return []

    @override
    def end(self) -> list[ChatDelta]:
        if not self._ended:
            raise UpstreamMalformed(
                "GigaChat's stream ended in the middle of the answer.",
                hint="The connection to the provider was cut; the request can be repeated.",
            )
        return []

    @property
    @override
    def finished(self) -> bool:
        return self._finished

    def not_json(self) -> UpstreamMalformed:
        """The error for an answer that is no JSON although JSON was asked for."""
        return UpstreamMalformed(
            "GigaChat's answer is not the JSON object that was asked for.",
            hint="The request can be repeated, or sent to another model.",
        )

    def _feed(self, data: bytes) -> list[ChatDelta]:
        if data.strip() == b"[DONE]":
            self._finished = True
            return self._finish(None)
        body = parse(data)
        if not body.choices and (body.status is not None or body.message is not None):
            raise reported(body)
        deltas: list[ChatDelta] = []
        choice = first_choice(body)
        if choice is not None:
            self._read(choice, deltas)
        if body.usage is not None:
            deltas.append(ChatDelta(usage=usage_of(body.usage)))
            self._finished = self._speech.cut
        if deltas and not self._meta_sent:
            self._meta_sent = True
            deltas[0].meta = meta_of(body)
        return deltas

    def _read(self, choice: WireChoice, deltas: list[ChatDelta]) -> None:
        """Append what one chunk says. Order: reasoning, text, call, finish."""
        delta = choice.delta or choice.message
        if delta is not None and delta.role not in _SERVICE_ROLES and not self._ended:
            if delta.reasoning_content:
                deltas.append(ChatDelta(reasoning=delta.reasoning_content))
            if delta.content:
                self._read_text(delta.content, deltas)
            if delta.function_call is not None and not self._called and not self._ended:
                self._read_call(delta.function_call, delta.functions_state_id, deltas)
            self._spoken = self._spoken or bool(deltas)
        if choice.finish_reason is not None:
            deltas += self._finish(choice.finish_reason)

    def _read_text(self, content: str, deltas: list[ChatDelta]) -> None:
        self._say(self._speech.feed(content), deltas)
        if self._speech.cut:
            self._ended = True
            deltas += self._let_go()
            deltas.append(ChatDelta(finish_reason="stop"))

    def _say(self, said: tuple[str, str], deltas: list[ChatDelta]) -> None:
        thought, text = said
        if thought:
            deltas.append(ChatDelta(reasoning=thought))
        reading = self._reading
        if not text or (reading.call_is_text and self._called):
            return
        if (reading.must_call or reading.call_is_text) and not self._called:
            self._withheld += text
        else:
            deltas.append(ChatDelta(text=text))

    def _let_go(self) -> list[ChatDelta]:
        """Text that waited for a call, or for the end."""
        text, self._withheld = self._withheld, ""
        return [ChatDelta(text=text)] if text else []

    def _read_call(self, call: WireFunction, state: Any, deltas: list[ChatDelta]) -> None:
        """A call comes as a whole in one chunk; a repetition of it is ignored."""
        self._called = True
        if self._reading.call_is_text:
            text = arguments_of(call)
            if not is_object(text):
                raise self.not_json()
            self._withheld = ""
            deltas.append(ChatDelta(text=text))
            return
        deltas += self._let_go()
        self._say(self._speech.flush(), deltas)
        name, arguments = caller_name(call.name), arguments_of(call)
        if self._reading.legacy:
            deltas.append(ChatDelta(legacy_call=FunctionCall(name, arguments)))
        else:
            piece = ToolCallDelta(0, new_call_id(state), name, arguments)
            deltas.append(ChatDelta(tool_calls=[piece]))

    def _finish(self, reason: str | None) -> list[ChatDelta]:
        """The finish, once. None: the stream ended properly without naming a reason."""
        if self._ended:
            return []
        deltas: list[ChatDelta] = []
        self._say(self._speech.flush(), deltas)
        spoken = self._spoken or bool(deltas) or bool(self._withheld)
        if reason == "error" and not spoken:
            raise _bad_call()
        if self._excused(reason):
            self._withheld += self._speech.words()
        elif self._reading.must_call and not self._called:
            raise _no_call()
        elif not self._called and not self._speech.sound:
            raise self.not_json()
        self._ended = True
        return [*deltas, *self._let_go(), ChatDelta(finish_reason=self._finish_of(reason))]

    def _excused(self, reason: str | None) -> bool:
        """Whether an answer may be incomplete: it was cut short, or censored."""
        return self._speech.cut or reason == "length" or reason in CENSORED

    def _checked(self, text: str) -> str:
        """The text as it was asked for. Raises UpstreamMalformed when it is not that."""
        if self._reading.must_call and not self._called:
            raise _no_call()
        if not self._reading.json or (self._called and not self._reading.call_is_text):
            return text
        found = outermost_object(text)
        if found is None:
            raise self.not_json()
        return found

    def _finish_of(self, reason: str | None) -> str:
        """One of FINISH_REASONS. "error" after some text, and what is unknown, become "stop"."""
        if self._speech.cut:
            return "stop"
        if reason in CENSORED:
            return "content_filter"
        if self._called and not self._reading.call_is_text:
            return "function_call" if self._reading.legacy else "tool_calls"
        return "length" if reason == "length" else "stop"

    def _put_call(self, said: AnswerMessage, call: WireFunction, state: Any) -> None:
        function = FunctionCall(caller_name(call.name), arguments_of(call))
        if self._reading.legacy:
            said.function_call = function
        else:
            said.tool_calls = [ToolCall(id=new_call_id(state), function=function)]


def _bad_call() -> UpstreamMalformed:
    return UpstreamMalformed(
        "GigaChat's model made an invalid function call.",
        hint="The request can be repeated; simpler parameters of the functions help.",
    )


def _no_call() -> UpstreamMalformed:
    return UpstreamMalformed(
        "GigaChat's model called no function although a call was required.",
        hint="With one tool, or with a named one, GigaChat can be forced to call it.",
    )
