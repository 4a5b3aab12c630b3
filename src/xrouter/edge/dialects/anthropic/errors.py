"""Errors in Anthropic's envelope, with our `param`, `code` and `hint` beside its fields."""

from __future__ import annotations

import re
from typing import Any

from xrouter.domain.errors import ContextLengthExceeded, UpstreamOverloaded, XRouterError
from xrouter.edge.voice import encode

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_SERVER = 500
_LIMIT = re.compile(r"maximum context length is (\d+) tokens")
_TOKENS = re.compile(r"(\d+) tokens")


class Overloaded(UpstreamOverloaded):
    """529: how this API says that the provider is busy."""

    status = 529


def as_told_here(error: XRouterError) -> XRouterError:
    """The error with the status that clients of this API expect."""
    if not isinstance(error, UpstreamOverloaded):
        return error
    return Overloaded(
        error.message,
        code=error.code,
        param=error.param,
        hint=error.hint,
        retry_after=error.retry_after,
        upstream_status=error.upstream_status,
        upstream_request_id=error.upstream_request_id,
    )


def envelope(error: XRouterError, request_id: str) -> dict[str, Any]:
    """The body of an error, also of an `error` event."""
    told = error.body()["error"]
    told["message"] = _message(error)
    told["type"] = error_type(error.status)
    if error.code is not None:
        told["details"] = {"error_code": error.code}
    return {"type": "error", "error": told, "request_id": request_id}


def refusal(error: XRouterError, request_id: str) -> bytes:
    """The body of an error that is told at the door."""
    return encode(envelope(error, request_id))


def error_type(status: int) -> str:
    """Anthropic's type for an HTTP status."""
    return _TYPES.get(status) or ("api_error" if status >= _SERVER else "invalid_request_error")


def _message(error: XRouterError) -> str:
    """Clients shorten the conversation when they read that the prompt is too long."""
    if not isinstance(error, ContextLengthExceeded) or "prompt is too long" in error.message:
        return error.message
    limit = _LIMIT.search(error.message)
    if limit is not None:
        most = max(int(number) for number in _TOKENS.findall(error.message))
        if most > int(limit[1]):
            return f"prompt is too long: {most} tokens > {limit[1]} maximum"
    return f"prompt is too long: {error.message}"
