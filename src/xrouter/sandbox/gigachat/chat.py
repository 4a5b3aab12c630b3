"""How the simulated GigaChat answers a chat: what is said, whichever contract asks.

Marks in the last user text:

    [[blacklist]]    the answer is a refusal, finish reason `blacklist`
    [[error]]        finish reason `error`
    [[split]]        a function call streams in two chunks: the call, then its finish reason
    [[preface]]      a text comes before a function call
    [[in_progress]]  the stream begins with a chunk of a built-in function at work
    [[search]]       search the web, where that may be done (the second contract alone)
    [[draw]]         draw, where the built-in function for it may be called; so do words of drawing
    [[unshaped]]     `response_format` is passed over in silence

There is no JSON mode: a system message that speaks of JSON is obeyed, as a model would.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Struct

from xrouter.sandbox.generate import cut, last_user_text, reply, total_tokens, words
from xrouter.sandbox.gigachat.errors import Refusal
from xrouter.sandbox.gigachat.files import File
from xrouter.sandbox.gigachat.models import Model
from xrouter.sandbox.kit import count_tokens
from xrouter.sandbox.schema import example
from xrouter.sandbox.script import Script, arguments_for, mentioned_tools, script_of

Body = dict[str, Any]

PHRASE = 4
"""Words in a delta."""
REFUSAL = "Об этом я говорить не могу. Давайте сменим тему."
PREFACE = "One moment, let me look."
DRAWN = "This is what you asked for."
_QUOTED = 20
_THINKING = {"low": 8, "medium": 16, "high": 32}
_DRAWING = re.compile(r"\b(draw|paint)|нарису", re.IGNORECASE)

_encode = msgspec.json.Encoder().encode


class Call(Struct):
    """A call of a function. id: where several calls may be made at once."""

    name: str
    arguments: Body
    id: str | None = None


class Said(Struct):
    """Text, finish reason, calls, ids of pictures."""

    text: str = ""
    finish: str = "stop"
    calls: list[Call] = []
    pictures: list[str] = []


class Answer(Struct):
    """An answer, ready to be written. prompt: tokens with those from the cache.

    state: the id that calls and pictures have.
    """

    model: Model
    created: int
    script: Script
    thought: str
    said: Said
    prompt: int
    cached: int
    state: str

    @property
    def completion(self) -> int:
        """Tokens of thought, text and calls."""
        return count_tokens(self.thought) + count_tokens(self.said.text) + self.call_tokens

    @property
    def call_tokens(self) -> int:
        """Tokens of the names and arguments of calls."""
        return sum(count_tokens(_encode(call).decode()) for call in self.said.calls)


class Question(Struct, kw_only=True):
    """What is asked, in the terms of the first contract, as far as both have it.

    body: `messages` (content is text), `functions`, `function_call` (here also {"any": [names]}),
    `response_format`, `max_tokens`, `reasoning_effort`. many: several calls at once may be made.
    draw: keeps a picture of the text and answers its id; None where there is no drawing.
    must_draw: it is no matter of words. files: what is attached. cached: see `compose`.
    """

    body: Body
    model: Model
    files: list[File] = []
    cached: int = 0
    many: bool = False
    draw: Callable[[str], str] | None = None
    must_draw: bool = False


def compose(question: Question) -> Answer:
    """Decide what is said. cached: tokens of the prompt known from this session.

    Raises Refusal when the prompt does not fit.
    """
    body, model = question.body, question.model
    script = script_of(last_user_text(body["messages"]))
    prompt = prompt_tokens(body)
    if prompt > model.context:
        raise Refusal(413)
    prompt += sum(file.tokens for file in question.files)
    if prompt > model.context:
        raise Refusal(422)
    limit: int | None = body.get("max_tokens")
    thought = _thought(body, model, script, limit)
    left = None if limit is None else limit - count_tokens(thought)
    return Answer(
        model=model,
        created=int(time.time()),
        script=script,
        thought=thought,
        said=_say(question, script, left),
        prompt=prompt,
        cached=min(max(question.cached, script.wish.cached), prompt),
        state=str(uuid4()),
    )


def prompt_tokens(body: Body) -> int:
    """Tokens of messages and functions."""
    functions = body.get("functions")
    told = [_encode(functions).decode()] if functions else []
    return sum(map(message_tokens, body["messages"])) + total_tokens(told)


def message_tokens(message: Body) -> int:
    """Tokens of one message."""
    calls = message.get("calls") or message.get("function_call")
    return total_tokens([message["content"], _encode(calls).decode() if calls else ""])


def _thought(body: Body, model: Model, script: Script, limit: int | None) -> str:
    effort = body.get("reasoning_effort")
    if not model.reasoning or effort not in _THINKING:
        return ""
    tokens, _ = cut(words(script.wish.think or _THINKING[effort]), [], limit)
    return "".join(tokens)


def _say(question: Question, script: Script, limit: int | None) -> Said:
    body = question.body
    if "blacklist" in script.marks:
        return Said(REFUSAL, "blacklist")
    if "error" in script.marks:
        return Said(finish="error")
    if question.draw is not None and (question.must_draw or _wants_drawing(body, script)):
        return Said(DRAWN, pictures=[question.draw(script.wish.text)])
    results, called = _since_user(body["messages"])
    names = _wanted_calls(body, script, called)
    if names:
        calls = [_call(body, name) for name in names if question.many or name == names[0]]
        if question.many:
            calls = [Call(call.name, call.arguments, str(uuid4())) for call in calls]
        return Said(PREFACE if "preface" in script.marks else "", "function_call", calls)
    tokens, finish = cut(_text(question, script, results), [], limit)
    return Said("".join(tokens), finish)


def _text(question: Question, script: Script, results: list[str]) -> str:
    wanted = question.body.get("response_format") or {}
    if wanted.get("type") == "json_schema" and "unshaped" not in script.marks:
        return msgspec.json.format(_encode(example(wanted["schema"])), indent=2).decode()
    if _told_json(question.body["messages"][0]):
        return _encode({"model": question.model.id, "said": script.wish.text}).decode()
    text = reply(question.model.shown, script.wish, results)
    return text if script.wish.words is not None else text + _read(question.files)


def _read(files: list[File]) -> str:
    """What it says of the files: their names, and of the first text its first words."""
    if not files:
        return ""
    quoted = next((file.text for file in files if file.kind == "document"), "")
    told = f" Attached: {', '.join(file.name for file in files)}."
    return f"{told} It reads: {' '.join(quoted.split()[:_QUOTED])}" if quoted else told


def _told_json(first: Body) -> bool:
    return first["role"] == "system" and "json" in first["content"].lower()


def _wants_drawing(body: Body, script: Script) -> bool:
    """By the mark, or by words of the user or of the system."""
    first = body["messages"][0]
    told = first["content"] if first["role"] == "system" else ""
    return "draw" in script.marks or _DRAWING.search(f"{told}\n{script.wish.text}") is not None


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


def _wanted_calls(body: Body, script: Script, called: list[str]) -> list[str]:
    """The functions to call now: the forced one, or those that the user mentions.

    A forced function that has given its result is not called again; where any must be called, one
    always is.
    """
    choice: Any = body.get("function_call") or "none"
    if choice == "none":
        return []
    if isinstance(choice, dict) and "name" in choice:
        return [] if called else [str(choice["name"])]
    names = [function["name"] for function in body.get("functions") or []]
    if choice == "auto":
        return mentioned_tools(script.wish.text, names, called)
    names = choice["any"]
    return mentioned_tools(script.wish.text, names, called) or names[:1]


def _call(body: Body, name: str) -> Call:
    function = next(one for one in body["functions"] if one["name"] == name)
    choice = body["function_call"]
    given = choice.get("partial_arguments", {}) if isinstance(choice, dict) else {}
    return Call(name, arguments_for(function["parameters"]) | given)
