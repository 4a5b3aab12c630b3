"""One chat call in OpenAI's language: how its answer is read, whole or streamed."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from xrouter.domain.answer import AnswerMeta, ChatAnswer, ChatDelta, Usage
from xrouter.domain.errors import UpstreamMalformed
from xrouter.providers.base import ChatExchange
from xrouter.providers.shapes.openai_answer import (
    OUR_CHOICE,
    OUR_MESSAGE,
    OUR_TOP,
    answer_of,
    extra_of,
    finish_of,
    meta_of,
    parts_of,
    read_object,
    reasoning_of,
    usage_of,
)
from xrouter.providers.shapes.openai_calls import CallPieces, legacy_call
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.wire.types import WireReply, WireRequest

DONE = b"[DONE]"
MAX_CHOICES = 128


class _Told:
    """One alternative so far."""

    __slots__ = ("calls", "finished")

    def __init__(self) -> None:
        self.calls: CallPieces | None = None
        self.finished = False


class OpenAIChat(ChatExchange):
    """Reads what the provider says; errors inside an answer are raised as what they are.

    Usage is passed on whenever it is told: each is the sum so far, the last one counts.
    only_first_call: of several tool calls of an alternative only the first is passed on.
    """

    only_first_call = False

    def __init__(
        self, wire: WireRequest, errors: ErrorReader, dropped: tuple[str, ...] = ()
    ) -> None:
        self.wire = wire
        self.dropped = dropped
        self._errors = errors
        self._choices: dict[int, _Told] = {}
        self._done = False
        self._names: frozenset[str] = frozenset()
        self._odd: dict[str, Any] = {}
        self._meta = AnswerMeta()
        self._meta_told = True

    @override
    def answer(self, reply: WireReply) -> ChatAnswer:
        body = read_object(reply.body)
        if body.get("error") and not body.get("choices"):
            error = self._errors.of_object(body)
            error.upstream_request_id = reply.headers.get("x-request-id")
            raise error
        answer = answer_of(body)
        for choice in answer.choices:
            choice.logprobs = self.likelihoods(choice.logprobs)
            if self.only_first_call and choice.message.tool_calls:
                del choice.message.tool_calls[1:]
        return answer

    @override
    def feed(self, name: str, data: bytes) -> list[ChatDelta]:
        if self._done:
            return []
        if data[:1] != b"{":
            data = data.strip()
            if not data:
                return []
            if data == DONE:
                return self._close()
        body = read_object(data)
        if name == "error" or body.get("error"):
            raise self._errors.of_object(body)
        deltas: list[ChatDelta] = []
        choices = body.get("choices")
        if choices.__class__ is list:
            for choice in choices:
                self._read(choice, deltas)
        usage = body.get("usage")
        if usage:
            self._put_usage(usage, deltas)
        self._note(body)
        if deltas and not self._meta_told:
            deltas[0].meta = self._meta
            self._meta_told = True
        return deltas

    @override
    def end(self) -> list[ChatDelta]:
        """Without `[DONE]`, only a stream whose alternatives have all ended is whole."""
        if self._done:
            return []
        if not self._choices or not all(told.finished for told in self._choices.values()):
            raise UpstreamMalformed(
                "The provider's stream ended in the middle of the answer.",
                hint="The connection to the provider was cut; the request can be repeated.",
            )
        return self._close()

    @property
    @override
    def finished(self) -> bool:
        return self._done

    @property
    def alternatives(self) -> int:
        """How many of them have been heard of in the stream."""
        return len(self._choices)

    def merged(self, usage: Usage) -> Usage:
        """The usage so far, given the one just told."""
        return usage

    def likelihoods(self, given: Any) -> Any:
        """The `logprobs` to be passed on."""
        return given

    def _close(self) -> list[ChatDelta]:
        """The proper end; alternatives without a finish reason get one."""
        if not self._choices:
            raise UpstreamMalformed("The provider's stream ended without an answer.")
        self._done = True
        deltas: list[ChatDelta] = []
        for index, told in self._choices.items():
            if not told.finished:
                told.finished = True
                late = told.calls.close() if told.calls is not None else []
                reason = "stop" if told.calls is None else "tool_calls"
                deltas.append(ChatDelta(index, tool_calls=late or None, finish_reason=reason))
        if not self._meta_told:
            self._meta_told = True
            deltas.append(ChatDelta(meta=self._meta))
        return deltas

    def _read(self, given: Any, deltas: list[ChatDelta]) -> None:
        """Append what one alternative says in this chunk, if anything."""
        if given.__class__ is not dict:
            raise UpstreamMalformed("The provider's stream has a choice that is no object.")
        index = given.get("index")
        if index.__class__ is not int:
            index = self._index_of(index)
        told = self._choices.get(index)
        if told is None:
            told = self._begin(index)
        elif told.finished:
            return
        delta = ChatDelta(index)
        said = given.get("delta")
        speaks = said.__class__ is dict and self._put_message(said, told, delta)
        logprobs = given.get("logprobs")
        if logprobs is not None:
            delta.logprobs = self.likelihoods(logprobs)
            speaks = True
        if given.get("finish_reason"):
            self._finish(given, told, delta)
            speaks = True
        if not OUR_CHOICE.issuperset(given):
            delta.choice_extra = more = extra_of(given, OUR_CHOICE)
            speaks = speaks or (more is not None and any(more.values()))
        if speaks:
            deltas.append(delta)

    def _finish(self, given: dict[str, Any], told: _Told, delta: ChatDelta) -> None:
        if given.get("error"):
            raise self._errors.of_object(given)
        delta.finish_reason = finish_of(given["finish_reason"])
        told.finished = True
        if told.calls is not None:
            delta.tool_calls = (delta.tool_calls or []) + told.calls.close() or None

    def _index_of(self, given: Any) -> int:
        """The index where it is no plain number: missing means the first."""
        if given is None:
            return 0
        raise UpstreamMalformed("The provider's stream has a choice with a wrong index.")

    def _begin(self, index: int) -> _Told:
        if not 0 <= index < MAX_CHOICES:
            raise UpstreamMalformed("The provider's stream has a choice with a wrong index.")
        told = self._choices[index] = _Told()
        return told

    def _put_message(self, said: dict[str, Any], told: _Told, delta: ChatDelta) -> bool:
        """Fill the delta from a piece of the message; whether there was anything."""
        content = said.get("content")
        if content.__class__ is str:
            if content:
                delta.text = content
            if len(said) == 1:
                return bool(content)
        elif content.__class__ is list:
            text, delta.reasoning = parts_of(content)
            delta.text = text or None
        self._put_rest(said, told, delta)
        return (
            delta.text is not None
            or delta.reasoning is not None
            or delta.tool_calls is not None
            or delta.refusal is not None
            or delta.legacy_call is not None
            or delta.extra is not None
        )

    def _put_rest(self, said: dict[str, Any], told: _Told, delta: ChatDelta) -> None:
        """Everything but the content."""
        delta.reasoning = reasoning_of(said) or delta.reasoning
        refusal = said.get("refusal")
        if refusal:
            delta.refusal = str(refusal)
        items = said.get("tool_calls")
        if items:
            if told.calls is None:
                told.calls = CallPieces(only_first=self.only_first_call)
            delta.tool_calls = told.calls.feed(items) or None
        legacy = legacy_call(said.get("function_call"))
        if legacy is not None and (legacy.name or legacy.arguments):
            delta.legacy_call = legacy
        if not OUR_MESSAGE.issuperset(said):
            delta.extra = extra_of(said, OUR_MESSAGE)

    def _put_usage(self, given: Any, deltas: list[ChatDelta]) -> None:
        usage = usage_of(given)
        if usage is None:
            return
        usage = self.merged(usage)
        if deltas:
            deltas[-1].usage = usage
        else:
            deltas.append(ChatDelta(usage=usage))

    def _note(self, body: dict[str, Any]) -> None:
        """Keep what the provider says of itself, to be told with the next delta if it is news."""
        if self._names.issuperset(body):
            for name, value in self._odd.items():
                if body.get(name, value) != value:
                    break
            else:
                return
        self._odd |= {name: value for name, value in body.items() if name not in OUR_TOP}
        self._names = OUR_TOP.union(self._odd)
        first = meta_of(body)
        self._meta = AnswerMeta(
            self._meta.model or first.model,
            self._meta.fingerprint or first.fingerprint,
            {name: value for name, value in self._odd.items() if value is not None} or None,
        )
        self._meta_told = False
