"""One call of Anthropic's Messages: how its answer is read, whole or event by event."""

from __future__ import annotations

from collections.abc import Callable
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
from xrouter.domain.chat import FunctionCall, ToolCall
from xrouter.domain.errors import InvalidRequest, UpstreamMalformed, XRouterError
from xrouter.providers.anthropic.encode import Encoded
from xrouter.providers.anthropic.errors import ErrorReader
from xrouter.providers.anthropic.json_text import JsonText
from xrouter.providers.anthropic.messages import FORMAT
from xrouter.providers.base import ChatExchange
from xrouter.wire.types import WireReply, WireRequest

Again = Callable[[str], ChatExchange | None]
"""Another exchange for the same request, from what the provider said when it refused this one."""

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_MAX_TOKENS = 1_000_000_000

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class AnthropicChat(ChatExchange):
    """legacy: the request used `functions`, and is answered so."""

    def __init__(
        self,
        wire: WireRequest,
        encoded: Encoded,
        errors: ErrorReader,
        again: Again,
        *,
        copies: int,
        legacy: bool,
    ) -> None:
        self.wire = wire
        self.dropped = tuple(sorted(encoded.dropped))
        self.copies = copies
        self._errors = errors
        self._again = again
        self._legacy = legacy
        self._json = JsonText() if encoded.json_only else None
        self._block: dict[str, Any] = {}
        self._pieces: list[str] = []
        self._calls = 0
        self._counts: dict[str, Any] = {}
        self._finish: str | None = None
        self._over = False

    @override
    def instead(self, error: XRouterError) -> ChatExchange | None:
        """In the way that this model takes, when it refused something that we had chosen."""
        return self._again(error.message) if isinstance(error, InvalidRequest) else None

    @override
    def answer(self, reply: WireReply) -> ChatAnswer:
        body = _object(reply.body)
        if body.get("type") == "error":
            raise self._errors.of_event(body)
        blocks = body.get("content")
        if not isinstance(blocks, list):
            raise UpstreamMalformed("The provider's answer has no content.")
        message = AnswerMessage()
        details: list[dict[str, Any]] = []
        for block in blocks:
            if isinstance(block, dict):
                self._read(block, message, details)
        if details:
            message.extra = {"reasoning_details": details}
        finish, extra = _ending(body, legacy=self._legacy and message.function_call is not None)
        message.content = self._close_json(message.content, finish)
        choice = Choice(message, finish, extra=extra)
        usage = body.get("usage")
        model = body.get("model")
        meta = AnswerMeta(model if isinstance(model, str) else None)
        return ChatAnswer([choice], _usage(usage) if isinstance(usage, dict) else None, meta)

    @override
    def feed(self, name: str, data: bytes) -> list[ChatDelta]:
        if self._over or not data.strip():
            return []
        event = _object(data)
        kind = event.get("type")
        if kind == "content_block_delta":
            return self._grow(_inner(event, "delta"))
        if kind == "content_block_start":
            return self._begin(_inner(event, "content_block"))
        if kind == "content_block_stop":
            return self._stop()
        if kind == "message_start":
            return self._start(_inner(event, "message"))
        if kind == "message_delta":
            return self._turn(event)
        if kind == "error":
            raise self._errors.of_event(event)
        if kind == "message_stop":
            self._over = True
        return []

    @override
    def end(self) -> list[ChatDelta]:
        if self._finish is None:
            raise UpstreamMalformed("The provider's stream ended in the middle of the answer.")
        return []

    @property
    @override
    def finished(self) -> bool:
        return self._over

    def _read(
        self, block: dict[str, Any], message: AnswerMessage, details: list[dict[str, Any]]
    ) -> None:
        kind = block.get("type")
        if kind == "text":
            text = _text(block, "text")
            said = text if self._json is None else self._json.feed(text)
            message.content = (message.content or "") + said
        elif kind == "tool_use":
            call = FunctionCall(_named(block, "name"), _arguments(block.get("input")))
            if self._legacy:
                message.function_call = message.function_call or call
            else:
                made = ToolCall(_named(block, "id"), function=call)
                message.tool_calls = [*(message.tool_calls or ()), made]
        else:
            thought = _thought(block)
            if thought is not None:
                details.append(thought)
                told = thought.get("text")
                message.reasoning = (message.reasoning or "") + told if told else message.reasoning

    def _start(self, message: dict[str, Any]) -> list[ChatDelta]:
        self._counts = _inner(message, "usage")
        model = message.get("model")
        return [ChatDelta(meta=AnswerMeta(model if isinstance(model, str) else None))]

    def _begin(self, block: dict[str, Any]) -> list[ChatDelta]:
        self._block = block
        self._pieces.clear()
        if block.get("type") == "text":
            return self._say(_text(block, "text"))
        if block.get("type") != "tool_use" or self._legacy:
            return []
        call = ToolCallDelta(self._calls, _named(block, "id"), _named(block, "name"))
        self._calls += 1
        return [ChatDelta(tool_calls=[call])]

    def _grow(self, delta: dict[str, Any]) -> list[ChatDelta]:
        kind = delta.get("type")
        if kind == "text_delta":
            return self._say(_text(delta, "text"))
        if kind == "thinking_delta":
            text = _text(delta, "thinking")
            self._pieces.append(text)
            return [ChatDelta(reasoning=text)] if text else []
        if kind == "signature_delta":
            self._block["signature"] = _text(delta, "signature")
        elif kind == "input_json_delta":
            return self._fill(_text(delta, "partial_json"))
        return []

    def _fill(self, piece: str) -> list[ChatDelta]:
        """A piece of a call's input; those of tools that the provider runs itself are not ours."""
        if not self._block:
            raise UpstreamMalformed("The provider's stream has a piece of a call that never began.")
        if self._block.get("type") != "tool_use":
            return []
        self._pieces.append(piece)
        if not piece or self._legacy:
            return []
        return [ChatDelta(tool_calls=[ToolCallDelta(self._calls - 1, arguments=piece)])]

    def _say(self, text: str) -> list[ChatDelta]:
        if text and self._json is not None:
            text = self._json.feed(text)
        return [ChatDelta(text=text)] if text else []

    def _stop(self) -> list[ChatDelta]:
        block, self._block = self._block, {}
        kind = block.get("type")
        if kind == "tool_use":
            return self._called(block)
        if kind == "thinking":
            block["thinking"] = _text(block, "thinking") + "".join(self._pieces)
        thought = _thought(block)
        return [ChatDelta(extra={"reasoning_details": [thought]})] if thought is not None else []

    def _called(self, block: dict[str, Any]) -> list[ChatDelta]:
        """A call is over; without a piece its input stands in its beginning."""
        arguments = "".join(self._pieces)
        if self._legacy:
            self._calls += 1
            call = FunctionCall(_named(block, "name"), arguments or _arguments(block.get("input")))
            return [ChatDelta(legacy_call=call)] if self._calls == 1 else []
        if arguments:
            return []
        given = ToolCallDelta(self._calls - 1, arguments=_arguments(block.get("input")))
        return [ChatDelta(tool_calls=[given])]

    def _turn(self, event: dict[str, Any]) -> list[ChatDelta]:
        self._counts = {**self._counts, **_inner(event, "usage")}
        usage = _usage(self._counts)
        told = _inner(event, "delta")
        if not isinstance(told.get("stop_reason"), str) or self._finish is not None:
            return [ChatDelta(usage=usage)]
        self._finish, extra = _ending(told, legacy=self._legacy and self._calls > 0)
        rest = self._close_json(None, self._finish)
        delta = ChatDelta(finish_reason=self._finish, choice_extra=extra, usage=usage)
        return [ChatDelta(text=rest), delta] if rest else [delta]

    def _close_json(self, text: str | None, finish: str) -> str | None:
        """The text, or what was held back when no JSON came, and need not have.

        Raises UpstreamMalformed when JSON was asked for, and something else came.
        """
        if self._json is None or self._json.whole:
            return text
        if finish == "stop":
            raise UpstreamMalformed("The model was asked for JSON and wrote something else.")
        return text if self._json.begun else self._json.held or None


def _thought(block: dict[str, Any]) -> dict[str, Any] | None:
    """Thinking as an object that can be sent back."""
    if block.get("type") == "thinking":
        text, signature = _text(block, "thinking"), _text(block, "signature")
        return {"type": "reasoning.text", "text": text, "signature": signature, "format": FORMAT}
    if block.get("type") == "redacted_thinking":
        return {"type": "reasoning.encrypted", "data": _named(block, "data"), "format": FORMAT}
    return None


def _ending(told: dict[str, Any], *, legacy: bool) -> tuple[str, dict[str, Any] | None]:
    """The finish reason, and what the provider says of the end beside it.

    stop_reason: the stop sequence that was hit. stop_details: of a refusal.
    """
    reason = _text(told, "stop_reason")
    extra: dict[str, Any] = {"native_finish_reason": reason} if reason else {}
    if isinstance(told.get("stop_sequence"), str):
        extra["stop_reason"] = told["stop_sequence"]
    if isinstance(told.get("stop_details"), dict):
        extra["stop_details"] = told["stop_details"]
    return "function_call" if legacy else _FINISH.get(reason, "stop"), extra or None


def _usage(told: dict[str, Any]) -> Usage:
    """OpenAI counts what was cached as a part of the prompt; Anthropic beside it."""
    written = _count(told.get("cache_creation_input_tokens"))
    cached = _count(told.get("cache_read_input_tokens"))
    thought = _inner(told, "output_tokens_details").get("thinking_tokens")
    return Usage(
        prompt_tokens=_count(told.get("input_tokens")) + written + cached,
        completion_tokens=_count(told.get("output_tokens")),
        cached_tokens=cached,
        reasoning_tokens=_count(thought),
        cache_write_tokens=written or None,
    )


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return min(max(value, 0), _MAX_TOKENS)


def _arguments(given: Any) -> str:
    return _encode(given if isinstance(given, dict) else {}).decode()


def _text(given: dict[str, Any], name: str) -> str:
    """A text, "" where there is none. Raises UpstreamMalformed for anything else."""
    found = given.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise UpstreamMalformed(f"The provider's answer has a '{name}' that is no text.")
    return found


def _named(block: dict[str, Any], name: str) -> str:
    """A text that a block is nothing without. Raises UpstreamMalformed where it lacks."""
    found = _text(block, name)
    if not found:
        raise UpstreamMalformed(f"The provider's answer has a block without its '{name}'.")
    return found


def _inner(given: dict[str, Any], name: str) -> dict[str, Any]:
    found = given.get(name)
    return found if isinstance(found, dict) else {}


def _object(data: bytes) -> dict[str, Any]:
    try:
        found: Any = _decode(data)
    except (ValueError, RecursionError):
        raise UpstreamMalformed("The provider's answer is not JSON.") from None
    if not isinstance(found, dict):
        raise UpstreamMalformed("The provider's answer is not a JSON object.")
    return found
