"""How the simulated Mistral answers a chat: what is said (`compose`), whole or as a stream.

Marks in the user's text: [[model_length]] the context is full in the middle, [[error]] it breaks
off, [[odd_call]] a call without id whose arguments are an object, [[signed]] thinking is signed,
[[reference]] the text comes as chunks with a reference.
"""

from __future__ import annotations

import time
from itertools import zip_longest
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Struct

from xrouter.sandbox.generate import (
    cut,
    last_user_text,
    number_of,
    reply,
    results_of,
    text_of,
    tokens_of,
    total_tokens,
    words,
)
from xrouter.sandbox.kit import count_tokens
from xrouter.sandbox.mistral.errors import too_long
from xrouter.sandbox.mistral.models import Model
from xrouter.sandbox.schema import example
from xrouter.sandbox.script import Script, arguments_for, mentioned_tools, script_of

Body = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_THOUGHTS = {"none": 0, "minimal": 2, "low": 4, "medium": 8, "high": 16, "xhigh": 24, "max": 32}
_FINISHES = {"model_length": "model_length", "error": "error"}


class Said(Struct):
    """One alternative."""

    tokens: list[str]
    finish: str
    calls: list[dict[str, Any]]


class Turn(Struct):
    """An answer, ready to be written. thoughts: tokens of reasoning; told: logprobs, or None."""

    id: str
    created: int
    model: str
    script: Script
    alternatives: list[Said]
    thoughts: list[str]
    prompt: int
    cached: int
    told: bool

    @property
    def spoken(self) -> int:
        """Completion tokens, reasoning included."""
        return sum(
            len(said.tokens) + len(self.thoughts) + sum(map(_price, said.calls))
            for said in self.alternatives
        )

    def usage(self) -> dict[str, Any]:
        """The usage object."""
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt,
            "total_tokens": self.prompt + self.spoken,
            "completion_tokens": self.spoken,
        }
        if self.cached:
            usage["num_cached_tokens"] = self.cached
        return usage

    def head(self, kind: str) -> dict[str, Any]:
        """The fields that an answer and each chunk begin with."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def compose(body: Body, model: Model) -> Turn:
    """Decide what is said. Raises ApiError when the prompt does not fit."""
    messages: list[dict[str, Any]] = body["messages"]
    script = script_of(last_user_text(messages))
    prompt = _prompt_tokens(body)
    if prompt > model.context:
        raise too_long(prompt, body["model"], model.context)
    thoughts = _thoughts(body, model, script)
    return Turn(
        id=uuid4().hex,
        created=int(time.time()),
        model=body["model"],
        script=script,
        alternatives=[_say(body, model, script, n) for n in range(body.get("n") or 1)],
        thoughts=thoughts,
        prompt=prompt,
        cached=min(script.wish.cached, prompt),
        told=body.get("logprobs") is True,
    )


def completion(turn: Turn) -> dict[str, Any]:
    """The whole answer."""
    choices = []
    for index, said in enumerate(turn.alternatives):
        message = {"role": "assistant", "tool_calls": said.calls or None, "content": ""}
        message["content"] = _whole(turn, said)
        choice = {"index": index, "finish_reason": said.finish, "message": message}
        if turn.told:
            choice["logprobs"] = {"content": [_logprob(token) for token in said.tokens]}
        choices.append(choice)
    return turn.head("chat.completion") | {"usage": turn.usage(), "choices": choices}


def stream(turn: Turn) -> tuple[list[bytes], list[int]]:
    """The frames, and for each how many completion tokens had been sent after it."""
    head = turn.head("chat.completion.chunk")
    frames: list[bytes] = []
    costs: list[int] = []
    cost = 0
    lanes = [_lane(turn, index) for index in range(len(turn.alternatives))]
    rows = [step for row in zip_longest(*lanes) for step in row if step is not None]
    for place, (choice, price) in enumerate(rows):
        cost += price
        last = {"usage": turn.usage()} if place == len(rows) - 1 else {}
        frames.append(b"data: " + _encode(head | {"choices": [choice]} | last) + b"\n\n")
        costs.append(cost)
    return [*frames, b"data: [DONE]\n\n"], costs


def _whole(turn: Turn, said: Said) -> Any:
    text = "".join(said.tokens)
    chunks: list[dict[str, Any]] = []
    if turn.thoughts:
        chunks.append(_thinking(turn, "".join(turn.thoughts), closed=True))
    if "reference" in turn.script.marks and text:
        chunks += [_text(text), {"type": "reference", "reference_ids": [1, 2]}]
    elif chunks and text:
        chunks.append(_text(text))
    return chunks or text


def _lane(turn: Turn, index: int) -> list[tuple[dict[str, Any], int]]:
    """The chunks' choices of one alternative, each with its price in tokens."""
    said = turn.alternatives[index]

    def step(delta: dict[str, Any], price: int, finish: str | None = None) -> Any:
        return {"index": index, "delta": delta, "finish_reason": finish}, price

    lane = [step({"role": "assistant", "content": ""}, 0)]
    lane += [step({"content": [_thinking(turn, t, closed=False)]}, 1) for t in turn.thoughts]
    if turn.thoughts:
        lane.append(step({"content": [_thinking(turn, "", closed=True)]}, 0))
    for token in said.tokens:
        choice, price = step({"content": token}, 1)
        if turn.told:
            choice["logprobs"] = {"content": [_logprob(token)]}
        lane.append((choice, price))
    if said.calls:
        price = sum(map(_price, said.calls))
        delta = {"content": "", "tool_calls": said.calls}
        return [*lane, step(delta, price, said.finish)]
    # the enumeration of streams has no model_length
    finish = "length" if said.finish == "model_length" else said.finish
    return [*lane, step({"content": ""}, 0, finish)]


def _thinking(turn: Turn, text: str, *, closed: bool) -> dict[str, Any]:
    chunk: dict[str, Any] = {"type": "thinking", "thinking": [_text(text)] if text else []}
    if closed:
        chunk["closed"] = True
        if "signed" in turn.script.marks:
            chunk["signature"] = f"sig-{number_of(turn.model):08x}"
    return chunk


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _prompt_tokens(body: Body) -> int:
    texts = [text_of(message.get("content")) for message in body["messages"]]
    for message in body["messages"]:
        texts += [_encode(call["function"]).decode() for call in message.get("tool_calls") or ()]
    if body.get("tools"):
        texts.append(_encode(body["tools"]).decode())
    return total_tokens(texts)


def _thoughts(body: Body, model: Model, script: Script) -> list[str]:
    if model.mode:
        count = 0 if body.get("prompt_mode", "reasoning") is None else _THOUGHTS["medium"]
    else:
        count = _THOUGHTS[body.get("reasoning_effort") or "none"] if model.effort else 0
    return tokens_of(words(script.wish.think or count)) if count else []


def _say(body: Body, model: Model, script: Script, variant: int) -> Said:
    messages = body["messages"]
    results = results_of(messages)
    calls = [] if results else _calls(body, script)
    if calls:
        return Said([], "tool_calls", calls)
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        text = _encode(example(wanted["json_schema"]["schema"])).decode()
    elif wanted.get("type") == "json_object":
        text = _encode({"model": model.id, "said": script.wish.text}).decode()
    else:
        text = reply(model.id, script.wish, results, variant)
    if messages[-1].get("prefix"):
        text = text_of(messages[-1].get("content")) + text
    stop = body.get("stop") or []
    tokens, finish = cut(text, [stop] if isinstance(stop, str) else stop, body.get("max_tokens"))
    marked = next((_FINISHES[mark] for mark in _FINISHES if mark in script.marks), None)
    return Said(tokens[: len(tokens) // 2] if marked else tokens, marked or finish, [])


def _calls(body: Body, script: Script) -> list[dict[str, Any]]:
    """Tools that are forced, else those that the user mentions."""
    functions = [tool["function"] for tool in body.get("tools") or () if "function" in tool]
    tools = {function["name"]: function for function in functions}
    choice = body.get("tool_choice") or "auto"
    if choice == "none" or not tools:
        return []
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        names = [name] if name in tools else []
    else:
        names = mentioned_tools(script.wish.text, list(tools))
        if not names and choice in ("any", "required"):
            names = list(tools)[:1]
    if body.get("parallel_tool_calls") is False:
        names = names[:1]
    odd = "odd_call" in script.marks
    return [_call(tools[name], place, odd=odd) for place, name in enumerate(names)]


def _call(function: dict[str, Any], place: int, *, odd: bool) -> dict[str, Any]:
    arguments = arguments_for(function["parameters"])
    given: Any = arguments if odd else _encode(arguments).decode()
    inner = {"name": function["name"], "arguments": given}
    return {"id": "null" if odd else uuid4().hex[:9], "function": inner, "index": place}


def _price(call: dict[str, Any]) -> int:
    return count_tokens(_encode(call["function"]).decode())


def _logprob(token: str) -> dict[str, Any]:
    likely = -(number_of(token) % 1000) / 10_000
    return {"token": token, "logprob": likely, "bytes": list(token.encode()), "top_logprobs": []}
