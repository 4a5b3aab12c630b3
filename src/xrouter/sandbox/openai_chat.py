"""How the simulated OpenAI answers a chat: what is said (`compose`), whole or as a stream."""

from __future__ import annotations

import time
from itertools import zip_longest
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Struct

from xrouter.sandbox.generate import (
    Wish,
    cut,
    last_user_text,
    named_in,
    number_of,
    pieces,
    reply,
    results_of,
    text_of,
    total_tokens,
    wish_of,
)
from xrouter.sandbox.kit import count_tokens
from xrouter.sandbox.openai_errors import context_exceeded
from xrouter.sandbox.openai_models import Model
from xrouter.sandbox.schema import example

Body = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_THINKING = {"none": 0, "minimal": 0, "low": 8, "high": 32, "xhigh": 64, "max": 128}
_THINKING_USUAL = 16


class Call(Struct):
    """A call of a tool; `given` is JSON text for a function, free text for a custom tool."""

    id: str
    kind: str
    name: str
    given: str

    def wire(self, given: str) -> dict[str, Any]:
        """As OpenAI writes it, with these arguments."""
        field = "arguments" if self.kind == "function" else "input"
        inner = {"name": self.name, field: given}
        return {"id": self.id, "type": self.kind, self.kind: inner}

    @property
    def tokens(self) -> int:
        """Tokens of name and arguments."""
        return count_tokens(self.name) + count_tokens(self.given)


class Said(Struct):
    """One alternative: tokens of text, or calls."""

    tokens: list[str]
    finish: str
    calls: list[Call]


class Turn(Struct):
    """An answer, ready to be written. thought: reasoning tokens; told: logprobs asked for, or None.

    legacy: the request used `functions`.
    """

    id: str
    created: int
    model: Model
    tier: str
    wish: Wish
    alternatives: list[Said]
    prompt: int
    cached: int
    thought: int
    told: int | None
    legacy: bool

    @property
    def spoken(self) -> int:
        """Completion tokens without reasoning, of all alternatives."""
        return sum(
            len(said.tokens) + sum(call.tokens for call in said.calls) for said in self.alternatives
        )

    def usage(self) -> dict[str, Any]:
        """The usage object."""
        completion = self.spoken + self.thought
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": completion,
            "total_tokens": self.prompt + completion,
            "prompt_tokens_details": {"cached_tokens": self.cached, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": self.thought,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def head(self, kind: str) -> dict[str, Any]:
        """The fields that an answer and each chunk begin with."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model.snapshot,
            "service_tier": self.tier,
            "system_fingerprint": f"fp_{number_of(self.model.snapshot):08x}5a",
        }


def compose(body: Body, model: Model) -> Turn:
    """Decide what is said. Raises ApiError when prompt and answer do not fit the context."""
    messages: list[dict[str, Any]] = body["messages"]
    wish = wish_of(last_user_text(messages))
    prompt = _prompt_tokens(body)
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if prompt + (limit or 0) > model.context:
        raise context_exceeded(model.context, prompt, limit or 0)
    thought = _thought(body, model, wish, limit)
    left = None if limit is None else limit - thought
    alternatives = [_say(body, model, wish, left, variant) for variant in range(body.get("n") or 1)]
    tier = body.get("service_tier") or "auto"
    return Turn(
        id=f"chatcmpl-{uuid4().hex}",
        created=int(time.time()),
        model=model,
        tier={"auto": "default", "fast": "priority"}.get(tier, tier),
        wish=wish,
        alternatives=alternatives,
        prompt=prompt,
        cached=min(wish.cached, prompt),
        thought=thought,
        told=(body.get("top_logprobs") or 0) if body.get("logprobs") else None,
        legacy=bool(body.get("functions")) and not body.get("tools"),
    )


def _prompt_tokens(body: Body) -> int:
    texts: list[str] = []
    for message in body["messages"]:
        texts.append(text_of(message.get("content")))
        for call in message.get("tool_calls") or []:
            inner = call[call["type"]]
            texts += [inner["name"], inner.get("arguments", inner.get("input", ""))]
    for name in ("tools", "functions"):
        if body.get(name):
            texts.append(_encode(body[name]).decode())
    return total_tokens(texts)


def _thought(body: Body, model: Model, wish: Wish, limit: int | None) -> int:
    if not model.reasoning:
        return 0
    wanted = wish.think or _THINKING.get(body.get("reasoning_effort") or "medium", _THINKING_USUAL)
    return wanted if limit is None else min(wanted, limit)


def _say(body: Body, model: Model, wish: Wish, limit: int | None, variant: int) -> Said:
    results = results_of(body["messages"])
    calls = [] if results else _calls(body, wish.text, variant)
    if calls:
        return Said([], "tool_calls", calls)
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        text = _encode(example(wanted["json_schema"].get("schema"))).decode()
    elif wanted.get("type") == "json_object":
        text = _encode({"model": model.id, "said": wish.text}).decode()
    else:
        text = reply(model.id, wish, results, variant)
    stop = body.get("stop") or []
    tokens, finish = cut(text, [stop] if isinstance(stop, str) else stop, limit)
    return Said(tokens, finish, [])


def _calls(body: Body, text: str, variant: int) -> list[Call]:
    """Tools that are forced, else those whose names the user mentions."""
    tools = {tool[tool["type"]]["name"]: tool for tool in body.get("tools") or []}
    for function in body.get("functions") or []:
        tools.setdefault(function["name"], {"type": "function", "function": function})
    choice = body.get("tool_choice", "auto")
    if "tool_choice" not in body and "function_call" in body:
        legacy = body["function_call"]
        choice = {"type": "function", "function": legacy} if isinstance(legacy, dict) else legacy
    tools, forced = _allowed(tools, choice)
    names = named_in(text, list(tools))
    if forced:
        names = names or list(tools)[:1]
    if body.get("parallel_tool_calls") is False or body.get("functions"):
        names = names[:1]
    return [_call(tools[name], text, f"{variant}{place}") for place, name in enumerate(names)]


def _allowed(tools: dict[str, Any], choice: Any) -> tuple[dict[str, Any], bool]:
    """The tools that may be called, and whether one must be."""
    if choice == "none":
        return {}, False
    if not isinstance(choice, dict):
        return tools, choice == "required"
    if choice.get("type") == "allowed_tools":
        allowed = choice["allowed_tools"]
        named = [one[one["type"]]["name"] for one in allowed["tools"]]
        return {name: tools[name] for name in named}, allowed["mode"] == "required"
    name = choice[choice["type"]]["name"]
    return {name: tools[name]}, True


def _call(tool: dict[str, Any], text: str, place: str) -> Call:
    kind: str = tool["type"]
    name: str = tool[kind]["name"]
    given = text
    if kind == "function":
        given = _encode(example(tool["function"].get("parameters"))).decode()
    return Call(f"call_{number_of(place + name + text):08x}{uuid4().hex[:16]}", kind, name, given)


def completion(turn: Turn) -> dict[str, Any]:
    """The whole answer."""
    choices = [_choice(turn, index) for index in range(len(turn.alternatives))]
    return turn.head("chat.completion") | {"choices": choices, "usage": turn.usage()}


def _choice(turn: Turn, index: int) -> dict[str, Any]:
    said = turn.alternatives[index]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if said.calls else "".join(said.tokens),
        "refusal": None,
        "annotations": [],
    }
    if said.calls and turn.legacy:
        message["function_call"] = {"name": said.calls[0].name, "arguments": said.calls[0].given}
    elif said.calls:
        message["tool_calls"] = [call.wire(call.given) for call in said.calls]
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(said.tokens, turn.told),
        "finish_reason": _finish(said, turn),
    }


def _finish(said: Said, turn: Turn) -> str:
    return "function_call" if turn.legacy and said.calls else said.finish


def _logprobs(tokens: list[str], told: int | None) -> dict[str, Any] | None:
    if told is None or not tokens:
        return None
    return {"content": [_logprob(token, told) for token in tokens], "refusal": None}


def _logprob(token: str, told: int) -> dict[str, Any]:
    likely = -(number_of(token) % 1000) / 10_000
    others = [token, *(f"{token}{rank}" for rank in range(1, told))][:told]
    top = [_token(other, likely - rank) for rank, other in enumerate(others)]
    return _token(token, likely) | {"top_logprobs": top}


def _token(token: str, likely: float) -> dict[str, Any]:
    return {"token": token, "logprob": likely, "bytes": list(token.encode())}


def stream(turn: Turn, *, usage: bool, padded: bool) -> tuple[list[bytes], list[int]]:
    """The frames, and for each how many completion tokens had been sent after it.

    usage: a last chunk carries it, and `usage: null` all others. padded: with `obfuscation`.
    """
    head = turn.head("chat.completion.chunk")
    tail: dict[str, Any] = {"usage": None} if usage else {}
    frames: list[bytes] = []
    costs: list[int] = []
    cost = turn.thought
    lanes = [list(_lane(turn, index)) for index in range(len(turn.alternatives))]
    for row in zip_longest(*lanes):
        for step in filter(None, row):
            choice, price = step
            cost += price
            padding = {"obfuscation": _padding(len(frames))} if padded else {}
            frames.append(_frame(head | {"choices": [choice]} | tail | padding))
            costs.append(cost)
    if usage:
        frames.append(_frame(head | {"choices": [], "usage": turn.usage()}))
    frames.append(b"data: [DONE]\n\n")
    return frames, costs


def _frame(chunk: dict[str, Any]) -> bytes:
    return b"data: " + _encode(chunk) + b"\n\n"


def _padding(place: int) -> str:
    return "pad0ing1w1thn0mean1ng"[: 3 + place * 7 % 18]


def _lane(turn: Turn, index: int) -> list[tuple[dict[str, Any], int]]:
    """The chunks' choices of one alternative, each with its price in tokens."""
    said = turn.alternatives[index]

    def step(delta: dict[str, Any], tokens: list[str], price: int) -> tuple[dict[str, Any], int]:
        logprobs = _logprobs(tokens, turn.told)
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}
        return choice, price

    first = {"role": "assistant", "content": None if said.calls else "", "refusal": None}
    lane = [step(first, [], 0)]
    lane += [step({"content": token}, [token], 1) for token in said.tokens]
    for place, call in enumerate(said.calls):
        lane += [step(delta, [], price) for delta, price in _call_deltas(call, place, turn.legacy)]
    last, _ = step({}, [], 0)
    return [*lane, (last | {"finish_reason": _finish(said, turn)}, 0)]


def _call_deltas(call: Call, place: int, legacy: bool) -> list[tuple[dict[str, Any], int]]:  # noqa: FBT001 - a plain fact of the turn
    """A call in pieces: name first, arguments after it."""
    deltas: list[tuple[dict[str, Any], int]]
    field = "arguments" if call.kind == "function" else "input"
    price = count_tokens(call.name)
    if legacy:
        deltas = [({"function_call": {"name": call.name, "arguments": ""}}, price)]
    else:
        deltas = [({"tool_calls": [{"index": place} | call.wire("")]}, price)]
    told = ""
    for piece in pieces(call.given, 4):
        price = count_tokens(told + piece) - count_tokens(told)
        told += piece
        inner = {field: piece}
        if legacy:
            deltas.append(({"function_call": inner}, price))
        else:
            deltas.append(({"tool_calls": [{"index": place, call.kind: inner}]}, price))
    return deltas
