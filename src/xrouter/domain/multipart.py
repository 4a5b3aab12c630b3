"""One text field of a `multipart/form-data` body: read, or replaced; the rest stays as it is."""

from __future__ import annotations

import re

_BOUNDARY = re.compile(r'(?:^|;)\s*boundary=(?:"([^"]{1,70})"|([^;,\s]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'content-disposition:[^\r\n]*;\s*name=(?:"([^"]*)"|([^;\s]+))', re.IGNORECASE)
_MAX_HEAD = 4096
_MAX_PARTS = 256


def boundary_of(content_type: str) -> bytes | None:
    """The boundary of a `multipart/form-data` content type, None for every other type."""
    if not content_type.lower().startswith("multipart/form-data"):
        return None
    found = _BOUNDARY.search(content_type)
    return (found[1] or found[2]).encode("latin-1") if found else None


def read_field(body: bytes, boundary: bytes, name: str) -> str | None:
    """The value of the field, None when there is none or the body is not well-formed."""
    place = _place(body, boundary, name)
    if place is None:
        return None
    try:
        return body[place].decode()
    except UnicodeDecodeError:
        return None


def replace_field(body: bytes, boundary: bytes, name: str, value: str) -> bytes:
    """The body with another value for the field; the same body when there is none."""
    place = _place(body, boundary, name)
    if place is None:
        return body
    return body[: place.start] + value.encode() + body[place.stop :]


def _place(body: bytes, boundary: bytes, name: str) -> slice | None:
    """Where the value of the field lies; None when there are several of this name.

    Readers differ in which of several they take: what we replace must be what others read.
    """
    places: list[slice] = []
    delimiter = b"--" + boundary
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    for _ in range(_MAX_PARTS):
        start = at + len(delimiter)
        if body[at:start] != delimiter or body[start : start + 2] != b"\r\n":
            break
        head_end = body.find(b"\r\n\r\n", start, start + _MAX_HEAD)
        end = body.find(b"\r\n" + delimiter, head_end + 2)
        if head_end < 0 or end < 0:
            break
        found = _NAME.search(body, start, head_end)
        if found is not None and (found[1] or found[2]) == name.encode():
            places.append(slice(head_end + 4, end))
        at = end + 2
    return places[0] if len(places) == 1 else None
