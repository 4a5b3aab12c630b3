"""Pictures by YandexART: an operation for each of them."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from xrouter.domain.answer import AnswerMeta
from xrouter.domain.errors import InvalidRequest, UpstreamMalformed
from xrouter.domain.images import ImagesAnswer, ImagesRequest, Picture
from xrouter.providers.yandexgpt.door import Door
from xrouter.providers.yandexgpt.operations import begun, ended, growing
from xrouter.providers.yandexgpt.params import asks
from xrouter.providers.yandexgpt.payload import as_text
from xrouter.providers.yandexgpt.uri import art_uri
from xrouter.wire.types import Errand

_Dict = dict[str, Any]

_PROMPT_CHARS = 500
_MOST_SIDE = 10_000
_POLLS = 200
_SIZE = re.compile(r"([1-9]\d{0,4})[xX×]([1-9]\d{0,4})")
_POLICY = ("ethic", "policy", "policies", "terms of use", "violat", "not possible to generate")

_TAKEN = frozenset({"model", "prompt", "n", "size", "seed", "user"})
"""`user` names the caller's user: nothing in a picture depends on it."""

_NO_MORE_THAN_SILENCE: dict[str, tuple[Any, ...]] = {
    "quality": ("auto", "standard"),
    "style": (),
    "response_format": ("b64_json",),
    "stream": (False,),
    "background": ("auto", "opaque"),
    "moderation": ("auto",),
    "output_format": ("jpeg", "jpg"),
    "output_compression": (),
    "partial_images": (0,),
}
"""Values that ask for what is made in any case."""


def drawing(door: Door, request: ImagesRequest, ref: str) -> Errand[ImagesAnswer]:
    """The pictures: all are begun, then each is waited for."""
    bodies = image_bodies(request, art_uri(ref, door.folder))
    operations = []
    for body in bodies:
        wire = door.native("imageGenerationAsync", body)
        operations.append((yield from _within_policy(begun(door, wire))))
    pictures, build = [], None
    for operation_id in operations:
        pauses = growing(1.0, 1.5, 5.0, _POLLS)
        response = yield from _within_policy(ended(door, operation_id, pauses))
        image = as_text(response.get("image"))
        if image is None:
            raise UpstreamMalformed("The provider drew nothing.")
        pictures.append(Picture(b64_json=image))
        build = as_text(response.get("modelVersion")) or build
    extra = {"output_format": "jpeg"}
    dropped = ("user",) if request.user is not None else ()
    meta = AnswerMeta(model=ref, fingerprint=build)
    return ImagesAnswer(pictures, meta=meta, extra=extra, dropped=dropped)


def image_bodies(request: ImagesRequest, uri: str) -> list[_Dict]:
    """One body for each picture. Raises InvalidRequest for what cannot be asked for."""
    _check(request)
    seed = _seed(request)
    options: _Dict = {"mimeType": "image/jpeg", **_ratio(request.size)}
    return [
        {
            "modelUri": uri,
            "messages": [{"text": request.prompt, "weight": "1"}],
            "generationOptions": options | ({} if seed is None else {"seed": str(seed + number)}),
        }
        for number in range(request.n or 1)
    ]


def _check(request: ImagesRequest) -> None:
    if len(request.prompt) > _PROMPT_CHARS:
        raise InvalidRequest(
            f"'prompt' has {len(request.prompt)} characters; this model takes {_PROMPT_CHARS}.",
            code="string_above_max_length",
            param="prompt",
        )
    for name, raw in request.fields.items():
        if name in _TAKEN or not asks(request.fields, name):
            continue
        if msgspec.json.decode(raw) not in _NO_MORE_THAN_SILENCE.get(name, ()):
            raise InvalidRequest(
                f"Unsupported parameter: '{name}' is not supported with this model, or not so.",
                code="unsupported_parameter",
                param=name,
                hint="It draws JPEG, answered in base64."
                if name in _NO_MORE_THAN_SILENCE
                else None,
            )


def _seed(request: ImagesRequest) -> int | None:
    """Each further picture has the next seed: with the same one it would be the same picture."""
    if not asks(request.fields, "seed"):
        return None
    seed = msgspec.json.decode(request.fields["seed"])
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**62:
        raise InvalidRequest(
            "'seed' must be an integer from 0 on.", code="invalid_value", param="seed"
        )
    return seed


def _ratio(size: str | None) -> _Dict:
    """Only the proportions can be chosen, not the number of pixels."""
    if size is None or size == "auto":
        return {}
    sides = _SIZE.fullmatch(size)
    if sides is None or max(int(sides[1]), int(sides[2])) > _MOST_SIDE:
        raise InvalidRequest(
            "'size' must be 'auto' or like '1024x1024'.", code="invalid_value", param="size"
        )
    width, height = int(sides[1]), int(sides[2])
    common = math.gcd(width, height)
    ratio = {"widthRatio": str(width // common), "heightRatio": str(height // common)}
    return {"aspectRatio": ratio}


def _within_policy(errand: Errand[Any]) -> Errand[Any]:
    """The errand; a refusal for what is to be drawn is told as such."""
    try:
        return (yield from errand)
    except InvalidRequest as error:
        if not any(word in error.message.lower() for word in _POLICY):
            raise
        raise InvalidRequest(
            error.message,
            code="content_policy_violation",
            param="prompt",
            upstream_status=error.upstream_status,
            upstream_request_id=error.upstream_request_id,
        ) from error
