"""From errors of services that speak OpenAI's language to ours: status and code, then words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from xrouter.domain.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    PayloadTooLarge,
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
from xrouter.providers.shapes.openai_problem import Cleaner, Problem, problem_in, problem_of
from xrouter.providers.shapes.openai_retry import retry_after
from xrouter.wire.types import WireReply

_TOO_LONG = re.compile(
    r"maximum context length|context[_ ]length[_ ]exceeded|exceeds? the (?:\w+ ){0,4}context"
    r"|(?:input|prompt|request) (?:is|was) too long|reduce the length of the"
    r"|exceeds? (?:\w+ ){0,4}context (?:size|window|length)",
    re.IGNORECASE,
)
_OF_TEMPLATE = re.compile(
    r"tool call ids?\b|conversation roles|must alternate|system message must|chat[_ ]template"
    r"|jinja",
    re.IGNORECASE,
)
"""What chat templates say of a history that they do not take: some servers answer it with a 404."""

_QUOTA = frozenset(
    {
        "insufficient_quota", "billing_hard_limit_reached", "billing_not_active",
        "credit_balance_exhausted", "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded", "organization_usage_limit_exceeded",
    }
)  # fmt: skip

_STATUS_OF_NAME = {
    "invalid_request_error": 400, "badrequesterror": 400, "context_length_exceeded": 400,
    "exceed_context_size_error": 400,
    "authentication_error": 401, "invalid_api_key": 401, "authenticationerror": 401,
    "permission_error": 403, "permission_denied": 403,
    "not_found_error": 404, "notfounderror": 404, "model_not_found": 404,
    "insufficient_quota": 429, "rate_limit_error": 429, "rate_limit_exceeded": 429,
    "too_many_requests": 429, "requests": 429, "tokens": 429, "slow_down": 429,
    "server_error": 500, "internal_error": 500, "api_error": 500, "internalservererror": 500,
    "not_supported_error": 501,
    "overloaded_error": 503, "service_unavailable_error": 503, "unavailable_error": 503,
    "server_is_overloaded": 503,
    "timeout": 504, "timeout_error": 504,
}  # fmt: skip
"""The status of an error that came without one: in a stream, or with status 200."""

_UPSTREAM: dict[int, tuple[type[UpstreamError], str]] = {
    408: (UpstreamTimeout, "The provider took too long to answer."),
    429: (UpstreamRateLimited, "The provider's rate limit is reached."),
    498: (UpstreamOverloaded, "The provider has no capacity at the moment."),
    503: (UpstreamOverloaded, "The provider is overloaded."),
    504: (UpstreamTimeout, "The provider took too long to answer."),
    524: (UpstreamTimeout, "The provider took too long to answer."),
    529: (UpstreamOverloaded, "The provider is overloaded."),
}
_DENIED_HINTS = {
    401: "For the operator: the provider refused the endpoint's credential; check it.",
    403: "For the operator: the endpoint's account may not use this model or this service.",
}
_BASE_URL_HINT = "For the operator: check the endpoint's base URL; it usually ends in /v1."
_NOT_AN_API = (404, 405, 415)


class ErrorReader:
    """Reads the errors of one endpoint. A service with habits of its own overrides `special`."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """secrets: what must never be shown, also when an error repeats it."""
        self._cleaner = Cleaner(secrets)

    def of_reply(self, reply: WireReply) -> XRouterError:
        """The error that an answer of status >= 300 is."""
        problem = problem_in(reply.body, self._cleaner)
        error = self.judge(reply.status, problem)
        error.upstream_status = reply.status
        error.upstream_request_id = reply.headers.get("x-request-id")
        if not isinstance(error, InvalidRequest | ModelNotFound | ContextLengthExceeded):
            error.retry_after = retry_after(reply.headers) or error.retry_after
        return error

    def of_object(self, data: Any) -> XRouterError:
        """The error in an object that came with status 200, whole or in a stream."""
        problem = problem_of(data, self._cleaner)
        named = _STATUS_OF_NAME.get((problem.code or "").lower()) or _STATUS_OF_NAME.get(
            (problem.type or "").lower()
        )
        error = self.judge(problem.status or named or 500, problem)
        error.upstream_status = problem.status
        return error

    def judge(self, status: int, problem: Problem) -> XRouterError:
        """Status and words to an error."""
        return (
            self.special(status, problem)
            or self._by_words(status, problem)
            or _by_status(status, problem)
        )

    def special(self, status: int, problem: Problem) -> XRouterError | None:  # noqa: ARG002
        """An error that only this service has; None for the ordinary ones."""
        return None

    def _by_words(self, status: int, problem: Problem) -> XRouterError | None:
        """What codes and phrases tell better than the status."""
        if status == 402 or _QUOTA & {problem.code, problem.type}:  # noqa: PLR2004 - HTTP
            return UpstreamQuotaExhausted(
                "The account at the provider is used up.",
                hint="For the operator: check the plan and the bill of the endpoint's account.",
            )
        if status in (400, 413, 422, 500) and (
            problem.code == "context_length_exceeded" or _TOO_LONG.search(problem.text)
        ):
            return too_long(problem.text, problem.param)
        if status == 400 and problem.code == "model_not_found":  # noqa: PLR2004 - HTTP
            return _no_model(problem)
        return None


def too_long(text: str, param: str | None = None) -> ContextLengthExceeded:
    """The prompt does not fit; the message has the phrase that clients look for."""
    phrase = "This model's maximum context length is exceeded."
    if "maximum context length" in text.lower():
        phrase = ""
    return ContextLengthExceeded(f"{phrase} {text}".strip(), param=param or "messages")


def refused(problem: Problem) -> InvalidRequest:
    """The provider's own 400, in its own words: clients know some of them."""
    return InvalidRequest(
        problem.text or "The provider refused the request without saying why.",
        code=problem.code,
        param=problem.param,
    )


def _by_status(status: int, problem: Problem) -> XRouterError:
    if status in _DENIED_HINTS:
        return UpstreamDenied(
            "The provider refused XRouter's own credential.", hint=_DENIED_HINTS[status]
        )
    if status in _UPSTREAM:
        kind, message = _UPSTREAM[status]
        return kind(_with(message, problem))
    if status >= 500 and status != 501:  # noqa: PLR2004 - HTTP
        return UpstreamFailed(_with(f"The provider answered with status {status}.", problem))
    if status < 400 or (status in _NOT_AN_API and not _is_about_a_model(status, problem)):  # noqa: PLR2004 - HTTP
        return UpstreamMalformed(
            f"There is no such API at the endpoint's address (status {status}).",
            hint=_BASE_URL_HINT,
        )
    if status in (404, 410):
        of_template = not problem.code and _OF_TEMPLATE.search(problem.text) is not None
        return refused(problem) if of_template else _no_model(problem)
    if status == 413:  # noqa: PLR2004 - HTTP
        return PayloadTooLarge(_with("The request is larger than the provider accepts.", problem))
    if not problem.known and not problem.text:
        return UpstreamMalformed(
            f"The provider answered with status {status} and no explanation.", hint=_BASE_URL_HINT
        )
    return refused(problem)


def _is_about_a_model(status: int, problem: Problem) -> bool:
    """Whether a 404 means the model, not the URL."""
    if status != 404 or not problem.known or problem.code == "unknown_url":  # noqa: PLR2004 - HTTP
        return False
    if problem.says("unknown request url", "invalid url"):
        return False
    return problem.text.lower().strip(". ") not in ("not found", "file not found", "404")


def _no_model(problem: Problem) -> ModelNotFound:
    return ModelNotFound(
        problem.text or "The provider does not know this model.", param=problem.param or "model"
    )


def _with(message: str, problem: Problem) -> str:
    return f"{message} It said: {problem.text}" if problem.text else message
