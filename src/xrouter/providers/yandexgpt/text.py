"""Text on its way out: snapshots to pieces, stop sequences, markers, leaked calls, filter stubs."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from xrouter.domain.chat import FunctionCall
from xrouter.providers.yandexgpt.leaks import JSON_FENCE, openers, recovered

FILTER_STUB = "В интернете есть много сайтов с информацией на эту тему"
"""How the moderation's answer begins when it comes as ordinary text."""

_BROKEN = "\N{REPLACEMENT CHARACTER}"
_BACKTICKS = 3
_FENCES = ("```json\n", "```JSON\n", "```\n")


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


class Fence:
    """Takes an answer in JSON out of a fence of three backticks around the whole of it."""

    def __init__(self) -> None:
        self._held = ""
        self._begun = False
        self._open = False

    def feed(self, text: str) -> str:
        """What is inside, as far as it is known."""
        pending = self._held + text
        if not self._begun:
            bare = pending.lstrip()
            fence = next((word for word in _FENCES if bare.startswith(word)), None)
            if fence is None and any(word.startswith(bare) for word in _FENCES):
                self._held = pending
                return ""
            self._begun, self._open = True, fence is not None
            pending = bare[len(fence) :] if fence is not None else pending
        border = _fence_end(pending) if self._open else len(pending)
        self._held = pending[border:]
        return pending[:border]

    def flush(self) -> str:
        """What was held back, at the end; the fence is not."""
        held, self._held = self._held, ""
        return "" if self._open and "```" in held else held


class TextGate:
    """Cuts at the stop sequence that is complete first, takes markers out, notices the filter stub.

    Holds back an end that may be the beginning of a stop, of a marker or of a leaked call; from the
    beginning of a leaked call on everything, which `flush` turns into `leaked` or lets go.
    tools: names of those that were offered, where calls leak. fenced: the text is JSON that was
    asked for in words only.
    """

    def __init__(
        self,
        stops: Iterable[str] = (),
        markers: Iterable[str] = (),
        tools: Collection[str] = (),
        *,
        fenced: bool = False,
    ) -> None:
        self._stops = tuple(stops)
        self._markers = tuple(markers)
        self._tools = tools
        self._openers = openers(tools)
        self._fence = Fence() if fenced else None
        self._held = ""
        self._leak = ""
        self._head = ""
        self._silent = True
        self.leaked: list[FunctionCall] = []
        self.stopped = False

    def feed(self, text: str) -> str:
        """What may go out now; "" after a stop."""
        return self._feed(text if self._fence is None else self._fence.feed(text))

    def flush(self) -> str:
        """What was held back, at the end of the text."""
        rest = "" if self._fence is None else self._feed(self._fence.flush())
        if self._leak:
            self.leaked = recovered(self._leak, self._tools)
            text, self._leak, self._openers, self._tools = self._leak, "", (), ()
            return rest if self.leaked else rest + self._feed(text) + self.flush()
        held, self._held = self._held, ""
        return rest + self._pass(held)

    @property
    def filtered(self) -> bool:
        """Whether the text begins with the moderation's stub."""
        return self._head == FILTER_STUB

    def _feed(self, text: str) -> str:
        if self.stopped:
            return ""
        if self._leak:
            self._leak += text
            return ""
        pending = self._held + text
        opened = self._first_opener(pending)
        if opened is not None:
            self._leak, pending = pending[opened:], pending[:opened]
        for marker in self._markers:
            pending = pending.replace(marker, "")
        at = self._first_stop(pending)
        if at is not None:
            self.stopped = True
            self._held = self._leak = ""
            return self._pass(pending[:at])
        border = len(pending) - (0 if self._leak else self._kept(pending))
        self._held = pending[border:]
        return self._pass(pending[:border])

    def _kept(self, text: str) -> int:
        """Length of the end that may turn out to be something else."""
        words = (*self._stops, *self._markers, *self._openers)
        kept = max((_overlap(text, word) for word in words), default=0)
        return len(text) if self._may_be_json(text) else kept

    def _may_be_json(self, text: str) -> bool:
        """Whether the text is all there was, and may become a fence of JSON."""
        return bool(self._tools and text and self._silent and JSON_FENCE.startswith(text.lstrip()))

    def _first_opener(self, text: str) -> int | None:
        if self._tools and self._silent and text.lstrip().startswith(JSON_FENCE):
            return 0
        found = [at for word in self._openers if (at := text.find(word)) >= 0]
        return min(found, default=None)

    def _first_stop(self, text: str) -> int | None:
        """Where the stop begins that ends first, whatever the chunks; the longer one of two."""
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        return min(found)[1] if found else None

    def _pass(self, text: str) -> str:
        self._silent = self._silent and not text.strip()
        self._head += text[: len(FILTER_STUB) - len(self._head)]
        return text


def _fence_end(text: str) -> int:
    """Where the blanks and backticks begin that may be the end of a fence."""
    bare = text.rstrip()
    inner = bare.rstrip("`")
    return len(inner.rstrip()) if len(bare) - len(inner) <= _BACKTICKS else len(text)


def _overlap(text: str, word: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `word`."""
    for length in range(min(len(text), len(word) - 1), 0, -1):
        if text.endswith(word[:length]):
            return length
    return 0
