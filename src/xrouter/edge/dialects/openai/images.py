"""Pictures: the bytes of a request to ImagesRequest, and pictures to bytes."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from msgspec import Struct
from typing_extensions import override

from xrouter.domain.chat import Fields
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.images import ImagesAnswer, ImagesRequest, Picture
from xrouter.domain.ports import Served
from xrouter.edge.mistakes import DECODE_ERRORS, explain, invalid_value
from xrouter.edge.voice import Voice, encode

FORMATS = ("url", "b64_json")
_KINDS = {"/9j/": "jpeg", "iVBOR": "png", "UklGR": "webp", "R0lGO": "gif"}

_fields = msgspec.json.Decoder(Fields)
_request = msgspec.json.Decoder(ImagesRequest)


class PictureList(Struct, kw_only=True):
    """The pictures in order. created: unix seconds."""

    created: int
    data: list[Picture]
    usage: dict[str, Any] | None = None


def read_images(body: bytes) -> ImagesRequest:
    """A checked request. Raises InvalidRequest that names the parameter at fault."""
    try:
        if not body.isascii():
            body.decode()
        fields = _fields.decode(body)
        request = _request.decode(body)
    except DECODE_ERRORS as error:
        raise explain(error) from None
    request.fields = fields
    if request.response_format not in (None, *FORMATS):
        raise invalid_value(
            "Supported values of 'response_format' are: 'url' and 'b64_json'.",
            param="response_format",
        )
    if request.stream:
        raise InvalidRequest(
            "Pictures are not streamed here.", code="unsupported_value", param="stream"
        )
    return request


class ImagesVoice(Voice):
    """wanted: "url" where the caller insists on addresses; data URLs will do."""

    def __init__(self, wanted: str | None) -> None:
        self._as_urls = wanted == "url"

    @override
    def images(self, answer: ImagesAnswer, served: Served) -> bytes:
        pictures = [_addressed(one) for one in answer.pictures] if self._as_urls else None
        usage = answer.usage
        told: dict[str, Any] = {
            **(answer.extra or {}),
            "created": int(time.time()),
            "data": pictures or answer.pictures,
        }
        if usage is not None:
            told["usage"] = usage.details or {
                "input_tokens": usage.prompt_tokens,
                "output_tokens": usage.completion_tokens,
                "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            }
        return encode(told)


def _addressed(picture: Picture) -> Picture:
    data = picture.b64_json
    if picture.url is not None or data is None:
        return picture
    kind = next((kind for start, kind in _KINDS.items() if data.startswith(start)), "png")
    return Picture(url=f"data:image/{kind};base64,{data}", revised_prompt=picture.revised_prompt)
