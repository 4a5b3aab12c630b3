"""From GigaChat's answers, whole or streamed, to ours."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from typing_extensions import override

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
from xrouter.domain.errors import UpstreamMalformed, XRouterError
from xrouter.providers.base import ChatExchange
from xrouter.providers.gigachat.errors import error_for, malformed, shorten
from xrouter.providers.gigachat.names import caller_name, new_call_id
from xrouter.providers.gigachat.stops import StopCutter
from xrouter.wire.types import WireReply, WireRequest

_SERVICE_ROLES = frozenset({"function_in_progress", "search_result"})
"""Roles of chunks that report on GigaChat's own functions; their content is no answer."""

_CENSORED = frozenset(
    {
        "blacklist",
        "request_blacklist",
        "request_whitelist",
        "request_filter",
        "response_blacklist",
    }
)


class WireFunction(Struct):
    """A call; `arguments` is an object (text is understood too)."""

    name: str
    arguments: Any = None


class WireMessage(Struct):
    """The assistant's message, or a piece of it."""

    role: str | None = None
    content: str | None = None
    function_call: WireFunction | None = None
    functions_state_id: Any = None
    reasoning_content: str | None = None


class WireChoice(Struct):
    """`message` in whole answers, `delta` in chunks."""

    message: WireMessage | None = None
    delta: WireMessage | None = None
    finish_reason: str | None = None
    index: int = 0


class WireUsage(Struct):
    """Token counts as GigaChat gives them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    precached_prompt_tokens: int | None = None


class WireAnswer(Struct):
    """An answer or a chunk; `status` and `message` belong to an error sent in its place."""

    choices: list[WireChoice] | None = None
    model: str | None = None
    usage: WireUsage | None = None
    status: Any = None
    message: Any = None


_decoder = msgspec.json.Decoder(WireAnswer)


class GigaChatExchange(ChatExchange):
    """One chat call. Only the first choice is read: GigaChat is never asked for more.

    After a stop sequence nothing more is said, but the stream is read on for the token counts.
    What goes wrong after the finish reason is not reported: the answer is complete by then.
    """

    def __init__(
        self, wire: WireRequest, dropped: tuple[str, ...], stops: list[str], *, legacy: bool
    ) -> None:
        """legacy: calls go out as `function_call`, as requests with `functions` expect."""
        self.wire = wire
        self.dropped = dropped
        self._legacy = legacy
        self._stops = StopCutter(stops)
        self._spoken = False
        self._called = False
        self._cut = False
        self._ended = False
        self._finished = False
        self._meta_sent = False

    @override
    def answer(self, reply: WireReply) -> ChatAnswer:
        body = _parse(reply.body)
        choice = _first(body)
        message = choice.message if choice is not None else None
        if choice is None or message is None:
            raise _reported(body, reply.headers.get("x-request-id"))
        text, cut = self._stops.feed(message.content or "")
        text += "" if cut else self._stops.flush()
        call = None if cut else message.function_call
        if choice.finish_reason == "error" and not text and call is None:
            raise _bad_call()
        said = AnswerMessage(
            content=None if call is not None and not text else text,
            reasoning=message.reasoning_content or None,
        )
        if call is not None:
            self._put_call(said, call, message.functions_state_id)
        finish = "stop" if cut else self._finish_of(choice.finish_reason, called=call is not None)
        usage = _usage(body.usage) if body.usage is not None else None
        return ChatAnswer([Choice(said, finish)], usage, _meta(body))

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

    def _feed(self, data: bytes) -> list[ChatDelta]:
        if data.strip() == b"[DONE]":
            self._finished = True
            return self._finish(None)
        body = _parse(data)
        if not body.choices and (body.status is not None or body.message is not None):
            raise _reported(body)
        deltas: list[ChatDelta] = []
        choice = _first(body)
        if choice is not None:
            self._read(choice, deltas)
        if body.usage is not None:
            deltas.append(ChatDelta(usage=_usage(body.usage)))
            self._finished = self._cut
        if deltas and not self._meta_sent:
            self._meta_sent = True
            deltas[0].meta = _meta(body)
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
        text, self._cut = self._stops.feed(content)
        if text:
            deltas.append(ChatDelta(text=text))
        if self._cut:
            self._ended = True
            deltas.append(ChatDelta(finish_reason="stop"))

    def _read_call(self, call: WireFunction, state: Any, deltas: list[ChatDelta]) -> None:
        """A call comes as a whole in one chunk; a repetition of it is ignored."""
        self._called = True
        held = self._stops.flush()
        if held:
            deltas.append(ChatDelta(text=held))
        name, arguments = caller_name(call.name), _arguments(call)
        if self._legacy:
            deltas.append(ChatDelta(legacy_call=FunctionCall(name, arguments)))
        else:
            piece = ToolCallDelta(0, new_call_id(state), name, arguments)
            deltas.append(ChatDelta(tool_calls=[piece]))

    def _finish(self, reason: str | None) -> list[ChatDelta]:
        """The finish, once. None: the stream ended properly without naming a reason."""
        if self._ended:
            return []
        held = self._stops.flush()
        if reason == "error" and not held and not self._spoken:
            raise _bad_call()
        self._ended = True
        finish = self._finish_of(reason, called=self._called)
        return [ChatDelta(text=held)] * bool(held) + [ChatDelta(finish_reason=finish)]

    def _finish_of(self, reason: str | None, *, called: bool) -> str:
        """One of FINISH_REASONS. "error" after some text, and what is unknown, become "stop"."""
        if reason in _CENSORED:
            return "content_filter"
        if called:
            return "function_call" if self._legacy else "tool_calls"
        return "length" if reason == "length" else "stop"

    def _put_call(self, said: AnswerMessage, call: WireFunction, state: Any) -> None:
        function = FunctionCall(caller_name(call.name), _arguments(call))
        if self._legacy:
            said.function_call = function
        else:
            said.tool_calls = [ToolCall(id=new_call_id(state), function=function)]


def _parse(data: bytes) -> WireAnswer:
    try:
        return _decoder.decode(data)
    except (ValueError, RecursionError):
        raise malformed("it is not the JSON that was expected") from None


def _first(body: WireAnswer) -> WireChoice | None:
    return next((choice for choice in body.choices or () if choice.index == 0), None)


def _arguments(call: WireFunction) -> str:
    """The arguments as JSON text: non-ASCII letters as they are, {} for none."""
    if isinstance(call.arguments, str):
        return call.arguments or "{}"
    return msgspec.json.encode(call.arguments or {}).decode()


def _usage(given: WireUsage) -> Usage:
    """In OpenAI's sense the prompt includes its cached part.

    GigaChat's v1 counts the cached tokens beside the prompt [inferred: the same text is 17 + 2
    cached there and 19 without a cache; total = prompt + completion; only uncached are billed].
    """
    cached = given.precached_prompt_tokens or 0
    return Usage(
        prompt_tokens=(given.prompt_tokens or 0) + cached,
        completion_tokens=given.completion_tokens or 0,
        cached_tokens=cached,
    )


def _meta(body: WireAnswer) -> AnswerMeta:
    """The model is named with its build: `GigaChat-2-Max:2.0.30.01`."""
    build = body.model.partition(":")[2] if body.model is not None else ""
    return AnswerMeta(model=body.model, fingerprint=build or None)


def _reported(body: WireAnswer, request_id: str | None = None) -> XRouterError:
    """The error that was sent in place of an answer or a chunk (the latter: [inferred])."""
    text = shorten(body.message) if isinstance(body.message, str) else ""
    try:
        error = error_for(int(body.status), text)
    except (TypeError, ValueError):
        error = malformed(text or "there is no choice in it")
    error.upstream_request_id = request_id
    return error


def _bad_call() -> UpstreamMalformed:
    return UpstreamMalformed(
        "GigaChat's model made an invalid function call.",
        hint="The request can be repeated; simpler parameters of the functions help.",
    )
