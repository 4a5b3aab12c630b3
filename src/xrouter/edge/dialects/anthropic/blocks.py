"""Blocks of content as the parts of chat completions: what users and tools say."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from xrouter.domain.errors import InvalidRequest
from xrouter.edge.dialects.anthropic.types import Block
from xrouter.edge.mistakes import missing

Part = dict[str, Any]

_KNOWN = {
    "text": {"text", "citations"},
    "image": {"source"},
    "document": {"source", "title", "context", "citations"},
    "search_result": {"source", "title", "content", "citations"},
    "tool_use": {"id", "name", "input", "caller"},
    "tool_result": {"tool_use_id", "content", "is_error"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
}
_ALWAYS = {"type", "cache_control"}
_FOREIGN = ("tool_reference", "container_upload", "server_tool_use")
_FOREIGN_END = "_tool_result"
"""Blocks of tools that Anthropic itself runs: only it can read them."""


class Placed(Struct):
    """A part, and the block that it came from."""

    part: Part
    origin: str


class PartReader:
    """Translates blocks; notes in `dropped` what is left out.

    marks: marks of the prompt cache stay on the parts.
    """

    def __init__(self, *, marks: bool) -> None:
        self.dropped: dict[str, None] = {}
        self._marks = marks

    def read(self, block: Block, where: str) -> list[Placed]:
        """The parts of a block, none for one that is left out. Raises InvalidRequest."""
        kind = kind_of(block, where)
        if is_foreign(kind):
            self.drop(f"messages.{kind}")
            return []
        if kind == "text":
            parts = [_text(text_in(block, "text", where))]
            if block.get("citations"):
                self.drop("messages.citations")
        elif kind == "image":
            parts = [_image(block, where)]
        elif kind == "document":
            parts = self._document(block, where)
        elif kind == "search_result":
            parts = self._search_result(block, where)
        else:
            raise unsupported(kind, where)
        self.note_rest(block, kind)
        if parts:
            self.mark(parts[-1], block)
        return [Placed(part, where) for part in parts]

    def read_all(self, content: str | list[Any], where: str) -> list[Placed]:
        """The parts of a content."""
        if isinstance(content, str):
            return [Placed(_text(content), where)]
        found: list[Placed] = []
        for index, block in enumerate(content):
            found += self.read(block, f"{where}[{index}]")
        return found

    def mark(self, part: Part, block: Block) -> None:
        """Give a part the mark of its block."""
        given = block.get("cache_control")
        if given is None:
            return
        if self._marks:
            part["cache_control"] = given
        else:
            self.drop("cache_control")

    def note_rest(self, block: Block, kind: str) -> None:
        """Name the fields that nobody reads."""
        for name, value in block.items():
            if value and name not in _KNOWN[kind] and name not in _ALWAYS:
                self.drop(f"messages.{kind}.{name[:40]}")

    def drop(self, name: str) -> None:
        """Note what is left out, once."""
        self.dropped[name] = None

    def _document(self, block: Block, where: str) -> list[Part]:
        source = _source(block, where)
        kind, title = source.get("type"), block.get("title")
        if _wants_citations(block):
            self.drop("messages.document.citations")
        about = [text for text in (title, block.get("context")) if isinstance(text, str) and text]
        if kind == "text":
            return [_text("\n\n".join([*about, text_in(source, "data", f"{where}.source")]))]
        if kind == "content":
            content = source.get("content")
            if not isinstance(content, str | list):
                raise missing(f"{where}.source.content")
            inner = self._inside(content, f"{where}.source.content", ("text", "image"))
            return [*([_text("\n\n".join(about))] if about else []), *(one.part for one in inner)]
        file = _file(source, where)
        file["filename"] = title if isinstance(title, str) and title else "document.pdf"
        context = block.get("context")
        before = [_text(context)] if isinstance(context, str) and context else []
        return [*before, {"type": "file", "file": file}]

    def _inside(self, content: str | list[Any], where: str, kinds: tuple[str, ...]) -> list[Placed]:
        """The parts of a content inside a block: only of these kinds."""
        for index, block in enumerate(content if isinstance(content, list) else ()):
            kind = kind_of(block, f"{where}[{index}]")
            if kind not in kinds:
                raise unsupported(kind, f"{where}[{index}]")
        return self.read_all(content, where)

    def _search_result(self, block: Block, where: str) -> list[Part]:
        """A found text, told as text: where it is from, then what it says."""
        content = block.get("content")
        if not isinstance(content, list):
            raise missing(f"{where}.content")
        if _wants_citations(block):
            self.drop("messages.search_result.citations")
        found = self._inside(content, f"{where}.content", ("text",))
        about = [text_in(block, name, where) for name in ("title", "source")]
        return [_text("\n\n".join([*about, *(one.part["text"] for one in found)]))]


def plain(parts: list[Placed], glue: str | None = None) -> str | list[Part]:
    """Content as most servers like it: one text is a string, several are where `glue` is given."""
    bare = all(placed.part.keys() == {"type", "text"} for placed in parts)
    if bare and (len(parts) == 1 or glue is not None):
        return (glue or "").join(placed.part["text"] for placed in parts)
    return [placed.part for placed in parts]


def kind_of(block: Any, where: str) -> str:
    """A block's type. Raises InvalidRequest when it has none."""
    if not isinstance(block, dict):
        raise InvalidRequest(
            f"Invalid type for '{where}': expected an object.", code="invalid_type", param=where
        )
    return text_in(block, "type", where)


def is_foreign(kind: str) -> bool:
    """Whether a block belongs to a tool that Anthropic runs."""
    return kind in _FOREIGN or kind.endswith(_FOREIGN_END)


def text_in(block: dict[str, Any], name: str, where: str) -> str:
    """A field that must be text."""
    value = block.get(name)
    if isinstance(value, str):
        return value
    if value is None:
        raise missing(f"{where}.{name}")
    raise InvalidRequest(
        f"Invalid type for '{where}.{name}': expected a string.",
        code="invalid_type",
        param=f"{where}.{name}",
    )


def unsupported(kind: str, where: str) -> InvalidRequest:
    """A block that cannot be said here."""
    return InvalidRequest(
        f"Blocks of type '{kind[:60]}' are not supported in '{where}'.",
        code="unsupported_value",
        param=where,
    )


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _image(block: Block, where: str) -> Part:
    source = _source(block, where)
    kind = text_in(source, "type", f"{where}.source")
    if kind == "base64":
        url = _data_url(source, where)
    elif kind == "url":
        url = text_in(source, "url", f"{where}.source")
    else:
        raise _not_kept(kind, where)
    return {"type": "image_url", "image_url": {"url": url}}


def _file(source: dict[str, Any], where: str) -> dict[str, Any]:
    kind = text_in(source, "type", f"{where}.source")
    if kind == "base64":
        return {"file_data": _data_url(source, where)}
    if kind == "url":
        return {"file_url": text_in(source, "url", f"{where}.source")}
    raise _not_kept(kind, where)


def _data_url(source: dict[str, Any], where: str) -> str:
    media = text_in(source, "media_type", f"{where}.source")
    return f"data:{media};base64,{text_in(source, 'data', f'{where}.source')}"


def _source(block: Block, where: str) -> dict[str, Any]:
    source = block.get("source")
    if not isinstance(source, dict):
        raise missing(f"{where}.source")
    return source


def _wants_citations(block: Block) -> bool:
    config = block.get("citations")
    return isinstance(config, dict) and bool(config.get("enabled"))


def _not_kept(kind: str, where: str) -> InvalidRequest:
    return InvalidRequest(
        f"The source '{kind[:40]}' is not supported: no files are kept here.",
        code="unsupported_value",
        param=f"{where}.source",
        hint="Send the content itself in base64, or its address.",
    )
