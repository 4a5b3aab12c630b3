"""Text on its way out: cumulative snapshots to pieces, stop sequences, markers, filter stubs."""

from __future__ import annotations

from collections.abc import Iterable

from xrouter.domain.answer import Usage

FILTER_STUB = "В интернете есть много сайтов с информацией на эту тему"
"""How the moderation's answer begins when it comes as ordinary text."""

CALL_MARKER = "[TOOL_CALL_END]"
"""Leaks into the text of Alice AI when tools are required."""

_BROKEN = "\N{REPLACEMENT CHARACTER}"
_CHARS_PER_TOKEN = 4


class Snapshots:
    """Turns whole texts, each longer than the one before, into pieces.

    What was passed on cannot be taken back: a text that shrinks gives nothing, a text that changed
    gives only what lies beyond the passed length. Nothing is ever repeated.
    A broken character at the end (an emoji in the making) waits for the next snapshot.
    """

    def __init__(self) -> None:
        self._last = ""
        self._passed = ""

    def feed(self, text: str) -> str:
        """The new piece of an unfinished text."""
        self._last = text
        return self._advance(text.rstrip(_BROKEN))

    def finish(self, text: str | None) -> str:
        """The last piece; None when the last message had no text."""
        return self._advance(self._last if text is None else text)

    def continues(self, text: str) -> bool:
        """Whether `text` begins with all that was passed on."""
        return text.startswith(self._passed)

    def _advance(self, text: str) -> str:
        piece = text[len(self._passed) :]
        self._passed += piece
        return piece


class TextGate:
    """Cuts at the stop sequence that is complete first, takes markers out, notices the filter stub.

    Holds back an end that may be the beginning of a stop or of a marker. `length` counts the
    characters passed on.
    """

    def __init__(self, stops: Iterable[str] = (), markers: Iterable[str] = ()) -> None:
        self._stops = tuple(stops)
        self._markers = tuple(markers)
        self._held = ""
        self._head = ""
        self.length = 0
        self.stopped = False

    def feed(self, text: str) -> str:
        """What may go out now; "" after a stop."""
        if self.stopped:
            return ""
        pending = self._held + text
        for marker in self._markers:
            pending = pending.replace(marker, "")
        at = self._first_stop(pending)
        if at is not None:
            self.stopped = True
            self._held = ""
            return self._pass(pending[:at])
        keep = max((_overlap(pending, word) for word in self._stops + self._markers), default=0)
        border = len(pending) - keep
        self._held = pending[border:]
        return self._pass(pending[:border])

    def flush(self) -> str:
        """What was held back, at the end of the text."""
        held, self._held = self._held, ""
        return self._pass(held)

    @property
    def filtered(self) -> bool:
        """Whether the text begins with the moderation's stub."""
        return self._head == FILTER_STUB

    def _first_stop(self, text: str) -> int | None:
        """Where the stop begins that ends first, whatever the chunks; the longer one of two."""
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        return min(found)[1] if found else None

    def _pass(self, text: str) -> str:
        self.length += len(text)
        self._head += text[: len(FILTER_STUB) - len(self._head)]
        return text


def _overlap(text: str, word: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `word`."""
    for length in range(min(len(text), len(word) - 1), 0, -1):
        if text.endswith(word[:length]):
            return length
    return 0


def estimate(prompt_chars: int, answer_chars: int) -> Usage:
    """A rough count, for answers without one: about four characters to a token."""
    return Usage(
        prompt_tokens=-(-prompt_chars // _CHARS_PER_TOKEN),
        completion_tokens=-(-answer_chars // _CHARS_PER_TOKEN),
        estimated=True,
    )
