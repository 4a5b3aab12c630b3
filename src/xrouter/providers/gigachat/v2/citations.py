"""Pages that GigaChat has found in the web, as OpenAI's annotations of the text."""

from __future__ import annotations

import re
from typing import Any

from xrouter.providers.gigachat.v2.answers import WireSource

_MARK = re.compile(r"\[sources=\[([0-9, ]{1,64})\]\]")
_MAX_TEXT = 1 << 20
_MAX_SOURCES = 100


class Citations:
    """Collects what was said and which sources it has. Used once, for one answer."""

    def __init__(self) -> None:
        self._sources: dict[str, WireSource] = {}
        self._text = ""

    def add_text(self, text: str) -> None:
        """The next piece of the text; of a very long one only the beginning counts."""
        if len(self._text) < _MAX_TEXT:
            self._text += text

    def add_sources(self, sources: dict[str, WireSource]) -> None:
        """Sources by the numbers that the text names."""
        for number, source in sources.items():
            if source.url and len(self._sources) < _MAX_SOURCES:
                self._sources[number] = source

    def annotations(self) -> list[dict[str, Any]]:
        """A citation for each mention of a source, at the mark in the text that names it."""
        return [
            {
                "type": "url_citation",
                "url_citation": {
                    "start_index": mark.start(),
                    "end_index": mark.end(),
                    "url": source.url,
                    "title": source.title or "",
                },
            }
            for mark in _MARK.finditer(self._text)
            for number in mark[1].replace(",", " ").split()
            if (source := self._sources.get(number)) is not None
        ]
