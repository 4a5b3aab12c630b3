"""The OpenAI-compatible API's answers, with the habits of both families behind it.

own models     ids of calls are function names; no usage in streams; markers leak; Alice AI may
               end a stream without a finish reason
open models    continuation pieces repeat empty strings; usage comes in a chunk of its own
"""

from __future__ import annotations

from typing import Any

import msgspec
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
from xrouter.domain.chat import FunctionCall
from xrouter.domain.errors import UpstreamFailed, UpstreamMalformed
from xrouter.providers.yandexgpt.exchange import Asked, AskedChat
from xrouter.providers.yandexgpt.payload import (
    arguments_text,
    as_count,
    as_dict,
    as_list,
    as_text,
)
from xrouter.providers.yandexgpt.pieces import CallPieces, outward_id
from xrouter.providers.yandexgpt.terms import Terms
from xrouter.providers.yandexgpt.uri import without_folder
from xrouter.wire.types import Framing, WireReply

_KNOWN_TOP = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "system_fingerprint"}
)
_KNOWN_MESSAGE = frozenset(
    {
        "role", "content", "reasoning_content", "reasoning", "refusal", "tool_calls",
        "function_call",
    }
)  # fmt: skip
_BROKEN_OFF = ("error", "abort")
_encode = msgspec.json.encode


class CompatibleChat(AskedChat):
    """One chat completion."""

    framing = Framing.SSE

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._choices: dict[int, _Stream] = {}
        self._usage: Usage | None = None
        self._meta: AnswerMeta | None = None
        self._whole: AnswerMessage | None = None

    @override
    def uncounted(self) -> tuple[str, list[FunctionCall]] | None:
        if self._usage is not None:
            return None
        if self._whole is not None:
            return _said(self._whole)
        return self._choices[0].said if self._done and 0 in self._choices else None

    @override
    def answer(self, reply: WireReply) -> ChatAnswer:
        body = self._terms.read(reply.body)
        choices = [read_choice(as_dict(item), self._terms) for item in as_list(body.get("choices"))]
        if not choices:
            raise UpstreamMalformed("The provider's answer has no choices.")
        self._usage = usage_of(body.get("usage"))
        self._whole = choices[0].message
        return ChatAnswer(choices, self._usage, meta_of(body, self._terms))

    @override
    def read(self, data: bytes) -> list[ChatDelta]:
        if data.strip() == b"[DONE]":
            return self._close()
        body = self._terms.read(data)
        self._usage = usage_of(body.get("usage")) or self._usage
        deltas: list[ChatDelta] = []
        for item in as_list(body.get("choices")):
            choice = as_dict(item)
            index = as_count(choice.get("index"))
            stream = self._choices.get(index)
            if stream is None:
                stream = self._choices[index] = _Stream(index, self._terms)
            deltas += stream.feed(choice)
        if deltas and self._meta is None:
            self._meta = deltas[0].meta = meta_of(body, self._terms)
        return deltas

    @override
    def broken_off(self) -> list[ChatDelta]:
        """Without `[DONE]` only a stream whose alternatives have all ended is whole."""
        if not self._choices or not all(stream.finished for stream in self._choices.values()):
            raise UpstreamMalformed("The provider's stream ended in the middle.")
        return self._close()

    def _close(self) -> list[ChatDelta]:
        if not self._choices:
            raise UpstreamMalformed("The provider's stream ended without an answer.")
        self._done = True
        deltas: list[ChatDelta] = []
        for stream in self._choices.values():
            deltas += stream.close(None)
        return deltas if self._usage is None else [*deltas, ChatDelta(usage=self._usage)]


class _Stream:
    """One alternative of a stream."""

    def __init__(self, index: int, terms: Terms) -> None:
        self._index = index
        self._terms = terms
        self._gate = terms.gate()
        self._calls = CallPieces(terms)
        self._texts: list[str] = []
        self.finished = False

    @property
    def said(self) -> tuple[str, list[FunctionCall]]:
        """All that the provider said, also what did not go out."""
        return "".join(self._texts), self._calls.said

    def feed(self, choice: dict[str, Any]) -> list[ChatDelta]:
        if self.finished:
            return []
        delta = as_dict(choice.get("delta"))
        text = as_text(delta.get("content")) or ""
        self._texts.append(text)
        piece = ChatDelta(
            choice=self._index,
            text=self._gate.feed(text) or None,
            reasoning=as_text(delta.get("reasoning_content")) or as_text(delta.get("reasoning")),
            refusal=as_text(delta.get("refusal")),
            logprobs=None if self._gate.stopped else choice.get("logprobs"),
            extra=_extra(delta, _KNOWN_MESSAGE),
        )
        if not self._gate.stopped:
            self._put_calls(piece, self._calls.feed(_call_items(delta)))
        deltas = [piece] if _says_something(piece) else []
        reason = as_text(choice.get("finish_reason"))
        return deltas if reason is None else deltas + self.close(reason)

    def close(self, reason: str | None) -> list[ChatDelta]:
        """What was held back, and the finish reason; nothing the second time."""
        if self.finished:
            return []
        if reason in _BROKEN_OFF:
            raise UpstreamFailed("The provider broke the answer off.")
        self.finished = True
        held = self._gate.flush()
        leaked = [] if self._calls.count else self._gate.leaked
        called = self._calls.count > 0 or bool(leaked)
        finish = self._terms.finish(reason, self._gate, called=called)
        return [
            *([ChatDelta(choice=self._index, text=held)] if held else []),
            *self._terms.whole_calls(self._index, leaked),
            ChatDelta(choice=self._index, finish_reason=finish),
        ]

    def _put_calls(self, piece: ChatDelta, calls: list[ToolCallDelta]) -> None:
        if not calls:
            return
        if self._terms.manner.legacy:
            arguments = "".join(call.arguments for call in calls)
            piece.legacy_call = FunctionCall(calls[0].name or "", arguments)
        else:
            piece.tool_calls = calls


def read_choice(choice: dict[str, Any], terms: Terms) -> Choice:
    """One alternative of a whole answer."""
    message = as_dict(choice.get("message"))
    gate = terms.gate()
    text = gate.feed(as_text(message.get("content")) or "") + gate.flush()
    functions: list[tuple[str | None, FunctionCall]] = []
    if not gate.stopped:
        functions = _whole_calls(message) or [(None, call) for call in gate.leaked]
    answer = AnswerMessage(
        content=text if text or not functions else None,
        reasoning=as_text(message.get("reasoning_content")) or as_text(message.get("reasoning")),
        refusal=as_text(message.get("refusal")),
        extra=_extra(message, _KNOWN_MESSAGE),
    )
    taken: set[str] = set()
    terms.put_calls(answer, [(outward_id(key, taken, terms), call) for key, call in functions])
    reason = as_text(choice.get("finish_reason"))
    if reason in _BROKEN_OFF:
        raise UpstreamFailed("The provider broke the answer off.")
    return Choice(
        message=answer,
        finish_reason=terms.finish(reason, gate, called=bool(functions)),
        index=as_count(choice.get("index")),
        logprobs=choice.get("logprobs"),
    )


def _said(message: AnswerMessage) -> tuple[str, list[FunctionCall]]:
    called = [message.function_call] + [call.function for call in message.tool_calls or []]
    return message.content or "", [call for call in called if call is not None]


def _whole_calls(message: dict[str, Any]) -> list[tuple[str | None, FunctionCall]]:
    found: list[tuple[str | None, FunctionCall]] = []
    for item in map(as_dict, _call_items(message)):
        function = as_dict(item.get("function"))
        name = as_text(function.get("name"))
        if name is None:
            raise UpstreamMalformed("The provider called a tool without a name.")
        call = FunctionCall(name, arguments_text(function.get("arguments")))
        found.append((as_text(item.get("id")), call))
    return found


def _call_items(message: dict[str, Any]) -> list[Any]:
    """Tool calls; a legacy call counts as one without an id."""
    legacy = message.get("function_call")
    calls = as_list(message.get("tool_calls"))
    return calls or ([{"index": 0, "function": legacy}] if isinstance(legacy, dict) else [])


def meta_of(body: dict[str, Any], terms: Terms) -> AnswerMeta:
    """What the provider said of itself, without our folder."""
    folder = terms.folder.encode()
    unnamed = {k: v for k, v in body.items() if k in _KNOWN_TOP or folder not in _encode(v)}
    model = as_text(body.get("model"))
    return AnswerMeta(
        model=terms.ref if model is None else without_folder(model, terms.folder),
        fingerprint=as_text(body.get("system_fingerprint")),
        extra=_extra(unnamed, _KNOWN_TOP),
    )


def usage_of(value: Any) -> Usage | None:
    """OpenAI's usage object; None when it counts nothing."""
    if not isinstance(value, dict) or not as_count(value.get("prompt_tokens")):
        return None
    prompt = as_dict(value.get("prompt_tokens_details"))
    completion = as_dict(value.get("completion_tokens_details"))
    return Usage(
        prompt_tokens=as_count(value.get("prompt_tokens")),
        completion_tokens=as_count(value.get("completion_tokens")),
        cached_tokens=as_count(prompt.get("cached_tokens")),
        reasoning_tokens=as_count(completion.get("reasoning_tokens")),
        details=value,
    )


def _extra(given: dict[str, Any], known: frozenset[str]) -> dict[str, Any] | None:
    return {k: v for k, v in given.items() if k not in known and v is not None} or None


def _says_something(delta: ChatDelta) -> bool:
    silent = ChatDelta(choice=delta.choice)
    return msgspec.structs.astuple(delta) != msgspec.structs.astuple(silent)
