"""The error answers of the simulated OpenRouter: the code is a number, the status again."""

from __future__ import annotations

from typing import Any

from xrouter.sandbox.kit import SandboxResponse, json_response
from xrouter.sandbox.openai_errors import ApiError

_TYPES = {
    400: "invalid_request", 401: "authentication", 402: "payment_required",
    403: "permission_denied", 404: "not_found", 408: "timeout", 413: "payload_too_large",
    422: "unprocessable", 429: "rate_limit_exceeded", 500: "server", 502: "provider_unavailable",
    503: "provider_overloaded", 504: "timeout", 524: "timeout", 529: "provider_overloaded",
}  # fmt: skip
_TOO_LONG = "context_length_exceeded"


class Failure(Exception):
    """An error. metadata: what stands in it beside `error_type`. retry_after: seconds."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        metadata: dict[str, Any] | None = None,
        availability: dict[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        told: dict[str, Any] = {"code": status, "message": message}
        told["metadata"] = {"error_type": kind or _TYPES.get(status, "unmapped")} | (metadata or {})
        if availability is not None:
            told["availability"] = availability
        self.envelope: dict[str, Any] = {"error": told}

    def response(self) -> SandboxResponse:
        """As it is sent before anything was generated."""
        return json_response(self.envelope, self.status, self.headers)


def of_api(error: ApiError) -> Failure:
    """What OpenAI would refuse, in OpenRouter's words."""
    told = error.envelope["error"]
    kind = _TOO_LONG if told["code"] == _TOO_LONG else None
    return Failure(error.status, str(told["message"]), kind=kind)


def unavailable(status: int, code: str, message: str, asked: list[Any], **more: Any) -> Failure:
    """No endpoint serves the request, and why."""
    state = {"code": code, "retryable": False, "requested_models": asked} | more
    kind = "invalid_request" if status == 400 else "not_found"  # noqa: PLR2004 - HTTP
    return Failure(status, message, kind=kind, availability=state)
