"""Operations that are passed on: the model's name is put in, and verdicts get their sum."""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.domain.errors import InvalidRequest
from xrouter.domain.multipart import boundary_of, read_field, replace_field
from xrouter.domain.raw import RawRequest

MODERATIONS = "moderations"
PATHS = {MODERATIONS: "/moderations", "audio/transcriptions": "/audio/transcriptions"}
"""By operation."""

_MODERATED = frozenset({"model", "input"})


def body_of(request: RawRequest, upstream: str) -> bytes:
    """The body for the provider. Raises InvalidRequest for one that cannot be read."""
    boundary = boundary_of(request.content_type)
    if boundary is not None:
        return _form(request.body, boundary, upstream)
    try:
        body = msgspec.json.decode(request.body, type=dict[str, Any])
    except (ValueError, RecursionError):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json") from None
    if request.operation == MODERATIONS:
        body = _moderation(body)
    return msgspec.json.encode({**body, "model": upstream})


def with_flags(body: bytes) -> bytes:
    """The verdicts with `flagged`, which callers read first and the provider does not say.

    A text is flagged when at least one of its categories is true. What has a `flagged` of its own,
    or no categories, stays as it came; so does a body that holds no verdicts.
    """
    try:
        answer = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return body
    results = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(results, list):
        return body
    for result in results:
        categories = result.get("categories") if isinstance(result, dict) else None
        if isinstance(categories, dict):
            result.setdefault("flagged", any(categories.values()))
    return msgspec.json.encode(answer)


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


def _form(body: bytes, boundary: bytes, upstream: str) -> bytes:
    if read_field(body, boundary, "model") is None:
        raise InvalidRequest(
            "Missing required parameter: 'model'.", code="missing_required_parameter", param="model"
        )
    return replace_field(body, boundary, "model", upstream)
