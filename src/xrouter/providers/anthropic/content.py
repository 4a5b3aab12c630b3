"""Content parts of OpenAI's messages as Anthropic's blocks."""

from __future__ import annotations

import re
from typing import Any

from xrouter.domain.errors import InvalidRequest

Block = dict[str, Any]

_DATA_URL = re.compile(
    r"data:(?P<kind>[\w.+-]+/[\w.+-]+)(?:;[\w=.-]+)*;base64,(?P<data>.*)", re.DOTALL
)
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_PDF = "application/pdf"
_LOST = ("detail",)


def text_block(text: str, part: dict[str, Any] | None = None) -> Block:
    """A text, with the mark of the prompt cache if the part has one."""
    block: Block = {"type": "text", "text": text}
    if part is not None and part.get("cache_control") is not None:
        block["cache_control"] = part["cache_control"]
    return block


def blocks_of(content: str | list[dict[str, Any]] | None, where: str) -> list[Block]:
    """Blocks without empty texts. Raises InvalidRequest for parts that cannot be said."""
    if content is None or isinstance(content, str):
        return [text_block(content)] if content else []
    found = (_block(part, f"{where}[{index}]") for index, part in enumerate(content))
    return [block for block in found if block.get("text") != ""]


def _block(part: dict[str, Any], where: str) -> Block:
    kind = part.get("type")
    if kind in ("text", "input_text"):
        text = part.get("text")
        return text_block(text if isinstance(text, str) else "", part)
    if kind in ("image_url", "input_image"):
        return _cached(_image(part, where), part)
    if kind == "file":
        return _cached(_document(part, where), part)
    raise InvalidRequest(
        f"Anthropic does not read parts of type '{str(kind)[:40]}'.",
        code="unsupported_value",
        param=where,
    )


def _cached(block: Block, part: dict[str, Any]) -> Block:
    if part.get("cache_control") is not None:
        block["cache_control"] = part["cache_control"]
    return block


def _image(part: dict[str, Any], where: str) -> Block:
    given = part.get("image_url")
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str):
        raise _wrong(f"{where}.image_url", "It must hold a data URL or an http address.")
    if url.startswith(("https://", "http://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    found = _DATA_URL.fullmatch(url)
    if found is None or found["kind"] not in _IMAGES:
        raise _wrong(f"{where}.image_url", f"It must be one of {', '.join(_IMAGES)} in base64.")
    return {"type": "image", "source": _base64(found["kind"], found["data"])}


def _document(part: dict[str, Any], where: str) -> Block:
    file = part.get("file")
    given = file.get("file_data") if isinstance(file, dict) else None
    if not isinstance(file, dict) or not isinstance(given, str):
        raise _wrong(f"{where}.file", "Send the file itself, as a data URL in 'file_data'.")
    found = _DATA_URL.fullmatch(given)
    if found is None or found["kind"] != _PDF:
        raise _wrong(f"{where}.file", "Only PDF documents in base64 are read.")
    block: Block = {"type": "document", "source": _base64(_PDF, found["data"])}
    if isinstance(file.get("filename"), str):
        block["title"] = file["filename"]
    return block


def _base64(kind: str, data: str) -> dict[str, str]:
    return {"type": "base64", "media_type": kind, "data": data}


def _wrong(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_value", param=param)
