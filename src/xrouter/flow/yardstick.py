"""Tokens where nobody has counted them: by the characters, as the provider's own counts teach."""

from __future__ import annotations

from math import ceil

from xrouter.domain.answer import Usage
from xrouter.domain.chat import ChatRequest, text_of

CHARACTERS_PER_TOKEN = 4.0
"""A cautious mean of Russian and English prose, where a provider has counted nothing yet."""

EVERY = 16
"""Of the answers that a provider has counted, one of so many teaches; the first one does."""

ENOUGH = 48
"""Answers, before their lengths tell how long one is."""

USUAL = 0.95
"""The part of answers that is no longer."""

_MEMORY = 0.9
_FADE_AT = 1024
_SHORT = 16
_LEAST, _MOST = 1.0, 12.0


class Yardstick:
    """How many characters a token of one target has, in prompts and in answers.

    usual: tokens that hardly any of its answers exceed, None before enough of them were seen.
    """

    __slots__ = ("_answer", "_lengths", "_prompt", "_seen", "usual")

    def __init__(self) -> None:
        self._seen = 0
        self._lengths = Lengths()
        self.usual: int | None = None
        self._prompt = _Share()
        self._answer = _Share()

    def learn(self, request: ChatRequest, characters: int, usage: Usage) -> None:
        """A provider has counted. characters: of the answer."""
        self._seen += 1
        if not usage.estimated:
            self._lengths.add(usage.completion_tokens)
        if self._seen % EVERY != 1 or usage.estimated:
            return
        self.usual = self._lengths.usual()
        self._prompt.learn(prompt_characters(request), usage.prompt_tokens)
        self._answer.learn(characters, usage.completion_tokens)

    def prompt(self, request: ChatRequest) -> int:
        """An estimate of what the request's prompt counts."""
        return tokens_of(prompt_characters(request), self._prompt.each)

    def tokens(self, characters: int) -> int:
        """An estimate of what so much of a prompt counts."""
        return ceil(characters / self._prompt.each)

    def answer(self, characters: int) -> int:
        """An estimate of what so much of an answer counts."""
        return ceil(characters / self._answer.each)


class Lengths:
    """How long answers were: in tokens, by bounds that are half an octave apart."""

    __slots__ = ("_counts", "_seen")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._seen = 0

    def add(self, tokens: int) -> None:
        """One more; the older ones count less and less."""
        bound = 1 << tokens.bit_length()
        quarter = bound >> 2
        if tokens <= bound - quarter:
            bound -= quarter
        counts = self._counts
        counts[bound] = counts.get(bound, 0) + 1
        self._seen += 1
        if self._seen >= _FADE_AT:
            self._counts = {bound: count // 2 for bound, count in self._counts.items() if count > 1}
            self._seen = sum(self._counts.values())

    def usual(self) -> int | None:
        """What USUAL of them did not exceed; None where there were too few."""
        if self._seen < ENOUGH:
            return None
        below = 0
        for bound, count in sorted(self._counts.items()):
            below += count
            if below >= USUAL * self._seen:
                return bound
        return None  # pragma: no cover - all of them are below the last bound


class _Share:
    """each: characters of a token, by the last counts more than by the older ones."""

    __slots__ = ("_characters", "_tokens", "each")

    def __init__(self) -> None:
        self._characters = 0.0
        self._tokens = 0.0
        self.each = CHARACTERS_PER_TOKEN

    def learn(self, characters: int, tokens: int) -> None:
        """What is too short to tell, or no text, teaches nothing."""
        if tokens >= _SHORT and _LEAST <= characters / tokens <= _MOST:
            self._characters = self._characters * _MEMORY + characters
            self._tokens = self._tokens * _MEMORY + tokens
            self.each = self._characters / self._tokens


PLAIN = Yardstick()
"""Of targets of which nothing is known."""


def prompt_characters(request: ChatRequest) -> int:
    """Of all messages; what is no text has none."""
    found = 0
    for message in request.messages:
        content = message.content
        found += len(content if type(content) is str else text_of(content))
    return found


def prompt_tokens(request: ChatRequest) -> int:
    """An estimate of what the request's prompt counts, at a provider of which nothing is known."""
    return tokens_of(prompt_characters(request))


def tokens_of(characters: int, each: float = CHARACTERS_PER_TOKEN) -> int:
    """An estimate, rounded up. each: characters of a token."""
    return ceil(characters / each)
