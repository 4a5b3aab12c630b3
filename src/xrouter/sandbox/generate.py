"""What simulated models say: deterministic text, tool calls, JSON for a schema, vectors.

A user's text may carry directives, which are taken out of the echo:

    [[words:50]]    exactly 50 words, which are 50 tokens, instead of an echo
    [[pause:0.02]]  seconds between the frames of a stream, and before a plain answer for each token
    [[think:10]]    10 words of reasoning first, where the model can reason
    [[cached:100]]  100 tokens of the prompt (at most all of it) come from the cache
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
import zlib
from array import array
from typing import Any

from msgspec import Struct

from xrouter.sandbox.kit import count_tokens

WORDS_MAX = 100_000
PAUSE_MAX = 60.0
_TOKEN = re.compile(r"\s*\S{1,4}")
_DIRECTIVE = re.compile(r"\s*\[\[(words|pause|think|cached):(\d+(?:\.\d+)?)\]\]")
_WORDS = ("one", "step", "more", "on", "the", "long", "road", "from", "a", "door", "to", "you")


class Wish(Struct):
    """What the last user text asks of the simulator: its text without directives, and these."""

    text: str
    words: int | None = None
    pause: float = 0.0
    think: int = 0
    cached: int = 0


def wish_of(text: str) -> Wish:
    """Read the directives out of a text."""
    if "[[" not in text:
        return Wish(text)
    found = {name: float(value) for name, value in _DIRECTIVE.findall(text)}
    words = found.get("words")
    return Wish(
        text=_DIRECTIVE.sub("", text).strip(),
        words=None if words is None else min(int(words), WORDS_MAX),
        pause=min(found.get("pause", 0.0), PAUSE_MAX),
        think=min(int(found.get("think", 0)), WORDS_MAX),
        cached=int(found.get("cached", 0)),
    )


def words(count: int) -> str:
    """Exactly this many words."""
    rounds = count // len(_WORDS) + 1
    return " ".join((_WORDS * rounds)[:count])


def reply(model: str, wish: Wish, results: list[str], variant: int = 0) -> str:
    """The answer's text: who speaks, what tools said, what the user said; or the words wished."""
    if wish.words is not None:
        return words(wish.words)
    said = [f"This is {model}."]
    if variant:
        said.append(f"Variant {variant + 1}.")
    said += [f"The tool said: {result}" for result in results]
    said.append(f"You said: {wish.text}")
    return " ".join(said)


def tokens_of(text: str) -> list[str]:
    """The text cut into tokens, as many as `count_tokens` counts; joined they are the text."""
    tokens: list[str] = _TOKEN.findall(text)
    rest = len(text) - sum(map(len, tokens))
    if rest and tokens:
        tokens[-1] += text[-rest:]
    return tokens


def cut(text: str, stops: list[str], limit: int | None) -> tuple[list[str], str]:
    """The tokens that are left by stop sequences and a token limit, and the finish reason."""
    places = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    tokens = tokens_of(text[: min(places)] if places else text)
    if limit is not None and len(tokens) > limit:
        return tokens[:limit], "length"
    return tokens, "stop"


def text_of(content: Any) -> str:
    """The text of a message's content: a text, or its text parts joined by newlines."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(part for part in parts if isinstance(part, str))


def last_user_text(messages: list[dict[str, Any]]) -> str:
    """The text of the last message with the role `user`, "" for none."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return text_of(message.get("content"))
    return ""


def results_of(messages: list[dict[str, Any]]) -> list[str]:
    """The texts of the tool results at the end of the history, in order."""
    results: list[str] = []
    for message in reversed(messages):
        if message.get("role") not in ("tool", "function"):
            break
        results.insert(0, text_of(message.get("content")))
    return results


def named_in(text: str, names: list[str]) -> list[str]:
    """The names that occur in the text, in the order of their first mention."""
    places = {name: text.find(name) for name in names}
    return sorted((name for name in names if places[name] >= 0), key=places.__getitem__)


def vector(text: str, dimensions: int, size: int) -> array[float]:
    """A unit vector of 32-bit floats: the first `dimensions` of the `size` the text always has."""
    raw = array("h", hashlib.shake_256(text.encode()).digest(2 * size)[: 2 * dimensions])
    length = math.sqrt(sum(value * value for value in raw)) or 1.0
    return array("f", [value / length for value in raw])


def little_endian(floats: array[float]) -> bytes:
    """The floats as little-endian bytes, as base64 embeddings want them."""
    if sys.byteorder == "big":
        floats = array("f", floats)
        floats.byteswap()
    return floats.tobytes()


def number_of(text: str) -> int:
    """A number that is always the same for this text."""
    return zlib.crc32(text.encode(errors="replace"))


def pieces(text: str, count: int) -> list[str]:
    """The text in at most `count` pieces of about one length; at least one, maybe empty."""
    step = max(1, -(-len(text) // count))
    return [text[place : place + step] for place in range(0, len(text), step)] or [""]


def total_tokens(texts: list[str]) -> int:
    """Tokens of all the texts."""
    return sum(map(count_tokens, texts))
