"""Pictures, documents and sounds inside messages: read and checked, to be uploaded as attachments.

Limits and types are GigaChat's documented ones; what exceeds them is refused by name of the part.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Literal

from msgspec import Struct

from xrouter.domain.errors import InvalidRequest

Wire = dict[str, Any]
Kind = Literal["image", "document", "audio"]

_MIB = 1 << 20
_MAX_BYTES: dict[Kind, int] = {"image": 15 * _MIB, "document": 40 * _MIB, "audio": 35 * _MIB}
_MAX_TOGETHER = 80 * _MIB
_MAX_IMAGES = 10
_MAX_URL = 8192

_TYPES: dict[str, tuple[Kind, str]] = {
    "image/jpeg": ("image", "jpg"),
    "image/png": ("image", "png"),
    "image/tiff": ("image", "tiff"),
    "image/bmp": ("image", "bmp"),
    "text/plain": ("document", "txt"),
    "application/pdf": ("document", "pdf"),
    "application/epub+zip": ("document", "epub"),
    "application/msword": ("document", "doc"),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ("document", "docx"),
    "application/vnd.ms-powerpoint": ("document", "ppt"),
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": (
        "document",
        "pptx",
    ),
    "audio/mpeg": ("audio", "mp3"),
    "audio/mp4": ("audio", "mp4"),
    "audio/x-m4a": ("audio", "m4a"),
    "audio/wav": ("audio", "wav"),
    "audio/webm": ("audio", "weba"),
    "audio/ogg": ("audio", "ogg"),
    "audio/opus": ("audio", "opus"),
}
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-ms-bmp": "image/bmp",
    "audio/mp3": "audio/mpeg",
    "audio/m4a": "audio/x-m4a",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/weba": "audio/webm",
    "video/mp4": "audio/mp4",
}
_OF_ENDING = {ending: kind for kind, (_, ending) in _TYPES.items()} | {
    "jpeg": "image/jpeg",
    "tif": "image/tiff",
    "md": "text/plain",
}
_UNTYPED = ("", "application/octet-stream", "binary/octet-stream")
_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG", "image/png"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)
_NAMES: dict[Kind, str] = {"image": "images", "document": "documents", "audio": "sounds"}


class Media(Struct, kw_only=True):
    """One file of a request.

    where: path of its content part. message: the message whose attachment it is to be.
    url: where its bytes must be fetched from, None when `data` holds them already.
    """

    where: str
    message: Wire
    kind: Kind
    type: str = ""
    data: bytes = b""
    url: str | None = None

    @property
    def name(self) -> str:
        """The file name it gets; the same content has the same name."""
        return f"xrouter-{hashlib.sha256(self.data).hexdigest()[:32]}.{_TYPES[self.type][1]}"


def read_media(part: Wire, where: str, message: Wire, *, fetch: bool) -> Media | None:
    """The file of a content part, None for a part that is no file.

    fetch: whether pictures may be named by http address. Raises InvalidRequest.
    """
    kind = part.get("type")
    if kind in ("image_url", "input_image"):
        return _image(part, where, message, fetch=fetch)
    if kind in ("file", "input_file"):
        return _file(part, where, message)
    if kind == "input_audio":
        given = part.get("input_audio")
        inner = given if isinstance(given, dict) else {}
        ending = inner.get("format")
        typed = _OF_ENDING.get(ending.lower(), "") if isinstance(ending, str) else ""
        data = _decoded(inner.get("data"), where, "audio")
        return _made(data, typed or str(ending)[:20], where, message, wanted="audio")
    return None


def fetched(media: Media, data: bytes, content_type: str) -> Media:
    """The picture with the bytes of its address. Raises InvalidRequest."""
    if len(data) > _MAX_BYTES["image"]:
        raise _too_large("image", media.where)
    typed = content_type.partition(";")[0].strip().lower()
    return _made(data, typed, media.where, media.message, wanted="image")


def check_together(files: list[Media]) -> None:
    """Raise InvalidRequest for files that GigaChat does not take in one request."""
    kinds = {media.kind for media in files}
    last = files[-1].where if files else None
    if len(kinds) > 1:
        told = " and ".join(sorted(_NAMES[kind] for kind in kinds))
        raise _refused(f"GigaChat takes one kind of files in a request, not {told}.", last)
    if sum(media.kind == "image" for media in files) > _MAX_IMAGES:
        raise _refused(f"GigaChat takes {_MAX_IMAGES} images in a request at most.", last)
    if sum(media.kind == "document" for media in files) > 1:
        raise _refused("GigaChat reads only one document of a request.", last)
    if sum(len(media.data) for media in files) > _MAX_TOGETHER:
        raise _refused(
            f"The files of a request may have {_MAX_TOGETHER // _MIB} MiB together.", last
        )


def type_of_image(data: bytes) -> str | None:
    """The media type that the first bytes tell, None for what is no known picture."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def _image(part: Wire, where: str, message: Wire, *, fetch: bool) -> Media:
    given = part.get("image_url")
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str) or not url:
        raise InvalidRequest(
            f"'{where}' names no image.",
            code="missing_required_parameter",
            param=f"{where}.image_url",
        )
    if url[:5].lower() == "data:":
        typed, data = _data_url(url, where, "image")
        return _made(data, typed, where, message, wanted="image")
    if url[:8].lower().startswith(("http://", "https://")) and fetch and len(url) <= _MAX_URL:
        return Media(where=where, message=message, kind="image", url=url)
    raise InvalidRequest(
        "Images of GigaChat must be data URLs; XRouter does not fetch addresses here.",
        code="unsupported_value",
        param=f"{where}.image_url",
        hint="Send the image itself: data:image/jpeg;base64,...",
    )


def _file(part: Wire, where: str, message: Wire) -> Media:
    inner = part.get("file")
    given = inner if isinstance(inner, dict) else part
    text, name = given.get("file_data"), given.get("filename")
    if not isinstance(text, str) or not text:
        raise InvalidRequest(
            "Files of GigaChat must be sent in 'file_data'; ids and addresses are not supported.",
            code="unsupported_value",
            param=f"{where}.file",
            hint="Send the file itself: data:application/pdf;base64,...",
        )
    typed, data = "", b""
    if text[:5].lower() == "data:":
        typed, data = _data_url(text, where, "document")
    else:
        data = _decoded(text, where, "document")
    if typed in _UNTYPED and isinstance(name, str):
        typed = _OF_ENDING.get(name.rpartition(".")[2].lower(), "")
    return _made(data, typed, where, message, wanted=None)


def _made(data: bytes, typed: str, where: str, message: Wire, *, wanted: Kind | None) -> Media:
    """A file of a known type and a size that is allowed."""
    told = type_of_image(data) if wanted == "image" else None
    typed = told or _ALIASES.get(typed, typed)
    if typed.startswith("text/"):
        typed = "text/plain"
    kind = _TYPES[typed][0] if typed in _TYPES else None
    if kind is None or (wanted is not None and kind != wanted):
        endings = ", ".join(e for k, e in _TYPES.values() if wanted in (None, k))
        raise InvalidRequest(
            f"GigaChat does not take files of the type '{typed[:80]}' here, but: {endings}.",
            code="unsupported_value",
            param=where,
        )
    if not data:
        raise InvalidRequest(f"The file in '{where}' is empty.", code="invalid_value", param=where)
    if len(data) > _MAX_BYTES[kind]:
        raise _too_large(kind, where)
    return Media(where=where, message=message, kind=kind, type=typed, data=data)


def _data_url(url: str, where: str, kind: Kind) -> tuple[str, bytes]:
    """The media type and the bytes of `data:<type>;base64,<text>`."""
    head, comma, text = url[5:].partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise InvalidRequest(
            f"The data URL in '{where}' must be of the form data:<type>;base64,<data>.",
            code="invalid_value",
            param=where,
        )
    return head.partition(";")[0].strip().lower(), _decoded(text, where, kind)


def _decoded(text: Any, where: str, kind: Kind) -> bytes:
    if not isinstance(text, str) or not text:
        raise InvalidRequest(
            f"There is no file in '{where}'.", code="missing_required_parameter", param=where
        )
    if len(text) * 3 // 4 > max(_MAX_BYTES.values()) + _MIB:
        raise _too_large(kind, where)
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise InvalidRequest(
            f"The file in '{where}' is not valid base64.", code="invalid_value", param=where
        ) from None


def _too_large(kind: Kind, where: str) -> InvalidRequest:
    limit = _MAX_BYTES[kind] // _MIB
    return _refused(f"GigaChat takes {_NAMES[kind]} of {limit} MiB at most.", where)


def _refused(message: str, where: str | None) -> InvalidRequest:
    return InvalidRequest(message, code="unsupported_value", param=where)
