"""What the user's text asks of a simulator beyond `generate`, and the slots an account has.

A mark is a word in double square brackets: `[[blacklist]]`. Which marks there are, each simulator
says; all of them are taken out of the echo.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from xrouter.sandbox.generate import Wish, named_in, wish_of
from xrouter.sandbox.kit import SandboxResponse
from xrouter.sandbox.schema import example

_MARK = re.compile(r"\s*\[\[([a-z_]+)\]\]")
_WORD = re.compile(r"\s*\S+")


class Script(Struct):
    """A user's text read: what it wishes, and its marks."""

    wish: Wish
    marks: frozenset[str]


def script_of(text: str) -> Script:
    """Read directives and marks out of a text."""
    marks = frozenset(_MARK.findall(text))
    return Script(wish_of(_MARK.sub("", text).strip() if marks else text), marks)


def arguments_for(schema: dict[str, Any] | None) -> dict[str, Any]:
    """Arguments that fit a function's parameters, always the same, of bounded depth."""
    value = example(schema)
    return value if isinstance(value, dict) else {}


def mentioned_tools(text: str, names: Sequence[str], called: Iterable[str] = ()) -> list[str]:
    """The tools a text mentions, in the order of their mention, without those already called."""
    done = set(called)
    return [name for name in named_in(text, list(names)) if name not in done]


def phrases(text: str, size: int) -> list[str]:
    """The text in phrases of `size` words; joined they are the text. None for an empty one."""
    words = _WORD.findall(text)
    rest = text[sum(map(len, words)) :]
    if words:
        words[-1] += rest
    elif text:
        words = [text]
    return ["".join(words[place : place + size]) for place in range(0, len(words), size)]


class Slots:
    """How many requests each account may have running; a slot is held until the answer is over."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()

    def running(self, account: str) -> int:
        """How many run now."""
        return self._running[account]

    def hold(
        self, account: str, limit: int, work: Callable[[], SandboxResponse]
    ) -> SandboxResponse | None:
        """Do the work in a slot, which its response gives back when it closes.

        None when no slot is free. An error of the work gives the slot back and goes on.
        """
        if self._running[account] >= limit:
            return None
        self._running[account] += 1
        try:
            response = work()
        except BaseException:
            self._give(account)
            raise
        then = response.on_close

        def close(sent: int) -> None:
            self._give(account)
            if then is not None:
                then(sent)

        response.on_close = close
        return response

    def _give(self, account: str) -> None:
        self._running[account] -= 1
        if not self._running[account]:
            del self._running[account]
