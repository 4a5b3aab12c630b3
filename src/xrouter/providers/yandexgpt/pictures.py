"""Images in messages: data URLs pass, addresses are fetched first where the operator allows it."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.wire.types import Errand, WireReply, WireRequest

_Dict = dict[str, Any]

_MOST = 10
_MOST_BYTES = 10 << 20
_MOST_URL = 8192
_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


class Pictures:
    """Those of one chat. fetch: whether addresses are fetched, else they are refused."""

    def __init__(self, *, fetch: bool) -> None:
        self._fetch = fetch
        self._known: dict[str, str] = {}
        self._waiting: list[tuple[str, _Dict]] = []

    def part(self, part: _Dict, where: str) -> _Dict:
        """An image as the provider takes it. Raises InvalidRequest that names what is wrong."""
        image = part.get("image_url")
        detail = image.get("detail") if isinstance(image, dict) else None
        url = image.get("url") if isinstance(image, dict) else image
        param = f"{where}.image_url.url"
        if not isinstance(url, str):
            raise _wrong("An image needs an address.", param)
        taken: _Dict = {"url": url} if detail is None else {"url": url, "detail": detail}
        if url.startswith(("http://", "https://")):
            if len(url) > _MOST_URL:
                raise _wrong("The address of the image is too long.", param)
            self._wait(param, taken)
        elif not url.startswith("data:image/") or ";base64," not in url:
            raise _wrong("It is no data URL of an image in base64.", param)
        return {"type": "image_url", "image_url": taken}

    @property
    def awaited(self) -> bool:
        """Whether something must be fetched first."""
        return bool(self._waiting)

    def put_into(self, wire: WireRequest, body: _Dict) -> Errand[None]:
        """Fetch what is waited for, each address once, and write the body of the request anew."""
        for param, image in self._waiting:
            url = image["url"]
            if url not in self._known:
                request = WireRequest("GET", url, {"accept": "image/*"}, foreign=True)
                try:
                    reply = yield request
                except XRouterError as error:
                    raise _wrong("The image could not be fetched.", param) from error
                self._known[url] = _data_url(reply, param)
            image["url"] = self._known[url]
        self._waiting = []
        wire.body = msgspec.json.encode(body)

    def _wait(self, param: str, image: _Dict) -> None:
        if not self._fetch:
            raise _wrong(
                "Images must be sent as data URLs to this provider.",
                param,
                hint="Send 'data:image/jpeg;base64,...' instead of an address, or ask the operator "
                "to set the endpoint's option image_urls=fetch.",
            )
        if len(self._waiting) >= _MOST:
            raise _wrong(f"At most {_MOST} images may be sent by address.", param)
        self._waiting.append((param, image))


def _data_url(reply: WireReply, param: str) -> str:
    if reply.status != 200:  # noqa: PLR2004 - HTTP
        raise _wrong(f"The image could not be fetched: status {reply.status}.", param)
    if len(reply.body) > _MOST_BYTES:
        raise _wrong(f"The image has more than {_MOST_BYTES >> 20} MiB.", param)
    for magic, kind in _MAGIC:
        if reply.body.startswith(magic):
            return f"data:{kind};base64,{base64.b64encode(reply.body).decode()}"
    raise _wrong("What is at the address is no JPEG, PNG, GIF or WebP.", param)


def _wrong(message: str, param: str, hint: str | None = None) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_image_url", param=param, hint=hint)
