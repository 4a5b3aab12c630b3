"""What a simulated Yandex model says, whichever of the two APIs asked."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from xrouter.sandbox.generate import cut, reply, words
from xrouter.sandbox.kit import count_tokens
from xrouter.sandbox.schema import example
from xrouter.sandbox.script import Script, arguments_for, mentioned_tools
from xrouter.sandbox.yandex.errors import INVALID, Refusal
from xrouter.sandbox.yandex.models import FOLDER, OPEN, Chosen

FILTERED = "Давайте поговорим о чём-нибудь другом."
STUB = (
    "В интернете есть много сайтов с информацией на эту тему. "
    "[Посмотрите, что нашлось в поиске](https://ya.ru)"
)
"""What the moderation says when it does not say that it is the moderation."""
EMOJI = "🙂"

NONE, AUTO, REQUIRED = "none", "auto", "required"

_TEMPLATE = 10
_MESSAGE = 4
_encode = msgspec.json.Encoder().encode


class Ask(Struct, kw_only=True):
    """What is asked for, in the terms of neither API.

    tools: parameters by name. choice: NONE, AUTO or REQUIRED. forced: the tool that must be
    called. results, called: of the tools since the last user text. wanted: the JSON schema of the
    answer, {} for any object, None for text. limit: tokens.
    """

    chosen: Chosen
    script: Script
    prompt: int
    tools: dict[str, Any]
    choice: str
    forced: str | None
    parallel: bool
    results: list[str]
    called: list[str]
    wanted: dict[str, Any] | None
    limit: int | None
    thinks: bool


class Call(Struct):
    """A call of a tool."""

    name: str
    arguments: dict[str, Any]

    def text(self) -> str:
        """The arguments as JSON text."""
        return _encode(self.arguments).decode()

    @property
    def tokens(self) -> int:
        """Tokens of name and arguments."""
        return count_tokens(self.name) + count_tokens(self.text())


class Said(Struct):
    """An answer. finish: `stop`, `length`, `content_filter` or `tool_calls`."""

    text: str
    finish: str
    calls: list[Call]
    thought: str

    @property
    def tokens(self) -> int:
        """All tokens, reasoning included."""
        spoken = count_tokens(self.text) + sum(call.tokens for call in self.calls)
        return spoken + count_tokens(self.thought)


def prompt_tokens(texts: list[str], messages: int, tools: list[Any]) -> int:
    """Tokens of a prompt: its texts, what the chat template adds, the tools."""
    told = count_tokens(_encode(tools).decode()) if tools else 0
    return sum(map(count_tokens, texts)) + _TEMPLATE + _MESSAGE * messages + told


def too_long(limit: int, tokens: int) -> Refusal:
    """The input has more tokens than the model takes."""
    return Refusal(
        INVALID,
        f"Error in session internal_id=sandbox&request_id=sandbox&folder_id={FOLDER}: number of"
        f" input tokens must be no more than {limit}, got {tokens}",
    )


def say(ask: Ask) -> Said:
    """Decide what is said. Raises Refusal when the prompt does not fit.

    Marks: [[filter]] is refused by the filter, [[stub]] too but looks like a plain answer,
    [[emoji]] speaks with an emoji, [[leak]] writes calls as text where the model is their own,
    [[fence]] puts JSON into a fence.
    """
    if ask.prompt > ask.chosen.model.context:
        raise too_long(ask.chosen.model.context, ask.prompt)
    if "filter" in ask.script.marks:
        return Said(FILTERED, "content_filter", [], "")
    if "stub" in ask.script.marks:
        return Said(STUB, "stop", [], "")
    thought = ""
    if ask.thinks and ask.script.wish.think:
        thought = "".join(cut(words(ask.script.wish.think), [], ask.limit)[0])
    calls = _calls(ask)
    if calls and "leak" in ask.script.marks and ask.chosen.model.family != OPEN:
        return Said("".join(map(_leaked, calls)), "stop", [], thought)
    if calls:
        return Said("", "tool_calls", calls, thought)
    left = None if ask.limit is None else ask.limit - count_tokens(thought)
    tokens, finish = cut(_text(ask), [], left)
    return Said("".join(tokens), finish, [], thought)


def _calls(ask: Ask) -> list[Call]:
    if ask.forced is not None or ask.choice == REQUIRED:
        names = [ask.forced] if ask.forced else mentioned_tools(ask.script.wish.text, [*ask.tools])
        names = [] if ask.called else (names or list(ask.tools)[:1])
    elif ask.choice == AUTO:
        names = mentioned_tools(ask.script.wish.text, list(ask.tools), ask.called)
    else:
        names = []
    if not ask.parallel:
        names = names[:1]
    return [Call(name, arguments_for(ask.tools[name])) for name in names]


def _leaked(call: Call) -> str:
    return f"[TOOL_CALL_START]{call.name}\n{call.text()}[TOOL_CALL_END]"


def _text(ask: Ask) -> str:
    if ask.wanted:
        return _encode(example(ask.wanted)).decode()
    if ask.wanted is not None:
        said = {"model": ask.chosen.model.name, "said": ask.script.wish.text}
        return _encode(said).decode()
    mentioned = mentioned_tools(ask.script.wish.text, list(ask.tools))
    if ask.choice == NONE and mentioned and not ask.called:
        call = Call(mentioned[0], arguments_for(ask.tools[mentioned[0]]))
        return f"\\[{call.name}\\]\n{call.text()}"
    text = reply(f"{ask.chosen.model.name}/{ask.chosen.branch}", ask.script.wish, ask.results)
    if "fence" in ask.script.marks:
        said = {"said": ask.script.wish.text}
        return f"```json\n{_encode(said).decode()}\n```"
    return text.replace(" ", f" {EMOJI} ", 1) if "emoji" in ask.script.marks else text
