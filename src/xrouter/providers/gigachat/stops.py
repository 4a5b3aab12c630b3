"""Stop sequences, which GigaChat does not have: the text is cut here.

The text ends before the stop sequence that is complete first, however it is cut into pieces.
"""

from __future__ import annotations


class StopCutter:
    """Lets text through up to the first stop sequence; holds back what could begin one."""

    def __init__(self, stops: list[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """The text that may go out, and whether a stop sequence has ended it for good."""
        if not self._stops:
            return text, False
        text = self._held + text
        self._held = ""
        cut = self._cut(text)
        if cut is not None:
            return text[:cut], True
        keep = self._doubtful(text)
        self._held = text[keep:]
        return text[:keep], False

    def flush(self) -> str:
        """What was held back: no more text will come."""
        held, self._held = self._held, ""
        return held

    def _cut(self, text: str) -> int | None:
        """Where the stop sequence begins that ends first; the longest of those that end there."""
        found = [
            (start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0
        ]
        return min(found)[1] if found else None

    def _doubtful(self, text: str) -> int:
        """Where the longest end of the text begins that is the beginning of a stop sequence."""
        earliest = len(text)
        for stop in self._stops:
            start = text.find(stop[0], max(0, len(text) - len(stop) + 1))
            while 0 <= start < earliest:
                if stop.startswith(text[start:]):
                    earliest = start
                start = text.find(stop[0], start + 1)
        return earliest
