"""Pictures and speech: OpenRouter's own `POST /images`, and OpenAI's `POST /audio/speech`."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from xrouter.domain.chat import Fields
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.images import ImagesRequest
from xrouter.domain.raw import RawRequest
from xrouter.providers.shapes.openai_body import drop

SPEECH = "audio/speech"
_UNKNOWN_PICTURE = frozenset({"style", "user", "moderation", "safety_identifier"})
_UNKNOWN_SPEECH = ("instructions", "stream_format")
_USUAL_SOUND = Raw(b'"mp3"')


def picture_body(request: ImagesRequest, upstream: str) -> tuple[dict[str, Any], list[str]]:
    """The body, and the parameters given up. Pictures always come in base64, and whole."""
    if request.response_format not in (None, "b64_json"):
        raise _unsupported("response_format", "OpenRouter's pictures come as 'b64_json' only.")
    if request.stream:
        raise _unsupported("stream", "Pictures cannot be streamed.")
    body: dict[str, Any] = {**request.fields, "model": upstream}
    for name in ("response_format", "stream"):
        body.pop(name, None)
    return body, drop(body, _UNKNOWN_PICTURE)


def speech_body(request: RawRequest, upstream: str) -> bytes:
    """The body, with OpenAI's usual format said aloud: OpenRouter's own is another."""
    try:
        fields = msgspec.json.decode(request.body, type=Fields)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json") from None
    for name in _UNKNOWN_SPEECH:
        if name in fields:
            raise _unsupported(name, f"OpenRouter does not know '{name}'.")
    fields["model"] = Raw(msgspec.json.encode(upstream))
    fields.setdefault("response_format", _USUAL_SOUND)
    return msgspec.json.encode(fields)


def _unsupported(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="unsupported_value", param=param)
