"""OpenRouter's errors: `metadata` and `availability` say more than the status."""

from __future__ import annotations

from typing import Any

import msgspec
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
from xrouter.providers.shapes.openai_problem import Problem, problem_in, problem_of
from xrouter.wire.types import WireReply

GENERATION = "x-generation-id"
"""The response header that names the generation."""

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
_CALLERS_STATUS = (400, 413, 422)
_PAYMENT, _FORBIDDEN, _CLOSED = 402, 403, 499
_IN_FLIGHT = "openrouter_in_flight_budget"
_SECONDS = 1.0
_MAX_REASONS = 10
_MAX_NAME = 100


class OpenRouterErrors(ErrorReader):
    """The table of `error_type`, the states of `availability`, the words of the party behind."""

    @override
    def of_reply(self, reply: WireReply) -> XRouterError:
        error = super().of_reply(reply)
        error.upstream_request_id = reply.headers.get(GENERATION) or error.upstream_request_id
        return error

    @override
    def of_object(self, data: Any) -> XRouterError:
        error = super().of_object(data)
        generation = _object(data).get("id")
        if isinstance(generation, str) and generation:
            error.upstream_request_id = generation[:_MAX_NAME]
        return error

    @override
    def judge(self, status: int, problem: Problem) -> XRouterError:
        return super().judge(status, self._completed(status, problem))

    @override
    def special(self, status: int, problem: Problem) -> XRouterError | None:
        metadata = _object(problem.fields.get("metadata"))
        available = _object(problem.fields.get("availability"))
        kind = str(metadata.get("error_type") or problem.fields.get("error_type") or "")
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
        if status == _FORBIDDEN:
            return _forbidden(problem, metadata)
        if status == _PAYMENT:
            return _unpaid(metadata)
        if kind in _OF_THE_PLATFORM:
            return _OF_THE_PLATFORM[kind](f"The provider failed ({kind}). It said: {problem.text}")
        if status == _CLOSED:
            return UpstreamFailed("The provider broke the request off.")
        return None

    def _completed(self, status: int, problem: Problem) -> Problem:
        """With the words of the party behind, which OpenRouter keeps apart in `metadata.raw`.

        Its code and parameter count where the request was at fault; other states are its own.
        """
        metadata = _object(problem.fields.get("metadata"))
        raw = metadata.get("raw")
        if isinstance(raw, str):
            behind = problem_in(raw.encode(errors="replace"), self._cleaner)
        elif isinstance(raw, dict):
            behind = problem_of(raw, self._cleaner)
        else:
            return problem
        text = problem.text
        if behind.text and behind.text not in text:
            text = f"{text} {_who(metadata)}: {behind.text}".strip()
        if status not in _CALLERS_STATUS:
            return msgspec.structs.replace(problem, text=text)
        return msgspec.structs.replace(
            problem,
            text=text,
            code=problem.code or behind.code,
            param=problem.param or behind.param,
        )


def _forbidden(problem: Problem, metadata: dict[str, Any]) -> XRouterError | None:
    """Moderation is the caller's matter, a budget the operator's; the rest our credential's."""
    reasons = metadata.get("reasons") or metadata.get("patterns")
    if reasons:
        told = reasons[:_MAX_REASONS] if isinstance(reasons, list) else [reasons]
        named = ", ".join(str(reason)[:_MAX_NAME] for reason in told)
        return InvalidRequest(
            f"{problem.text or 'The request was stopped by moderation.'} Reasons: {named}.",
            code="content_policy_violation",
            param="messages",
        )
    return _unpaid(metadata) if metadata.get("limit_source") else None


def _unpaid(metadata: dict[str, Any]) -> XRouterError:
    """Money of the operator's; the budget of running requests passes by itself."""
    source = str(metadata.get("limit_source") or "the balance")
    if source == _IN_FLIGHT:
        return UpstreamRateLimited(
            "The budget of the account's running requests is used up.", retry_after=_SECONDS
        )
    return UpstreamQuotaExhausted(
        "The account at the provider is used up.",
        hint=f"For the operator: check the bill and the limits; it was {source[:_MAX_NAME]}.",
    )


def _who(metadata: dict[str, Any]) -> str:
    name = metadata.get("provider_name")
    return name[:_MAX_NAME] if isinstance(name, str) and name else "The provider behind it said"


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    return float(value)
