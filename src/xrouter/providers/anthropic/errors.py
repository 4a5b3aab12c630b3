"""Anthropic's errors: {"type": "error", "error": {"type", "message"}, "request_id"}."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from xrouter.domain.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    PayloadTooLarge,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamMalformed,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamTimeout,
    XRouterError,
)
from xrouter.providers.shapes.openai_problem import Cleaner
from xrouter.providers.shapes.openai_retry import retry_after
from xrouter.wire.types import WireReply

_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_TOO_LONG = ("prompt is too long", "exceed context limit", "context window")
_NO_CREDIT = ("credit balance is too low", "plans & billing", "api usage limits")
_PARAMS = {
    "model": "model",
    "max_tokens": "max_tokens",
    "messages": "messages",
    "system": "messages",
    "stop_sequences": "stop",
    "temperature": "temperature",
    "top_p": "top_p",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "output_config": "response_format",
    "metadata": "user",
    "service_tier": "service_tier",
}
"""What the provider's parameters are called by the caller."""
_PLACE = re.compile(r"([a-z_]+)(?:\.[\w.-]+)?: ")
_SERVER = 500


class ErrorReader:
    """Reads the errors of one endpoint; secrets are taken out of what they say."""

    def __init__(self, secrets: list[str]) -> None:
        self._cleaner = Cleaner(secrets)

    def of_reply(self, reply: WireReply) -> XRouterError:
        """The error that an answer of status >= 300 is."""
        body = _object(reply.body)
        told = body.get("error")
        fields: dict[str, Any] = told if isinstance(told, dict) else {}
        error = self._judge(reply.status, fields, known=bool(fields))
        error.upstream_status = reply.status
        named = body.get("request_id")
        error.upstream_request_id = reply.headers.get("request-id") or (
            named if isinstance(named, str) else None
        )
        if error.blame != "caller":
            error.retry_after = retry_after(reply.headers) or error.retry_after
        return error

    def of_event(self, event: dict[str, Any]) -> XRouterError:
        """The error that a stream ends with."""
        told = event.get("error")
        fields: dict[str, Any] = told if isinstance(told, dict) else {}
        status = _STATUS_OF_TYPE.get(str(fields.get("type")), _SERVER)
        error = self._judge(status, fields, known=True)
        named = event.get("request_id")
        error.upstream_request_id = named if isinstance(named, str) else None
        return error

    def _judge(self, status: int, fields: dict[str, Any], *, known: bool) -> XRouterError:
        text = self._cleaner.clean(str(fields.get("message") or ""))
        lowered = text.lower()
        if any(words in lowered for words in _NO_CREDIT) or status == 402:  # noqa: PLR2004 - HTTP
            return UpstreamQuotaExhausted("The account at the provider is used up.")
        if status in (400, 413) and any(words in lowered for words in _TOO_LONG):
            return ContextLengthExceeded(
                f"This model's maximum context length is exceeded. {text}", param="messages"
            )
        return _by_status(status, text, known=known)


def _by_status(status: int, text: str, *, known: bool) -> XRouterError:
    said = f" It said: {text}" if text else ""
    if status in (401, 403):
        return UpstreamDenied(
            "The provider refused XRouter's own credential.",
            hint="For the operator: check the endpoint's key and what its workspace may use.",
        )
    if status == 429:  # noqa: PLR2004 - HTTP
        return UpstreamRateLimited(f"The provider's rate limit is reached.{said}")
    if status in (503, 529):
        return UpstreamOverloaded(f"The provider is overloaded.{said}")
    if status in (408, 504, 524):
        return UpstreamTimeout(f"The provider took too long to answer.{said}")
    if status >= _SERVER:
        return UpstreamFailed(f"The provider answered with status {status}.{said}")
    if not known:
        return UpstreamMalformed(
            f"There is no such API at the endpoint's address (status {status}).",
            hint="For the operator: check the endpoint's base URL.",
        )
    if status == 404:  # noqa: PLR2004 - HTTP
        return ModelNotFound(text or "The provider does not know this model.", param="model")
    if status == 413:  # noqa: PLR2004 - HTTP
        return PayloadTooLarge(f"The request is larger than the provider accepts.{said}")
    place = _PLACE.match(text)
    return InvalidRequest(
        text or "The provider refused the request without saying why.",
        param=_PARAMS.get(place[1], place[1]) if place else None,
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        found: Any = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
