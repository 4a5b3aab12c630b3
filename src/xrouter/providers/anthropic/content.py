"""Content parts of OpenAI's messages as Anthropic's blocks."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, NoReturn

from xrouter.domain.errors import InvalidRequest

Block = dict[str, Any]
Content = str | list[dict[str, Any]] | None

_DATA_URL = re.compile(
    r"data:(?P<kind>[\w.+-]+/[\w.+-]+)(?:;[\w=.-]+)*;base64,(?P<data>.*)", re.DOTALL
)
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_PDF = "application/pdf"
_TEXTS = ("text", "input_text", "refusal")
_SAME_DETAIL = (None, "", "auto")


def text_block(text: str) -> Block:
    """A text."""
    return {"type": "text", "text": text}


class PartReader:
    """Reads contents; texts without a letter are left out, for they are not taken there.

    dropped: fields of parts that say nothing to Anthropic.
    """

    def __init__(self) -> None:
        self.dropped: set[str] = set()

    def texts(self, content: Content, where: str) -> list[Block]:
        """Content that may hold nothing but text. Raises InvalidRequest."""
        blocks = self.blocks(content, where)
        for index, block in enumerate(blocks):
            if block["type"] != "text":
                raise InvalidRequest(
                    "Anthropic takes images and files of users and tools only.",
                    code="unsupported_value",
                    param=f"{where}[{index}]",
                )
        return blocks

    def blocks(self, content: Content, where: str) -> list[Block]:
        """Blocks of any kind. Raises InvalidRequest for parts that cannot be said."""
        if content is None or isinstance(content, str):
            return [text_block(content)] if content and content.strip() else []
        found = (self._block(part, f"{where}[{index}]") for index, part in enumerate(content))
        return [block for block in found if block["type"] != "text" or block["text"].strip()]

    def _block(self, part: dict[str, Any], where: str) -> Block:
        kind = part.get("type")
        if kind in _TEXTS:
            text = part.get("refusal" if kind == "refusal" else "text")
            if not isinstance(text, str):
                _wrong(f"{where}.text", "It must be a text.")
            block = text_block(text)
        elif kind in ("image_url", "input_image"):
            block = self._image(part, where)
        elif kind in ("file", "input_file"):
            block = _document(part, where)
        else:
            raise InvalidRequest(
                f"Anthropic does not read parts of type '{str(kind)[:40]}'.",
                code="unsupported_value",
                param=where,
            )
        if part.get("cache_control") is not None:
            block["cache_control"] = part["cache_control"]
        return block

    def _image(self, part: dict[str, Any], where: str) -> Block:
        given = part.get("image_url")
        url, detail = given, part.get("detail")
        if isinstance(given, dict):
            url, detail = given.get("url"), given.get("detail")
        if detail not in _SAME_DETAIL:
            self.dropped.add("messages.image_url.detail")
        if not isinstance(url, str):
            _wrong(f"{where}.image_url", "It must hold a data URL or an http address.")
        if _is_address(url):
            return {"type": "image", "source": {"type": "url", "url": url}}
        found = _DATA_URL.fullmatch(url)
        if found is None or found["kind"] not in _IMAGES:
            _wrong(f"{where}.image_url", f"It must be one of {', '.join(_IMAGES)} in base64.")
        return {"type": "image", "source": _base64(found["kind"], found["data"])}


def _document(part: dict[str, Any], where: str) -> Block:
    file = part.get("file") if part.get("type") == "file" else part
    given = file.get("file_data") or file.get("file_url") if isinstance(file, dict) else None
    if not isinstance(file, dict) or not isinstance(given, str):
        _wrong(f"{where}.file", "Send the file itself, as a data URL in 'file_data'.")
    block: Block = {"type": "document", "source": _source(given, f"{where}.file")}
    if isinstance(file.get("filename"), str):
        block["title"] = file["filename"]
    return block


def _source(given: str, where: str) -> dict[str, str]:
    if _is_address(given):
        return {"type": "url", "url": given}
    found = _DATA_URL.fullmatch(given)
    kind = found["kind"] if found is not None else ""
    if found is None or (kind != _PDF and not kind.startswith("text/")):
        _wrong(where, "Only PDF documents and plain text in base64 are read.")
    if kind == _PDF:
        return _base64(_PDF, found["data"])
    try:
        text = base64.b64decode(found["data"], validate=True).decode()
    except (binascii.Error, ValueError):
        _wrong(where, "It must be a text of UTF-8 in base64.")
    return {"type": "text", "media_type": "text/plain", "data": text}


def _is_address(url: str) -> bool:
    return url.startswith(("https://", "http://"))


def _base64(kind: str, data: str) -> dict[str, str]:
    return {"type": "base64", "media_type": kind, "data": data}


def _wrong(param: str, message: str) -> NoReturn:
    raise InvalidRequest(message, code="invalid_value", param=param)
