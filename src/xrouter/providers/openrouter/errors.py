"""OpenRouter's errors: `metadata` and `availability` say more than the status."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from xrouter.domain.errors import (
    InvalidRequest,
    ModelNotFound,
    UpstreamFailed,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamTimeout,
    XRouterError,
)
from xrouter.providers.shapes.openai_errors import ErrorReader, too_long
from xrouter.providers.shapes.openai_problem import Problem

_TOO_LONG = ("context_length_exceeded", "max_tokens_exceeded", "token_limit_exceeded")
_CALLERS = (
    "string_too_long", "invalid_request", "invalid_prompt", "content_policy_violation", "refusal",
    "invalid_image", "image_too_large", "image_too_small", "unsupported_image_format",
    "image_download_failed",
)  # fmt: skip
_GONE = frozenset(
    {
        "model_not_found", "no_endpoints", "model_deprecated", "model_unavailable_upstream",
        "privacy_restricted", "constraint_filtered", "free_variant_ended", "region_restricted",
    }
)  # fmt: skip
_BUSY = ("capacity_exhausted", "temporarily_unavailable")
_OF_THE_PLATFORM: dict[str, type[XRouterError]] = {
    "rate_limit_exceeded": UpstreamRateLimited,
    "server": UpstreamFailed,
    "unmapped": UpstreamFailed,
    "provider_unavailable": UpstreamFailed,
    "provider_overloaded": UpstreamOverloaded,
    "timeout": UpstreamTimeout,
}
_IN_FLIGHT = "openrouter_in_flight_budget"
_SECONDS = 1.0


class OpenRouterErrors(ErrorReader):
    """The table of `error_type`, and the states of `availability`."""

    @override
    def special(self, status: int, problem: Problem) -> XRouterError | None:
        metadata = _object(problem.fields.get("metadata"))
        kind = str(metadata.get("error_type") or problem.fields.get("error_type") or "")
        available = _object(problem.fields.get("availability"))
        state = str(available.get("code") or "")
        if state in _GONE:
            return ModelNotFound(problem.text or "No endpoint has this model.", param="model")
        if state in _BUSY:
            return UpstreamOverloaded(
                f"No endpoint is free for this model. It said: {problem.text}",
                retry_after=_number(available.get("retry_after")),
            )
        if kind in _TOO_LONG:
            return too_long(problem.text)
        if kind in _CALLERS:
            return InvalidRequest(problem.text or kind, code=kind)
        if status == 403:  # noqa: PLR2004 - HTTP
            return self._forbidden(problem, metadata)
        if status == 402 and metadata.get("limit_source") == _IN_FLIGHT:  # noqa: PLR2004 - HTTP
            return UpstreamRateLimited(
                "The budget of the account's running requests is used up.", retry_after=_SECONDS
            )
        if kind in _OF_THE_PLATFORM:
            return _OF_THE_PLATFORM[kind](f"The provider failed ({kind}). It said: {problem.text}")
        return None

    @staticmethod
    def _forbidden(problem: Problem, metadata: dict[str, Any]) -> XRouterError | None:
        """Moderation is the caller's matter, a budget the operator's; the rest our credential's."""
        if metadata.get("reasons") or metadata.get("patterns"):
            return InvalidRequest(
                problem.text or "The request was stopped by moderation.",
                code="content_policy_violation",
                param="messages",
            )
        if metadata.get("limit_source"):
            return UpstreamQuotaExhausted(
                "A budget of the account at the provider is used up.",
                hint=f"For the operator: {str(metadata['limit_source'])[:100]}.",
            )
        return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    return float(value)
