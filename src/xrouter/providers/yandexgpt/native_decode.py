"""The native API's answers: whole, or as lines that each repeat all of the text so far."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from typing_extensions import override

from xrouter.domain.answer import (
    AnswerMessage,
    AnswerMeta,
    ChatAnswer,
    ChatDelta,
    Choice,
    Usage,
)
from xrouter.domain.chat import FunctionCall
from xrouter.domain.errors import UpstreamMalformed
from xrouter.providers.yandexgpt.exchange import Asked, AskedChat
from xrouter.providers.yandexgpt.payload import (
    arguments_text,
    as_count,
    as_dict,
    as_list,
    as_text,
)
from xrouter.providers.yandexgpt.terms import Terms, new_call_id
from xrouter.providers.yandexgpt.text import Snapshots
from xrouter.wire.types import Framing, WireReply

_PARTIAL = "ALTERNATIVE_STATUS_PARTIAL"
_UNSPECIFIED = "ALTERNATIVE_STATUS_UNSPECIFIED"
_FINISH = {
    "ALTERNATIVE_STATUS_FINAL": "stop",
    "ALTERNATIVE_STATUS_TRUNCATED_FINAL": "length",
    "ALTERNATIVE_STATUS_CONTENT_FILTER": "content_filter",
    "ALTERNATIVE_STATUS_TOOL_CALLS": "tool_calls",
    _UNSPECIFIED: "stop",
}


class Line(Struct, frozen=True):
    """One `result`. `text` is None when the message has none; protobuf leaves out a zero status."""

    text: str | None
    calls: list[FunctionCall]
    status: str
    usage: Usage | None
    build: str | None


class NativeChat(AskedChat):
    """One completion."""

    framing = Framing.NDJSON

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._gate = self._terms.gate()
        self._snapshots = Snapshots()
        self._last: Line | None = None
        self._started = False

    @override
    def uncounted(self) -> tuple[str, list[FunctionCall]] | None:
        last = self._last
        return None if last is None or last.usage is not None else (last.text or "", last.calls)

    @override
    def answer(self, reply: WireReply) -> ChatAnswer:
        """The whole answer; the last line counts, should there be several."""
        lines = [line for line in reply.body.splitlines() if line.strip()]
        joined = lines[-1:] if all(line.lstrip().startswith(b"{") for line in lines) else lines
        self._last = line = read_line(b"\n".join(joined), self._terms)
        return whole_answer(line, self._terms)

    @override
    def read(self, data: bytes) -> list[ChatDelta]:
        self._last = line = read_line(data, self._terms)
        if line.status == _PARTIAL or line.status not in _FINISH or line.status == _UNSPECIFIED:
            piece = self._snapshots.feed(line.text) if line.text is not None else ""
            deltas = self._text(self._gate.feed(piece), line)
            for delta in deltas:
                delta.usage = line.usage  # all that is known should the stream be cut or left
            return deltas
        return self._finish(line)

    @override
    def broken_off(self) -> list[ChatDelta]:
        """A stream that ends without a last status was cut.

        Unless no line had a status at all, and there is text: that is told as `stop`.
        """
        if self._last is None or self._last.status != _UNSPECIFIED or not self._last.text:
            raise UpstreamMalformed("The provider's stream ended in the middle.")
        return self._finish(self._last)

    def _finish(self, line: Line) -> list[ChatDelta]:
        self._done = True
        reason = _FINISH[line.status]
        replaced = line.text is not None and not self._snapshots.continues(line.text)
        tail = ""
        if not (reason == "content_filter" and replaced):
            tail = self._gate.feed(self._snapshots.finish(line.text)) + self._gate.flush()
        deltas = self._text(tail, line)
        calls = [] if self._gate.stopped else line.calls or self._gate.leaked
        deltas += self._terms.whole_calls(0, calls)
        finish = self._terms.finish(reason, self._gate, called=bool(calls))
        deltas.append(ChatDelta(finish_reason=finish, usage=line.usage))
        if not self._started:
            deltas[0].meta = _meta(line, self._terms)
        return deltas

    def _text(self, text: str, line: Line) -> list[ChatDelta]:
        if not text:
            return []
        meta = None if self._started else _meta(line, self._terms)
        self._started = True
        return [ChatDelta(text=text, meta=meta)]


def whole_answer(line: Line, terms: Terms) -> ChatAnswer:
    """A whole answer. Raises UpstreamMalformed for a part of one."""
    if line.status == _PARTIAL:
        raise UpstreamMalformed("The provider's answer ends in the middle.")
    gate = terms.gate()
    text = gate.feed(line.text or "") + gate.flush()
    calls = [] if gate.stopped else line.calls or gate.leaked
    message = AnswerMessage(content=text if text or not calls else None)
    terms.put_calls(message, [(new_call_id(), call) for call in calls])
    reason = terms.finish(_FINISH.get(line.status), gate, called=bool(calls))
    return ChatAnswer([Choice(message, reason)], line.usage, _meta(line, terms))


def read_line(data: bytes, terms: Terms) -> Line:
    """One line of a stream, or a whole answer. Raises the error that it reports.

    That an error in a stream is a line of the same shape as a whole one is inferred.
    """
    body = terms.read(data)
    return read_result(as_dict(body.get("result", body)))


def read_result(result: dict[str, Any]) -> Line:
    """A completion without the wrapper, as operations have it."""
    alternatives = as_list(result.get("alternatives"))
    if not alternatives:
        raise UpstreamMalformed("The provider's answer has no alternatives.")
    alternative = as_dict(alternatives[0])
    message = as_dict(alternative.get("message"))
    text = message.get("text")
    return Line(
        text=text if isinstance(text, str) else None,
        calls=_calls_of(message),
        status=as_text(alternative.get("status")) or _UNSPECIFIED,
        usage=_usage_of(result.get("usage")),
        build=as_text(result.get("modelVersion")),
    )


def _meta(line: Line, terms: Terms) -> AnswerMeta:
    return AnswerMeta(model=terms.ref, fingerprint=line.build)


def _calls_of(message: dict[str, Any]) -> list[FunctionCall]:
    calls = []
    for item in as_list(as_dict(message.get("toolCallList")).get("toolCalls")):
        call = as_dict(as_dict(item).get("functionCall"))
        name = as_text(call.get("name"))
        if name is None:
            raise UpstreamMalformed("The provider called a tool without a name.")
        calls.append(FunctionCall(name, arguments_text(call.get("arguments"))))
    return calls


def _usage_of(value: Any) -> Usage | None:
    """Token counts, which come as strings; None when nothing is counted.

    Whether `completionTokens` includes the hidden reasoning is not documented; the total is taken
    for right when it is larger than the sum.
    """
    prompt = as_count(as_dict(value).get("inputTextTokens"))
    if not prompt:
        return None
    said = as_count(value.get("completionTokens"))
    details = as_dict(value.get("completionTokensDetails"))
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=max(said, as_count(value.get("totalTokens")) - prompt),
        reasoning_tokens=as_count(details.get("reasoningTokens")),
    )
