"""The chunks of a streamed chat answer, as bytes.

Every stream is written anew, so that accumulating clients read it right: the role once for each
choice, id, type and name of a tool call once, one finish chunk for each choice, usage last.
The parts that never change are made once; a plain text delta costs one string encoding.

What a provider says of itself goes out in the chunk it came with and in all that follow. What it
says after the last finish chunk (such as its timings) has only the usage chunk to go into: where
the caller did not ask for that one it is lost, for many clients break on a chunk that they did not
ask for and that has no choices.
"""

from __future__ import annotations

from typing import Any

from xrouter.domain.answer import AnswerMeta, ChatDelta, ToolCallDelta, Usage
from xrouter.domain.errors import XRouterError
from xrouter.edge.voice import encode

DONE = b"data: [DONE]\n\n"
MAX_CHOICES = 128
_OURS = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "error", "system_fingerprint"}
)
_OPEN = b'},"logprobs":null,"finish_reason":null}]'


class ChunkWriter:
    """Turns deltas into frames. One for each stream.

    with_usage: the caller asked for the usage chunk, so all others say `"usage":null`.
    """

    __slots__ = (
        "_begun",
        "_created",
        "_head",
        "_id",
        "_model",
        "_more",
        "_tail",
        "_texts",
        "_with",
    )

    def __init__(self, completion_id: str, created: int, model: str, *, with_usage: bool) -> None:
        self._id = completion_id
        self._created = created
        self._model = model
        self._with = with_usage
        self._more: dict[str, Any] = {}
        self._begun: set[int] = set()
        self._tail = b',"usage":null}\n\n' if with_usage else b"}\n\n"
        self._texts: dict[int, bytes] = {}
        self._head = b""
        self._build()

    def name(self, model: str) -> None:
        """Say who answers, before the first chunk."""
        self._model = model
        self._build()

    def frames(self, deltas: list[ChatDelta]) -> bytes:
        """Frames for the deltas, in order; b"" when nothing in them is for the caller."""
        out: list[bytes] = []
        for delta in deltas:
            if delta.meta is not None:
                self._learn(delta.meta)
            text = delta.text
            if text and _is_plain(delta):
                index = delta.choice
                if index not in self._begun:
                    self._begin(delta, out)
                out += (self._texts[index], encode(text), _OPEN, self._tail)
            else:
                self._add(delta, out)
            if delta.finish_reason is not None:
                self._finish(delta, out)
        return b"".join(out)

    def end(self, usage: Usage | None) -> bytes:
        """The usage chunk where it was asked for, and the mark of the end."""
        if usage is None or not self._with:
            return DONE
        return b'%b"choices":[],"usage":%b}\n\n%b' % (self._head, encode(usage.openai()), DONE)

    def fail(self, error: XRouterError) -> bytes:
        """The frame that makes clients raise, and the mark of the end.

        The error alone: some clients take a frame that has choices, too, for an ordinary chunk.
        """
        return b"data: %b\n\n%b" % (encode(error.body()), DONE)

    def _build(self) -> None:
        ours = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            **self._more,
        }
        self._head = b"data: " + encode(ours)[:-1] + b","
        self._texts = {index: self._text_head(index) for index in self._begun}

    def _text_head(self, index: int) -> bytes:
        return b'%b"choices":[{"index":%d,"delta":{"content":' % (self._head, index)

    def _learn(self, meta: AnswerMeta) -> None:
        """Further top-level fields, from now on in every chunk."""
        more = {k: v for k, v in (meta.extra or {}).items() if k not in _OURS}
        if meta.fingerprint is not None:
            more["system_fingerprint"] = meta.fingerprint
        if more and not more.items() <= self._more.items():
            self._more.update(more)
            self._build()

    def _add(self, delta: ChatDelta, out: list[bytes]) -> None:
        """Everything but a plain text; each tool call piece has a chunk of its own.

        Further fields of the choice go into the first chunk, or into the finish chunk.
        """
        index, payload, more = delta.choice, _payload(delta), delta.choice_extra
        calls = delta.tool_calls or ()
        ends = delta.finish_reason is not None
        if ends:
            more = None
        alone = payload or delta.logprobs is not None or (more and not calls)
        if (alone or calls or ends) and index not in self._begun:
            self._begin(delta, out)
        if alone:
            out.append(self._chunk(index, payload, None, delta.logprobs, more))
            more = None
        for call in calls:
            out.append(self._chunk(index, {"tool_calls": [_call(call)]}, None, None, more))
            more = None

    def _begin(self, delta: ChatDelta, out: list[bytes]) -> None:
        """The role; earlier choices first, for clients count on hearing of them in order."""
        only_calls = delta.text is None and bool(delta.tool_calls or delta.legacy_call)
        for index in range(min(delta.choice, MAX_CHOICES)):
            if index not in self._begun:
                self._open(index, "", out)
        self._open(delta.choice, None if only_calls else "", out)

    def _open(self, index: int, content: str | None, out: list[bytes]) -> None:
        self._begun.add(index)
        self._texts[index] = self._text_head(index)
        out.append(self._chunk(index, {"role": "assistant", "content": content}, None, None))

    def _finish(self, delta: ChatDelta, out: list[bytes]) -> None:
        out.append(self._chunk(delta.choice, {}, delta.finish_reason, None, delta.choice_extra))

    def _chunk(
        self,
        index: int,
        payload: dict[str, Any],
        finish: str | None,
        logprobs: Any,
        more: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {"index": index, "delta": payload, "logprobs": logprobs, "finish_reason": finish}
        if more:
            choice = more | choice
        return b'%b"choices":[%b]%b' % (self._head, encode(choice), self._tail)


def _is_plain(delta: ChatDelta) -> bool:
    return (
        delta.reasoning is None
        and delta.tool_calls is None
        and delta.refusal is None
        and delta.legacy_call is None
        and delta.logprobs is None
        and delta.extra is None
        and (delta.choice_extra is None or delta.finish_reason is not None)
    )


def _payload(delta: ChatDelta) -> dict[str, Any]:
    """OpenAI's `delta`, tool calls aside."""
    payload: dict[str, Any] = dict(delta.extra) if delta.extra else {}
    payload.pop("role", None)
    payload.pop("tool_calls", None)
    if delta.text:
        payload["content"] = delta.text
    if delta.reasoning:
        payload["reasoning_content"] = payload["reasoning"] = delta.reasoning
    if delta.refusal:
        payload["refusal"] = delta.refusal
    if delta.legacy_call is not None:
        call = delta.legacy_call
        name = {"name": call.name} if call.name else {}
        payload["function_call"] = {**name, "arguments": call.arguments}
    return payload


def _call(call: ToolCallDelta) -> dict[str, Any]:
    kind, content = ("custom", "input") if call.custom else ("function", "arguments")
    if call.id is None:
        return {"index": call.index, kind: {content: call.arguments}}
    return {
        "index": call.index,
        "id": call.id,
        "type": kind,
        kind: {"name": call.name, content: call.arguments},
    }
