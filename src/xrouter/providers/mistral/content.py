"""Content of messages: OpenAI's parts to the provider's chunks. Its schema is closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xrouter.domain.errors import InvalidRequest

Part = dict[str, Any]
Dropped = set[str]
"""Names of what is given up, as they go out in `x-xrouter-dropped`."""

MAX_NAME = 64
_PDF = "data:application/pdf"


def keep(given: Part, known: frozenset[str], place: str, dropped: Dropped) -> Part:
    """The known fields that are not null; the others are noted as `place.name`."""
    kept: Part = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in known:
            kept[name] = value
        elif value not in ([], {}):
            dropped.add(f"{place}.{name[:MAX_NAME]}")
    return kept


def content_of(content: Any, role: str, where: str, dropped: Dropped) -> str | list[Part]:
    """The content of a message of this role. Raises InvalidRequest for parts it cannot have."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    chunks: list[Part] = []
    for index, part in enumerate(content):
        kind = part.get("type")
        make = _KINDS.get(role, _KINDS["user"]).get(kind) if isinstance(kind, str) else None
        if make is None:
            raise InvalidRequest(
                f"Content parts of type '{str(kind)[:40]}' are not supported in {role} messages "
                "for this model.",
                code="unsupported_value",
                param=f"{where}.content[{index}]",
            )
        chunks.append(make(part, f"{where}.content[{index}]", dropped))
    return chunks or ""


def joined(first: str | list[Part], second: str | list[Part]) -> str | list[Part]:
    """Two contents as one."""
    if isinstance(first, list) or isinstance(second, list):
        return chunks_of(first) + chunks_of(second)
    return "\n\n".join(filter(None, (first, second)))


def chunks_of(content: str | list[Part]) -> list[Part]:
    """The content as a list of chunks; [] when there is none."""
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _kept(part: Part, dropped: Dropped, *names: str) -> Part:
    return keep(part, frozenset({"type", *names}), "messages.content", dropped)


def _string(value: Any, param: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidRequest(
            f"Invalid value for '{param}': expected a string.", code="invalid_type", param=param
        )
    return value


def _text(part: Part, where: str, dropped: Dropped) -> Part:
    kept = _kept(part, dropped, "text")
    text = kept.get("text")
    if not isinstance(text, str):
        raise InvalidRequest(
            f"Invalid value for '{where}.text': expected a string.",
            code="invalid_type",
            param=f"{where}.text",
        )
    return {"type": "text", "text": text}


def _refusal(part: Part, where: str, dropped: Dropped) -> Part:
    kept = _kept(part, dropped, "refusal")
    return {"type": "text", "text": _string(kept.get("refusal"), f"{where}.refusal")}


def _image(part: Part, where: str, dropped: Dropped) -> Part:
    """An object, as OpenAI has it, or an address alone; both are known."""
    kept = _kept(part, dropped, "image_url", "detail")
    given = kept.get("image_url")
    image: Part = {}
    if isinstance(given, dict):
        image = keep(given, frozenset({"url", "detail"}), "messages.content.image_url", dropped)
        given = image.get("url")
    url = _string(given, f"{where}.image_url.url")
    detail = image.get("detail", kept.get("detail"))
    shown = {"url": url} if detail is None else {"url": url, "detail": detail}
    return {"type": "image_url", "image_url": shown}


def _audio(part: Part, where: str, dropped: Dropped) -> Part:
    """The provider finds the format out for itself."""
    given = _kept(part, dropped, "input_audio").get("input_audio")
    if isinstance(given, dict):
        kept = keep(given, frozenset({"data", "format"}), "messages.content.input_audio", dropped)
        given = kept.get("data")
    return {"type": "input_audio", "input_audio": _string(given, f"{where}.input_audio.data")}


def _file(part: Part, where: str, dropped: Dropped) -> Part:
    """A file that the provider has already, or a PDF: an address, or what is in it."""
    names = ("file_id", "file_data", "filename", "file_url")
    kept = _kept(part, dropped, "file", *names)
    inner = kept.get("file")
    if isinstance(inner, dict):
        kept = keep(inner, frozenset(names), "messages.content.file", dropped)
    if kept.get("file_id") is not None:
        return {"type": "file", "file_id": _string(kept["file_id"], f"{where}.file.file_id")}
    url = kept.get("file_url")
    if url is None:
        url = _pdf(_string(kept.get("file_data"), f"{where}.file.file_data"), where)
    chunk = {"type": "document_url", "document_url": _string(url, f"{where}.file.file_url")}
    if kept.get("filename") is not None:
        chunk["document_name"] = _string(kept["filename"], f"{where}.file.filename")
    return chunk


def _pdf(data: str, where: str) -> str:
    if not data.startswith("data:"):
        return f"{_PDF};base64,{data}"
    if not data.startswith(_PDF):
        raise InvalidRequest(
            "Of files that come with the request this model reads PDF only.",
            code="unsupported_value",
            param=f"{where}.file.file_data",
        )
    return data


def _document(part: Part, where: str, dropped: Dropped) -> Part:
    kept = _kept(part, dropped, "document_url", "document_name")
    _string(kept.get("document_url"), f"{where}.document_url")
    return kept


def _reference(part: Part, _where: str, dropped: Dropped) -> Part:
    return _kept(part, dropped, "reference_ids")


def _thinking(part: Part, where: str, dropped: Dropped) -> Part:
    kept = _kept(part, dropped, "thinking", "signature", "closed")
    thoughts = kept.get("thinking")
    if isinstance(thoughts, str):
        kept["thinking"] = [{"type": "text", "text": thoughts}]
    elif not isinstance(thoughts, list):
        raise InvalidRequest(
            f"Invalid value for '{where}.thinking': expected an array.",
            code="invalid_type",
            param=f"{where}.thinking",
        )
    return kept


_Make = Callable[[Part, str, Dropped], Part]

_SYSTEM: dict[str, _Make] = {"text": _text, "input_text": _text, "thinking": _thinking}
_KINDS: dict[str, dict[str, _Make]] = {
    "system": _SYSTEM,
    "assistant": _SYSTEM | {"output_text": _text, "refusal": _refusal, "reference": _reference},
    "user": {
        "text": _text,
        "input_text": _text,
        "image_url": _image,
        "input_image": _image,
        "input_audio": _audio,
        "file": _file,
        "input_file": _file,
        "document_url": _document,
        "reference": _reference,
    },
}
"""Roles not named take what the user's messages take."""
