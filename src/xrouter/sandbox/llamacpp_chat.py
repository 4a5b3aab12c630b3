"""How the simulated llama.cpp server answers a chat, whole or as a stream, with its habits."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

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
    tokens_of,
    wish_of,
    words,
)
from xrouter.sandbox.kit import count_tokens
from xrouter.sandbox.llamacpp_errors import context_exceeded
from xrouter.sandbox.llamacpp_fields import COUNT, LIKELIHOODS, LIMIT, number
from xrouter.sandbox.llamacpp_model import BUILD, CONTEXT, Loaded, timings
from xrouter.sandbox.llamacpp_schema import wanted_schema
from xrouter.sandbox.llamacpp_shaped import shaped
from xrouter.sandbox.schema import example

Body = dict[str, Any]
Priced = tuple[Body, int]
"""A chunk, and how many tokens it costs."""

PING = b":\n\n"
_ALPHABET = string.ascii_letters + string.digits
_PINGS = 30.0
_TOP_LOGPROBS = 20
_encode = msgspec.json.Encoder().encode


class Reply(Struct):
    """One alternative: tokens of reasoning and of text, or calls (name, arguments)."""

    thoughts: list[str]
    tokens: list[str]
    calls: list[tuple[str, str]]
    finish: str

    @property
    def size(self) -> int:
        """All its tokens."""
        called = sum(count_tokens(name) + count_tokens(given) for name, given in self.calls)
        return len(self.thoughts) + len(self.tokens) + called


class Answer(Struct):
    """What is said to a chat. told: rivals of each token asked for, or None."""

    id: str
    model: str
    wish: Wish
    replies: list[Reply]
    prompt: int
    told: int | None

    @property
    def cached(self) -> int:
        """Prompt tokens that were in the slot already."""
        return min(self.wish.cached, self.prompt)

    @property
    def size(self) -> int:
        """New tokens of all alternatives."""
        return sum(reply.size for reply in self.replies)

    def usage(self, index: int) -> Body:
        """The usage object: that of one alternative; reasoning is not counted apart."""
        size = self.replies[index].size
        return {
            "completion_tokens": size,
            "prompt_tokens": self.prompt,
            "total_tokens": size + self.prompt,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }

    def timings(self, index: int) -> Body:
        """How long one alternative took."""
        return timings(self.prompt, self.cached, self.replies[index].size)


def random_id() -> str:
    """32 letters and digits, for answers and tool calls."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(32))


def token_limit(body: Body) -> int | None:
    """The largest answer asked for, at least one token; None for unlimited."""
    limit = number(body, LIMIT)
    return None if limit is None or limit < 0 else max(limit, 1)


def stops_of(body: Body) -> list[str]:
    """Stop sequences as a list."""
    stop = body.get("stop")
    given = stop if isinstance(stop, list) else [stop]
    return [one for one in given if isinstance(one, str)]


def count_of(body: Body) -> int:
    """How many alternatives are asked for."""
    return number(body, COUNT) or 1


def told_of(body: Body) -> int | None:
    """How many rivals of each token are to be told; None for no likelihoods at all."""
    told = number(body, LIKELIHOODS)
    if body.get("logprobs") is True and "n_probs" not in body:
        top = number(body, ("top_logprobs",))
        told = _TOP_LOGPROBS if top is None else top
    return told if told and told > 0 else None


def room(body: Body, prompt: int) -> int:
    """How many tokens may be made after a prompt of this size. Raises ServerError."""
    if prompt >= CONTEXT:
        raise context_exceeded(prompt, CONTEXT)
    limit = token_limit(body)
    return CONTEXT - prompt if limit is None else min(limit, CONTEXT - prompt)


def compose(body: Body, model: Loaded) -> Answer:
    """Decide what is said. Raises ServerError when the prompt is longer than a slot."""
    messages: list[Body] = body["messages"]
    wish = wish_of(last_user_text(messages))
    prompt = count_tokens(model.template.render(messages, body.get("tools")))
    limit = room(body, prompt)
    return Answer(
        id=f"chatcmpl-{random_id()}",
        model=model.name,
        wish=wish,
        replies=[_reply(body, model, wish, limit, variant) for variant in range(count_of(body))],
        prompt=prompt,
        told=told_of(body),
    )


def _reply(body: Body, model: Loaded, wish: Wish, limit: int, variant: int) -> Reply:
    thoughts = tokens_of(words(wish.think)) if wish.think and _thinks(body) else []
    if len(thoughts) >= limit:
        return Reply(thoughts[:limit], [], [], "length")
    results = results_of(body["messages"])
    calls = _calls(body, wish.text) if model.template.tools and not results else []
    if calls:
        return Reply(thoughts, [], calls, "tool_calls")
    said = reply(model.name, wish, results, variant)
    text = _constrained(body, wish, said) or said
    if body.get("reasoning_format") == "none" and thoughts:
        text = f"<think>\n{''.join(thoughts)}\n</think>\n{text}"
        thoughts = []
    tokens, finish = cut(text, stops_of(body), limit - len(thoughts))
    return Reply(thoughts, tokens, [], finish)


def _thinks(body: Body) -> bool:
    extra = body.get("chat_template_kwargs")
    off = isinstance(extra, dict) and extra.get("enable_thinking") is False
    return not off and body.get("reasoning_effort") != "none"


def _constrained(body: Body, wish: Wish, said: str) -> str | None:
    """The JSON that a schema or `json_object` demands, or None."""
    schema = wanted_schema(body)
    if schema is not None:
        return _encode(shaped(schema, wish.text, said)).decode()
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_object":
        return _encode({"said": wish.text}).decode()
    return None


def _calls(body: Body, text: str) -> list[tuple[str, str]]:
    """Tools the user mentions; the first one when `required`. An object is taken for `auto`."""
    tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools", [])}
    choice = body.get("tool_choice", "auto")
    if choice == "none":
        return []
    names = named_in(text, list(tools))
    if choice == "required":
        names = names or list(tools)[:1]
    if body.get("parallel_tool_calls") is False:
        names = names[:1]
    return [(name, _encode(example(tools[name].get("parameters"))).decode()) for name in names]


def whole(answer: Answer) -> Body:
    """The answer as one object; it counts the tokens of the first alternative alone."""
    return {
        "choices": [_choice(answer, index) for index in range(len(answer.replies))],
        "created": int(time.time()),
        "model": answer.model,
        "system_fingerprint": BUILD,
        "object": "chat.completion",
        "usage": answer.usage(0),
        "id": answer.id,
        "timings": answer.timings(0),
    }


def _choice(answer: Answer, index: int) -> Body:
    said = answer.replies[index]
    message: Body = {"role": "assistant", "content": "".join(said.tokens)}
    if said.thoughts:
        message["reasoning_content"] = "".join(said.thoughts)
    if said.calls:
        message["tool_calls"] = [
            {"type": "function", "function": {"name": name, "arguments": given}, "id": random_id()}
            for name, given in said.calls
        ]
    choice: Body = {"finish_reason": said.finish, "index": index, "message": message}
    if answer.told is not None and said.tokens:
        choice["logprobs"] = _logprobs(said.tokens, answer.told)
    return choice


def _logprobs(tokens: list[str], told: int) -> Body:
    return {"content": [_logprob(token, told) for token in tokens]}


def _logprob(token: str, told: int) -> Body:
    likely = -(number_of(token) % 1000) / 10_000
    others = [token, *(f"{token}{rank}" for rank in range(1, told))][:told]
    top = [_token(other, likely - rank) for rank, other in enumerate(others)]
    return _token(token, likely) | {"top_logprobs": top}


def _token(token: str, likely: float) -> Body:
    return {
        "id": number_of(token) % 100_000,
        "token": token,
        "bytes": list(token.encode()),
        "logprob": likely,
    }


def stream(answer: Answer, body: Body) -> tuple[list[bytes], list[int]]:
    """The frames, and for each how many new tokens had been sent after it."""
    options = body.get("stream_options")
    usage = isinstance(options, dict) and options.get("include_usage") is True
    frames: list[bytes] = []
    costs: list[int] = []
    cost = 0
    pings = _pings(answer.wish.pause, body)
    for chunk, price in _in_turns([_turns(answer, i, usage=usage) for i in _order(answer)]):
        for _ in range(pings if frames else 0):
            frames.append(PING)
            costs.append(cost)
        cost += price
        frames.append(_frame(answer, chunk, len(frames)))
        costs.append(cost)
    frames.append(b"data: [DONE]\n\n")
    return frames, costs


def _order(answer: Answer) -> list[int]:
    """The first alternative speaks last: the others are branched off from it before."""
    return [*range(1, len(answer.replies)), 0]


def _in_turns(speakers: list[list[list[Priced]]]) -> Iterator[Priced]:
    """All that is said, each alternative saying one token after the other."""
    for turns in zip_longest(*speakers, fillvalue=[]):
        for chunks in turns:
            yield from chunks


def _pings(pause: float, body: Body) -> int:
    """Comment lines between two frames: one for each ping interval of the silence."""
    every = body.get("sse_ping_interval", _PINGS)
    if not isinstance(every, int | float) or every <= 0:
        return 0
    return int(pause / every)


def _frame(answer: Answer, chunk: Body, place: int) -> bytes:
    """A chunk; `created` is when it is sent, not when the answer began."""
    head = {
        "created": int(time.time() + place * answer.wish.pause),
        "id": answer.id,
        "model": answer.model,
        "system_fingerprint": BUILD,
        "object": "chat.completion.chunk",
    }
    return b"data: " + _encode({"choices": chunk["choices"]} | head | chunk) + b"\n\n"


def _turns(answer: Answer, index: int, *, usage: bool) -> list[list[Priced]]:
    """What one alternative says, turn by turn: begin and end are told with a token."""
    chunks = _chunks(answer, index)
    if usage:
        chunks.append(({"choices": [], "usage": answer.usage(index)}, 0))
    chunks[-1][0]["timings"] = answer.timings(index)
    ends = 2 if usage else 1
    begin, tokens, end = chunks[:1], chunks[1:-ends], chunks[-ends:]
    turns = [[chunk] for chunk in tokens] or [[]]
    turns[0] = begin + turns[0]
    turns[-1] += end
    return turns


def _chunks(answer: Answer, index: int) -> list[Priced]:
    """The chunks of one alternative, each with its price in tokens."""
    said = answer.replies[index]

    def chunk(delta: Body, finish: str | None = None, token: str | None = None) -> Body:
        choice: Body = {"finish_reason": finish, "index": index, "delta": delta}
        if answer.told is not None and token is not None:
            choice["logprobs"] = _logprobs([token], answer.told)
        return {"choices": [choice]}

    chunks = [(chunk({"role": "assistant", "content": None}), 0)]
    chunks += [(chunk({"reasoning_content": thought}), 1) for thought in said.thoughts]
    chunks += [(chunk({"content": token}, token=token), 1) for token in said.tokens]
    for place, (name, given) in enumerate(said.calls):
        chunks += [(chunk({"tool_calls": [d]}), price) for d, price in _call(place, name, given)]
    chunks.append((chunk({}, finish=said.finish), 0))
    return chunks


def _call(place: int, name: str, given: str) -> list[Priced]:
    """A call in pieces. One without arguments never says `arguments` at all."""
    first: Body = {"index": place, "id": random_id(), "type": "function"}
    deltas: list[Priced] = [(first | {"function": {"name": name}}, count_tokens(name))]
    if given == "{}":
        return deltas
    told = ""
    for piece in pieces(given, 4):
        price = count_tokens(told + piece) - count_tokens(told)
        told += piece
        deltas.append(({"index": place, "function": {"arguments": piece}}, price))
    return deltas
