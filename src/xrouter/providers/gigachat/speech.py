"""What a model says, taken apart: its thinking, its pictures, the text up to a stop sequence."""

from __future__ import annotations

import re

from xrouter.providers.gigachat.json_text import ObjectStream
from xrouter.providers.gigachat.stops import StopCutter

_OPENING = "<think>"
_CLOSING = "</think>"
_MAX_PICTURES = 10
_IMG = re.compile(r"<img\s[^<>]{1,400}>")
_IMG_BEGUN = re.compile(r"<(?:i(?:m(?:g(?:\s[^<>]{0,400})?)?)?)?")
_SRC = re.compile(r'\ssrc="([0-9A-Za-z_-]{8,64})"')
_FUSE = re.compile(r'\sfuse="true"')


class Thinking:
    """Parts `<think>...</think>` at the beginning of a text from the text."""

    def __init__(self) -> None:
        self._held = ""
        self._begun = False
        self._inside = False
        self._gap = False

    def feed(self, text: str) -> tuple[str, str]:
        """Reasoning and text."""
        if self._begun and not self._inside:
            return "", self._after(text)
        text = self._held + text
        self._held = ""
        if not self._begun:
            start = text.lstrip()
            if start.startswith(_OPENING):
                self._begun = self._inside = True
                text = start.removeprefix(_OPENING)
            elif _OPENING.startswith(start):
                self._held = text
                return "", ""
            else:
                self._begun = True
                return "", text
        thought, closing, rest = text.partition(_CLOSING)
        if closing:
            self._inside = False
            self._gap = True
            return thought, self._after(rest)
        keep = next((n for n in range(len(_CLOSING) - 1, 0, -1) if text.endswith(_CLOSING[:n])), 0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], ""

    def flush(self) -> tuple[str, str]:
        """What was held back: no more text will come."""
        held, self._held = self._held, ""
        return (held, "") if self._inside else ("", held)

    def _after(self, text: str) -> str:
        """Text without the blank lines between it and the thinking."""
        if self._gap:
            text = text.lstrip()
            self._gap = not text
        return text


class PictureTags:
    """Takes the tags of pictures that GigaChat drew out of a text; `ids` are their files.

    `<img src="<file id>" fuse="true"/>`; other tags stay, they are text.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._held = ""

    def feed(self, text: str) -> str:
        """The text that may go out."""
        if not self._held and "<" not in text:
            return text
        text = _IMG.sub(self._taken, self._held + text)
        start = text.rfind("<")
        begun = start >= 0 and _IMG_BEGUN.fullmatch(text, start) is not None
        self._held = text[start:] if begun else ""
        return text[:start] if begun else text

    def flush(self) -> str:
        """What was held back: no more text will come."""
        held, self._held = self._held, ""
        return held

    def _taken(self, tag: re.Match[str]) -> str:
        source = _SRC.search(tag[0])
        if source is None or _FUSE.search(tag[0]) is None or len(self.ids) >= _MAX_PICTURES:
            return tag[0]
        self.ids.append(source[1])
        return ""


class Speech:
    """All of it, for one answer.

    cut: a stop sequence has ended the text. json: only the JSON object of the text goes out.
    """

    def __init__(self, stops: list[str], *, json: bool) -> None:
        self.cut = False
        self.json = json
        self._thinking = Thinking()
        self._pictures = PictureTags()
        self._stops = StopCutter(stops)
        self._object = ObjectStream()

    @property
    def pictures(self) -> list[str]:
        """The files of the pictures so far."""
        return self._pictures.ids

    @property
    def sound(self) -> bool:
        """Whether the JSON object that was wanted has come."""
        return not self.json or self._object.complete

    def whole(self, content: str) -> tuple[str, str]:
        """Reasoning and text of a whole answer; not JSON yet."""
        self.json, json = False, self.json
        reasoning, text = self.feed(content)
        more, rest = self.flush()
        self.json = json
        return reasoning + more, text + rest

    def feed(self, content: str) -> tuple[str, str]:
        """Reasoning and text that may go out."""
        reasoning, text = self._thinking.feed(content)
        return reasoning, self._through(self._pictures.feed(text))

    def flush(self) -> tuple[str, str]:
        """What was held back: no more will come. Words around a JSON object are not in it."""
        reasoning, text = self._thinking.flush()
        text = self._through(self._pictures.feed(text) + self._pictures.flush())
        held = "" if self.cut else self._stops.flush()
        return reasoning, text + (self._object.feed(held) if self.json else held)

    def words(self) -> str:
        """What was said in place of a JSON object."""
        return self._object.held

    def _through(self, text: str) -> str:
        if self.cut or not text:
            return ""
        text, self.cut = self._stops.feed(text)
        return self._object.feed(text) if self.json else text
