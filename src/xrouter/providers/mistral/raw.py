"""Operations that are passed on: only the model's name is put in."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from xrouter.domain.errors import InvalidRequest
from xrouter.domain.raw import RawRequest

PATHS = {"moderations": "/moderations", "audio/transcriptions": "/audio/transcriptions"}
"""By operation."""

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_MODEL = re.compile(rb'(?i)content-disposition:[^\r\n]*;\s*name="?model"?\s*(?:[;\r\n]|\Z)')
_MODERATED = frozenset({"model", "input"})
_MAX_PARTS = 100


def body_of(request: RawRequest, upstream: str) -> bytes:
    """The body for the provider. Raises InvalidRequest for one that cannot be read."""
    if request.content_type.lower().startswith("multipart/form-data"):
        return _form(request, upstream)
    try:
        body = msgspec.json.decode(request.body, type=dict[str, Any])
    except (ValueError, RecursionError):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json") from None
    if request.operation == "moderations":
        body = _moderation(body)
    return msgspec.json.encode({**body, "model": upstream})


def _moderation(body: dict[str, Any]) -> dict[str, Any]:
    """The input is one text or several; OpenAI's parts are texts too, if they are no images."""
    for name, value in body.items():
        if name not in _MODERATED and value is not None:
            raise InvalidRequest(
                f"Unsupported parameter: '{name[:64]}' is not supported with this model.",
                code="unsupported_parameter",
                param=name[:64],
            )
    given = body.get("input")
    items = given if isinstance(given, list) else [given]
    texts = [one.get("text") if isinstance(one, dict) else one for one in items]
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            where = f"input[{index}]" if isinstance(given, list) else "input"
            raise InvalidRequest(
                "This model moderates text only.", code="unsupported_value", param=where
            )
    return {"input": texts if isinstance(given, list) else texts[0]}


def _form(request: RawRequest, upstream: str) -> bytes:
    found = _BOUNDARY.search(request.content_type)
    if found is None:
        raise InvalidRequest("The form has no boundary.", code="invalid_value")
    mark = b"--" + (found[1] or found[2]).encode()
    body = request.body
    start = body.find(mark)
    for _ in range(_MAX_PARTS):
        head = start + len(mark)
        end = body.find(b"\r\n" + mark, head)
        value = body.find(b"\r\n\r\n", head, end)
        if start < 0 or end < 0 or value < 0:
            break
        if _MODEL.search(body[head:value]):
            return body[: value + 4] + upstream.encode() + body[end:]
        start = end + 2
    raise InvalidRequest(
        "Missing required parameter: 'model'.", code="missing_required_parameter", param="model"
    )
