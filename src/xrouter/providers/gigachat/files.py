"""Files at GigaChat: uploaded as attachments, kept for an hour, fetched when GigaChat drew them."""

from __future__ import annotations

import base64
import hashlib
import re
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.errors import (
    InvalidRequest,
    ModelNotFound,
    UpstreamFailed,
    XRouterError,
)
from xrouter.providers.gigachat.errors import error_of, malformed
from xrouter.providers.gigachat.media import Media, check_together, fetched, type_of_image
from xrouter.wire.types import Errand, WireReply, WireRequest

_OURS = re.compile(r"xrouter-[0-9a-f]{32}\.[a-z0-9]{2,5}")
_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_MAX_KNOWN = 2048
_MAX_DELETED = 200
_REUSED_S = 1800.0
_KEPT_S = 3600.0
_MILLISECONDS_ABOVE = 1e11


class Known(Struct):
    """A file that was uploaded. since: unix seconds, None until it is known."""

    id: str
    since: float | None


class Files:
    """Ids of uploaded files by name, which is a hash of the content. The oldest are forgotten."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}

    def find(self, name: str) -> str | None:
        """The id of the file, None when it must be uploaded."""
        found = self._known.get(name)
        return None if found is None else found.id

    def add(self, name: str, file_id: str, since: float | None) -> None:
        """Remember a file."""
        self._known.pop(name, None)
        while len(self._known) >= _MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[name] = Known(file_id, since)

    def forget(self, name: str) -> None:
        """The next request uploads it anew."""
        self._known.pop(name, None)

    def retire(self, now: float) -> set[str]:
        """Forget what is too old to be used again; the ids of all that were known."""
        ids = {known.id for known in self._known.values()}
        for name, known in list(self._known.items()):
            if known.since is None:
                known.since = now
            if now - known.since > _REUSED_S:
                del self._known[name]
        return ids


def attach(files: list[Media], known: Files, base_url: str) -> Errand[None]:
    """Upload what is not known yet, and put the ids into the messages. Raises InvalidRequest."""
    for index, media in enumerate(files):
        if media.url is not None:
            files[index] = yield from _fetch(media, media.url)
    check_together(files)
    for media in files:
        file_id = known.find(media.name)
        if file_id is None:
            file_id = yield from _upload(media, known, base_url)
        media.message["attachments"] = [file_id]


def attach_known(files: list[Media], known: Files) -> bool:
    """The same without a request; False when one is needed."""
    for media in files:
        file_id = known.find(media.name) if media.url is None else None
        if file_id is None:
            return False
        media.message["attachments"] = [file_id]
    return True


def tidy(known: Files, base_url: str, now: float) -> Errand[None]:
    """Delete files of ours that are over an hour old, whoever of us has left them there.

    Not those that a request may still use: what was known until now goes the next time.
    """
    in_use = known.retire(now)
    reply = yield WireRequest("GET", f"{base_url}/files", {"accept": "application/json"})
    if reply.status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
        return  # the account has no files
    if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
        raise error_of(reply)
    body = _parsed(reply)
    listed = body.get("data") if isinstance(body, dict) else None
    old = [
        entry["id"] for entry in listed or () if _is_old(entry, now) and entry["id"] not in in_use
    ]
    for file_id in old[:_MAX_DELETED]:
        yield WireRequest(
            "POST", f"{base_url}/files/{file_id}/delete", {"accept": "application/json"}
        )


def download(ids: list[str], base_url: str) -> Errand[list[tuple[str, bytes]]]:
    """The media type and the bytes of each picture. Raises XRouterError when one is not there."""
    pictures: list[tuple[str, bytes]] = []
    for file_id in ids:
        url = f"{base_url}/files/{file_id}/content"
        reply = yield WireRequest("GET", url, {"accept": "application/jpg"})
        if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise _without_model(error_of(reply), reply)
        if not reply.body:
            raise malformed("the picture is empty")
        pictures.append((type_of_image(reply.body) or "image/jpeg", reply.body))
    return pictures


def as_part(typed: str, data: bytes) -> dict[str, Any]:
    """A picture as a content part with a data URL."""
    url = f"data:{typed};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def is_lost_file(error: XRouterError) -> bool:
    """Whether GigaChat does not have an attachment any more."""
    if not isinstance(error, InvalidRequest | ModelNotFound):
        return False
    text = error.message.lower()
    return "attachment" in text or "file" in text


def _fetch(media: Media, url: str) -> Errand[Media]:
    try:
        reply = yield WireRequest("GET", url, {"accept": "image/*"}, foreign=True)
    except XRouterError as error:
        raise _unreachable(media, error.message) from None
    if reply.status != HTTPStatus.OK:
        raise _unreachable(media, f"It answered with {reply.status}.")
    return fetched(media, reply.body, reply.headers.get("content-type", ""))


def _unreachable(media: Media, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The image could not be fetched. {why}",
        code="invalid_image_url",
        param=f"{media.where}.image_url",
        hint="Send the image itself: data:image/jpeg;base64,...",
    )


def _upload(media: Media, known: Files, base_url: str) -> Errand[str]:
    reply = yield _form(media, f"{base_url}/files")
    if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
        error = _without_model(error_of(reply), reply)
        if isinstance(error, InvalidRequest):
            error.param = media.where
        raise error
    body = _parsed(reply)
    file_id = body.get("id") if isinstance(body, dict) else None
    if not isinstance(file_id, str) or not file_id:
        raise malformed("there is no file id in it")
    known.add(media.name, file_id, _seconds(body.get("created_at")))
    return file_id


def _form(media: Media, url: str) -> WireRequest:
    """multipart/form-data; the boundary is a hash of the content, so it is not in it."""
    boundary = "xrouter" + hashlib.sha256(b"boundary" + media.data).hexdigest()[:32]
    head = (
        f"--{boundary}\r\n"
        'content-disposition: form-data; name="purpose"\r\n\r\ngeneral\r\n'
        f"--{boundary}\r\n"
        f'content-disposition: form-data; name="file"; filename="{media.name}"\r\n'
        f"content-type: {media.type}\r\n\r\n"
    )
    body = head.encode() + media.data + f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "accept": "application/json",
        "content-type": f"multipart/form-data; boundary={boundary}",
    }
    return WireRequest("POST", url, headers, body)


def _without_model(error: XRouterError, reply: WireReply) -> XRouterError:
    """A 404 here is not about the model."""
    if not isinstance(error, ModelNotFound):
        return error
    return UpstreamFailed(
        "GigaChat does not have the file, or takes none here.",
        upstream_status=reply.status,
        upstream_request_id=error.upstream_request_id,
    )


def _is_old(entry: Any, now: float) -> bool:
    if not isinstance(entry, dict):
        return False
    name, file_id, since = (entry.get(key) for key in ("filename", "id", "created_at"))
    ours = isinstance(name, str) and _OURS.fullmatch(name) is not None
    ours = ours and isinstance(file_id, str) and _ID.fullmatch(file_id) is not None
    since = _seconds(since)
    return ours and since is not None and now - since > _KEPT_S


def _seconds(given: Any) -> float | None:
    """Unix seconds; milliseconds are understood."""
    if not isinstance(given, int | float) or isinstance(given, bool):
        return None
    return given / 1000 if given > _MILLISECONDS_ABOVE else float(given)


def _parsed(reply: WireReply) -> Any:
    try:
        return msgspec.json.decode(reply.body)
    except (ValueError, RecursionError):
        raise malformed("it is not the JSON that was expected") from None
