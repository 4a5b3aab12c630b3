"""How the simulated GigaChat answers a chat: what is said (`compose`), whole or as a stream.

Marks in the last user text:

    [[blacklist]]    the answer is a refusal, finish reason `blacklist`
    [[error]]        finish reason `error`
    [[split]]        a function call streams in two chunks: the call, then its finish reason
    [[preface]]      a text comes before a function call
    [[in_progress]]  the stream begins with a chunk of a built-in function at work

There is no JSON mode: a system message that speaks of JSON is obeyed, as a model would.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Struct

from xrouter.sandbox.generate import cut, last_user_text, reply, total_tokens, words
from xrouter.sandbox.gigachat.errors import Refusal
from xrouter.sandbox.gigachat.models import Model
from xrouter.sandbox.kit import count_tokens
from xrouter.sandbox.schema import example
from xrouter.sandbox.script import Script, arguments_for, mentioned_tools, phrases, script_of

Body = dict[str, Any]
Said = tuple[str, str, dict[str, Any] | None]
"""Text, finish reason, function call."""

PHRASE = 4
"""Words in a delta."""
REFUSAL = "Об этом я говорить не могу. Давайте сменим тему."
PREFACE = "One moment, let me look."
_THINKING = {"low": 8, "medium": 16, "high": 32}

_encode = msgspec.json.Encoder().encode


class Answer(Struct):
    """An answer, ready to be written. prompt: tokens with those from the cache."""

    model: Model
    created: int
    script: Script
    thought: str
    text: str
    call: dict[str, Any] | None
    finish: str
    prompt: int
    cached: int

    @property
    def completion(self) -> int:
        """Tokens of thought, text and call."""
        return count_tokens(self.thought) + count_tokens(self.text) + self.call_tokens

    @property
    def call_tokens(self) -> int:
        """Tokens of the call's name and arguments."""
        return (
            0 if self.call is None else count_tokens(_encode(self.call["function_call"]).decode())
        )

    def usage(self) -> dict[str, int]:
        """The usage object: what came from the cache is counted beside the prompt, not in it."""
        prompt = self.prompt - self.cached
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self.completion,
            "total_tokens": prompt + self.completion,
            "precached_prompt_tokens": self.cached,
        }


def compose(body: Body, model: Model, cached: int) -> Answer:
    """Decide what is said. cached: tokens of the prompt known from this session.

    Raises Refusal when the prompt does not fit.
    """
    messages: list[Body] = body["messages"]
    script = script_of(last_user_text(messages))
    prompt = prompt_tokens(body)
    if prompt > model.context:
        raise Refusal(413)
    limit: int | None = body.get("max_tokens")
    thought = _thought(body, model, script, limit)
    left = None if limit is None else limit - count_tokens(thought)
    text, finish, call = _say(body, model, script, left)
    return Answer(
        model=model,
        created=int(time.time()),
        script=script,
        thought=thought,
        text=text,
        call=call,
        finish=finish,
        prompt=prompt,
        cached=min(max(cached, script.wish.cached), prompt),
    )


def prompt_tokens(body: Body) -> int:
    """Tokens of messages and functions."""
    functions = body.get("functions")
    told = [_encode(functions).decode()] if functions else []
    return sum(map(message_tokens, body["messages"])) + total_tokens(told)


def message_tokens(message: Body) -> int:
    """Tokens of one message."""
    call = message.get("function_call")
    return total_tokens([message["content"], _encode(call).decode() if call else ""])


def _thought(body: Body, model: Model, script: Script, limit: int | None) -> str:
    effort = body.get("reasoning_effort")
    if not model.reasoning or effort is None:
        return ""
    tokens, _ = cut(words(script.wish.think or _THINKING[effort]), [], limit)
    return "".join(tokens)


def _say(body: Body, model: Model, script: Script, limit: int | None) -> Said:
    if "blacklist" in script.marks:
        return REFUSAL, "blacklist", None
    if "error" in script.marks:
        return "", "error", None
    results, called = _since_user(body["messages"])
    name = _wanted_call(body, script, called)
    if name is not None:
        return PREFACE if "preface" in script.marks else "", "function_call", _call(body, name)
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        text = msgspec.json.format(_encode(example(wanted["schema"])), indent=2).decode()
    elif _told_json(body["messages"][0]):
        text = _encode({"model": model.id, "said": script.wish.text}).decode()
    else:
        text = reply(model.shown, script.wish, results)
    tokens, finish = cut(text, [], limit)
    return "".join(tokens), finish, None


def _told_json(first: Body) -> bool:
    return first["role"] == "system" and "json" in first["content"].lower()


def _since_user(messages: list[Body]) -> tuple[list[str], list[str]]:
    """Results and names of the functions called since the last user message."""
    results: list[str] = []
    called: list[str] = []
    for message in messages:
        if message["role"] == "user":
            results, called = [], []
        elif message["role"] == "function":
            results.append(message["content"])
            called.append(message["name"])
    return results, called


def _wanted_call(body: Body, script: Script, called: list[str]) -> str | None:
    """The one function to call now: the forced one, or the next that the user mentions.

    A forced function that has given its result is not called again.
    """
    choice = body.get("function_call") or "none"
    if isinstance(choice, dict):
        return None if called else str(choice["name"])
    if choice == "none":
        return None
    names = [function["name"] for function in body.get("functions") or []]
    return next(iter(mentioned_tools(script.wish.text, names, called)), None)


def _call(body: Body, name: str) -> dict[str, Any]:
    """The part of a message that is a call."""
    function = next(one for one in body["functions"] if one["name"] == name)
    choice = body["function_call"]
    given = choice.get("partial_arguments", {}) if isinstance(choice, dict) else {}
    arguments = arguments_for(function["parameters"]) | given
    return {
        "function_call": {"name": name, "arguments": arguments},
        "functions_state_id": str(uuid4()),
    }


def completion(answer: Answer) -> dict[str, Any]:
    """The whole answer. It has no id."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.thought:
        message["reasoning_content"] = answer.thought
    message |= answer.call or {}
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish}],
        "created": answer.created,
        "model": answer.model.shown,
        "object": "chat.completion",
        "usage": answer.usage(),
    }


def stream(answer: Answer) -> tuple[list[bytes], list[int]]:
    """The frames, and for each how many completion tokens had been sent after it."""
    steps: list[tuple[Body, int]] = []
    if "in_progress" in answer.script.marks:
        work = {"role": "function_in_progress", "name": "text2image", "created": answer.created}
        steps.append((work | {"content": "5"}, 0))
    spoken = [
        ({"content": "", "reasoning_content": part}, count_tokens(part))
        for part in phrases(answer.thought, PHRASE)
    ]
    spoken += [({"content": part}, count_tokens(part)) for part in phrases(answer.text, PHRASE)]
    last: tuple[Body, int] = ({"content": ""}, 0)
    if answer.call is not None:
        last = ({"content": ""} | answer.call, answer.call_tokens)
        if "split" in answer.script.marks:
            spoken.append(last)
            last = ({"content": ""}, 0)
    spoken.append(last)
    spoken[0][0]["role"] = "assistant"
    steps += spoken
    frames, costs, cost = [], [], 0
    for place, (delta, price) in enumerate(steps):
        cost += price
        frames.append(_frame(answer, delta, last=place == len(steps) - 1))
        costs.append(cost)
    frames.append(b"data: [DONE]\n\n")
    return frames, costs


def _frame(answer: Answer, delta: Body, *, last: bool) -> bytes:
    choice: Body = {"delta": delta, "index": 0}
    chunk: Body = {
        "choices": [choice],
        "created": answer.created,
        "model": answer.model.shown,
        "object": "chat.completion",
    }
    if last:
        choice["finish_reason"] = answer.finish
        chunk["usage"] = answer.usage()
    return b"data: " + _encode(chunk) + b"\n\n"
