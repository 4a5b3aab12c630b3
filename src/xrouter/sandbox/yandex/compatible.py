"""Answers of the OpenAI-compatible API, which differ by the family of the model.

Yandex: ids are function names, few large deltas, no usage in a stream. Alice: the same in small
deltas; with tools on auto no finish reason at all, and on required a marker leaks into the text.
Open (vLLM): token deltas, empty strings in continuations, usage at the end of every stream.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Struct

from xrouter.sandbox.generate import pieces, tokens_of
from xrouter.sandbox.kit import count_tokens
from xrouter.sandbox.script import phrases
from xrouter.sandbox.yandex.models import ALICE, OPEN, YANDEX
from xrouter.sandbox.yandex.speech import AUTO, REQUIRED, Ask, Call, Said

PHRASE = 8
"""Words in a delta of the Yandex family."""
LEAK = "[TOOL_CALL_END]"
DONE = b"data: [DONE]\n\n"
_PIECES = 4

Body = dict[str, Any]
_encode = msgspec.json.Encoder().encode


class Turn(Struct):
    """An answer with its id and time."""

    ask: Ask
    said: Said
    id: str
    created: int

    @property
    def family(self) -> str:
        """Who serves the model."""
        return self.ask.chosen.model.family

    @property
    def leaks(self) -> bool:
        """Whether the marker of a call's end gets into the text."""
        return self.family == ALICE and self.ask.choice == REQUIRED and bool(self.said.calls)

    @property
    def forgets(self) -> bool:
        """Whether the stream has no finish reason."""
        return self.family == ALICE and self.ask.choice == AUTO and bool(self.ask.tools)

    def head(self, kind: str) -> Body:
        """The fields that an answer and each chunk begin with."""
        shown = self.ask.chosen.shown
        return {"id": self.id, "object": kind, "created": self.created, "model": shown}

    def usage(self) -> Body:
        """The usage object."""
        tokens = self.said.tokens
        usage: Body = {
            "prompt_tokens": self.ask.prompt,
            "total_tokens": self.ask.prompt + tokens,
            "completion_tokens": tokens,
        }
        if self.said.thought:
            thought = count_tokens(self.said.thought)
            usage["completion_tokens_details"] = {"reasoning_tokens": thought}
        return usage


def turn_of(ask: Ask, said: Said) -> Turn:
    """The answer to be written."""
    prefix = "chatcmpl-" if ask.chosen.model.family == OPEN else ""
    return Turn(ask, said, f"{prefix}{uuid4()}", int(time.time()))


def completion(turn: Turn) -> Body:
    """The whole answer."""
    message: Body = {"role": "assistant", "content": turn.said.text}
    if turn.leaks:
        message["content"] = LEAK
    if turn.said.thought:
        message["reasoning_content"] = turn.said.thought
    if turn.said.calls:
        message["tool_calls"] = [
            _wire(turn, call, place) for place, call in enumerate(turn.said.calls)
        ]
        if turn.family == OPEN:
            message["content"] = None
    choice = {"index": 0, "message": message, "finish_reason": turn.said.finish}
    return turn.head("chat.completion") | {"choices": [choice], "usage": turn.usage()}


def stream(turn: Turn) -> list[bytes]:
    """The frames."""
    if turn.family == OPEN:
        return _open_stream(turn)
    deltas: list[Body] = []
    if turn.said.calls:
        calls = [_wire(turn, call, place) for place, call in enumerate(turn.said.calls)]
        deltas.append({"tool_calls": calls})
        if turn.leaks:
            deltas.append({"content": LEAK})
    elif turn.family == YANDEX:
        deltas += [{"content": part} for part in phrases(turn.said.text, PHRASE)]
    else:
        deltas += [{"content": token} for token in tokens_of(turn.said.text)]
    deltas = deltas or [{"content": ""}]
    deltas[0] = {"role": "assistant"} | deltas[0]
    frames = [_chunk(turn, delta) for delta in deltas[:-1]]
    finish = None if turn.forgets else turn.said.finish
    return [*frames, _chunk(turn, deltas[-1], finish), DONE]


def _open_stream(turn: Turn) -> list[bytes]:
    deltas: list[Body] = [{"role": "assistant"}]
    deltas += [{"reasoning_content": token} for token in tokens_of(turn.said.thought)]
    deltas += [{"content": token} for token in tokens_of(turn.said.text)]
    for place, call in enumerate(turn.said.calls):
        deltas += [{"tool_calls": [piece]} for piece in _call_pieces(turn, call, place)]
    frames = [_chunk(turn, delta) for delta in deltas]
    frames.append(_chunk(turn, {}, turn.said.finish))
    usage = turn.head("chat.completion.chunk") | {"choices": [], "usage": turn.usage()}
    return [*frames, _frame(usage), DONE]


def _call_pieces(turn: Turn, call: Call, place: int) -> list[Body]:
    """A call in pieces; a vision model begins the arguments at once, and leaves out the type."""
    early = turn.ask.chosen.model.vision
    start = _wire(turn, call, place)
    parts = pieces(call.text(), _PIECES)
    start["function"]["arguments"] = parts[0] if early else ""
    if early:
        start["type"] = ""
    rest = parts[1:] if early else parts
    return [
        start,
        *(
            {"index": place, "id": "", "type": "", "function": {"name": "", "arguments": part}}
            for part in rest
        ),
    ]


def _wire(turn: Turn, call: Call, place: int) -> Body:
    """A call as it is written, whole or not; the Yandex families name it by its function."""
    return {
        "index": place,
        "id": f"chatcmpl-tool-{uuid4().hex}" if turn.family == OPEN else call.name,
        "type": "function",
        "function": {"name": call.name, "arguments": call.text()},
    }


def _chunk(turn: Turn, delta: Body, finish: str | None = None) -> bytes:
    choice: Body = {"index": 0, "delta": delta}
    if finish is not None:
        choice["finish_reason"] = finish
    return _frame(turn.head("chat.completion.chunk") | {"choices": [choice]})


def _frame(chunk: Body) -> bytes:
    return b"data: " + _encode(chunk) + b"\n\n"
