"""Error answers: of the API ({"status", "message"}), of OAuth ({"code", "message"}), or HTML.

The status decides; the text is only passed on, and tells the parameter where it names one.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import msgspec

from xrouter.domain.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamMalformed,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamTimeout,
    XRouterError,
)
from xrouter.wire.types import WireReply

_SHOWN = 500
_MAX_RETRY_AFTER_S = 3600.0

_UPSTREAM: dict[int, tuple[type[UpstreamError], str]] = {
    408: (UpstreamTimeout, "GigaChat took too long to answer."),
    429: (UpstreamRateLimited, "GigaChat's limit of simultaneous requests is reached."),
    503: (UpstreamOverloaded, "GigaChat is overloaded."),
    504: (UpstreamTimeout, "GigaChat took too long to answer."),
}
_DENIED_HINTS = {
    401: "For the operator: GigaChat refused the endpoint's credential or token.",
    403: "For the operator: the endpoint's account may not use this model or this operation.",
}
_TOO_LONG = re.compile(
    r"context (length|window|size|limit)|maximum context|too many tokens|exceed\w* .{0,40}tokens",
    re.IGNORECASE,
)
"""Words of a 400 or 422 that is about the length of the prompt [inferred: 413 is documented]."""

_PARAMS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), param)
    for pattern, param in (
        (r"system message|function result|\bmessages\b", "messages"),
        (r"Field 'properties\b|support functions|functions?\[|function_call", "tools"),
        (r"\brepetition_penalty\b", "repetition_penalty"),
        (r"\btemperature\b", "temperature"),
        (r"\btop_p\b", "top_p"),
        (r"\bmax_tokens\b", "max_tokens"),
        (r"\bupdate_interval\b", "update_interval"),
        (r"\breasoning_effort\b", "reasoning_effort"),
        (r"\bresponse_format\b", "response_format"),
        (r"\bmodel\b", "model"),
    )
)


def error_of(reply: WireReply) -> XRouterError:
    """The error that an answer of status >= 300 is."""
    error = error_for(reply.status, text_of_body(reply.body), retry_after_of(reply))
    error.upstream_request_id = reply.headers.get("x-request-id")
    return error


def error_for(status: int, text: str, retry_after: float | None = None) -> XRouterError:
    """The error for a status and GigaChat's own words, "" when it sent none."""
    error = _build(status, text)
    error.upstream_status = status
    error.retry_after = retry_after
    return error


def _build(status: int, text: str) -> XRouterError:
    if status in _DENIED_HINTS:
        hint = f"{_DENIED_HINTS[status]} It said: {text}" if text else _DENIED_HINTS[status]
        return UpstreamDenied("GigaChat does not let XRouter in.", hint=hint)
    if status == HTTPStatus.PAYMENT_REQUIRED:
        return UpstreamQuotaExhausted(
            "The GigaChat account behind XRouter has no tokens left.",
            hint="For the operator: buy a package or use another endpoint.",
        )
    if status == HTTPStatus.NOT_FOUND:
        return ModelNotFound(
            _with("GigaChat does not know this model.", text),
            param="model",
            hint="The models differ from account to account and from host to host.",
        )
    refused = status in (400, 422)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or (refused and _TOO_LONG.search(text)):
        return ContextLengthExceeded(
            _with("This model's maximum context length is exceeded.", text), param="messages"
        )
    if refused:
        return InvalidRequest(
            _with("GigaChat refused the request.", text),
            param=_param_of(text),
            code="invalid_value",
        )
    kind, message = _UPSTREAM.get(status, (UpstreamFailed, f"GigaChat answered with {status}."))
    return kind(_with(message, text))


def malformed(what: str) -> UpstreamMalformed:
    """The error for an answer that is not what the API promises."""
    return UpstreamMalformed(f"GigaChat's answer cannot be read: {what}.")


def text_of_body(body: bytes) -> str:
    """GigaChat's own words in an error body, shortened; "" for HTML and for nothing."""
    try:
        data: Any = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return ""
    if isinstance(data, dict) and isinstance(data.get("error"), dict):
        data = data["error"]
    message = data.get("message") if isinstance(data, dict) else data
    return shorten(message) if isinstance(message, str) else ""


def shorten(text: str) -> str:
    """Foreign words on one line and of bounded length."""
    return " ".join(text[:_SHOWN].split())


def retry_after_of(reply: WireReply) -> float | None:
    """Seconds of the Retry-After header (not documented by GigaChat); dates are ignored."""
    try:
        seconds = float(reply.headers.get("retry-after", ""))
    except ValueError:
        return None
    return min(seconds, _MAX_RETRY_AFTER_S) if seconds >= 0 else None


def _with(message: str, text: str) -> str:
    return f"{message} It said: {text}" if text else message


def _param_of(text: str) -> str | None:
    """The request field that the text is about, where it is clear."""
    for pattern, param in _PARAMS:
        if pattern.search(text):
            return param
    return None
