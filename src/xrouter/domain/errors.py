"""The one error tree, split first by who can fix it.

XRouterError                      carries status, type, code, param, message, hint
├── CallerError                   the caller: change the request             4xx, never retried
│   ├── InvalidRequest            400  a field is wrong; names the parameter
│   ├── Unauthenticated           401  no key, unknown key, revoked key
│   ├── Forbidden                 403  the key may not do this
│   ├── NotFound                  404  unknown URL or object
│   │   └── ModelNotFound         404  model_not_found
│   ├── MethodNotAllowed          405
│   ├── RequestTimeout            408  the body did not arrive in time
│   ├── Conflict                  409  it exists already
│   ├── PayloadTooLarge           413
│   ├── UnsupportedMedia          415
│   ├── ContextLengthExceeded     400  context_length_exceeded
│   ├── RateLimited               429  a limit of ours
│   └── ClientGone                499  the caller left; never sent, only recorded
├── UpstreamError                 the provider: another target, or later     5xx
│   ├── UpstreamUnreachable       502  refused, reset, DNS, TLS
│   ├── UpstreamTimeout           504  connect, first token, idle, total
│   ├── UpstreamFailed            502  the provider answered 5xx
│   ├── UpstreamMalformed         502  not what its contract says (HTML, cut stream, bad JSON)
│   ├── UpstreamOverloaded        503  busy, loading, no free slot
│   └── UpstreamRateLimited       429  the provider's limit, passed on with its Retry-After
├── OperatorError                 the operator: change configuration or pay
│   ├── UpstreamDenied            502  our credential failed; never the caller's 401
│   ├── UpstreamQuotaExhausted    429  insufficient_quota at the provider
│   ├── ProjectCredentialRefused  424  the provider refused the project's own credential
│   ├── ModelUnavailable          503  the model is switched off or has no endpoint
│   └── NotReady                  503  no catalog yet; an unknown key while it cannot be checked
└── InternalError                 us: a defect                                          500

`fallback` says whether another target may be tried for the same request; `reach` how far the
failure goes; `again` whether the same target may do better in a moment; `hint_is_public` whether
the hint is for the caller, or only for the log.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal


class XRouterError(Exception):
    """Base of all errors that may leave the router.

    message: for the caller, one or two sentences, no secrets.
    hint: what the one who can fix it should do; logged, and shown if it is the caller's business.
    param: the request field at fault, as a path such as `messages[0].content`.
    retry_after: seconds after which a repetition makes sense, or None.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str | None] = None
    fallback: ClassVar[bool] = False
    reach: ClassVar[Literal["target", "endpoint"]] = "target"
    again: ClassVar[bool] = False
    blame: ClassVar[str] = "us"
    hint_is_public: ClassVar[bool] = True

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        hint: str | None = None,
        retry_after: float | None = None,
        upstream_status: int | None = None,
        upstream_request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code if code is not None else self.default_code
        self.param = param
        self.hint = hint
        self.retry_after = retry_after
        self.upstream_status = upstream_status
        self.upstream_request_id = upstream_request_id

    def body(self) -> dict[str, Any]:
        """The OpenAI envelope: {"error": {message, type, param, code}} plus our `hint`."""
        error: dict[str, Any] = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        if self.hint is not None and self.hint_is_public:
            error["hint"] = self.hint
        return {"error": error}


class CallerError(XRouterError):
    """The caller can fix it."""

    status = 400
    type = "invalid_request_error"
    blame = "caller"


class InvalidRequest(CallerError):
    """400: a field is missing, wrong or cannot be mapped; `param` names it."""


class Unauthenticated(CallerError):
    """401: no key, or one that is unknown, revoked or expired."""

    status = 401
    default_code = "invalid_api_key"


class Forbidden(CallerError):
    """403: the key is good but may not do this."""

    status = 403
    default_code = "permission_denied"


class NotFound(CallerError):
    """404: unknown URL or object."""

    status = 404


class ModelNotFound(NotFound):
    """404: the model is not in the catalog, the caller may not see it, or a provider lacks it."""

    default_code = "model_not_found"
    fallback = True


class MethodNotAllowed(CallerError):
    """405."""

    status = 405
    default_code = "method_not_supported"


class RequestTimeout(CallerError):
    """408: the request body did not arrive in time."""

    status = 408
    default_code = "request_timeout"


class Conflict(CallerError):
    """409: something of this name exists already."""

    status = 409
    default_code = "already_exists"


class PayloadTooLarge(CallerError):
    """413: the body, or what it inflates to, is over the limit."""

    status = 413
    default_code = "request_too_large"


class UnsupportedMedia(CallerError):
    """415: content type or content encoding that is not understood."""

    status = 415
    default_code = "unsupported_content_type"


class ContextLengthExceeded(CallerError):
    """400: the prompt does not fit; clients look for the phrase "maximum context length"."""

    default_code = "context_length_exceeded"
    fallback = True


class RateLimited(CallerError):
    """429: a limit of the caller's key or project; `retry_after` is set."""

    status = 429
    type = "requests"
    default_code = "rate_limit_exceeded"


class ClientGone(CallerError):
    """499: the caller closed the connection; recorded, never sent."""

    status = 499
    default_code = "client_disconnected"


class UpstreamError(XRouterError):
    """The provider failed; another target may answer."""

    status = 502
    default_code = "upstream_error"
    fallback = True
    blame = "provider"
    hint_is_public = False


class UpstreamUnreachable(UpstreamError):
    """502: refused, reset, DNS or TLS failure before an answer."""

    default_code = "upstream_unreachable"
    reach = "endpoint"
    again = True


class UpstreamTimeout(UpstreamError):
    """504: connect, first token, idle or total deadline passed."""

    status = 504
    default_code = "upstream_timeout"


class UpstreamFailed(UpstreamError):
    """502: the provider answered with a server error."""

    again = True


class UpstreamMalformed(UpstreamError):
    """502: the answer breaks the provider's own contract (HTML, bad JSON, cut stream)."""

    default_code = "upstream_malformed"


class UpstreamOverloaded(UpstreamError):
    """503: busy, loading a model, or no free slot."""

    status = 503
    type = "service_unavailable_error"
    default_code = "server_is_overloaded"
    again = True


class UpstreamRateLimited(UpstreamError):
    """429: the provider's own rate or concurrency limit."""

    status = 429
    type = "requests"
    default_code = "rate_limit_exceeded"
    again = True


class OperatorError(XRouterError):
    """The operator can fix it: a credential, a bill, a switch."""

    status = 502
    blame = "operator"
    fallback = True


class UpstreamDenied(OperatorError):
    """502: the provider refused our credential. Never shown as the caller's 401."""

    default_code = "upstream_auth_failed"
    reach = "endpoint"
    hint_is_public = False


class UpstreamQuotaExhausted(OperatorError):
    """429: our account at the provider is used up; clients must not retry."""

    status = 429
    type = "insufficient_quota"
    default_code = "insufficient_quota"
    reach = "endpoint"
    hint_is_public = False


class ProjectCredentialRefused(OperatorError):
    """424: the provider refused the credential that the caller's project brought, or its account
    there is used up. Whoever looks after the project can fix it; clients must not retry.
    """

    status = 424
    type = "invalid_request_error"
    default_code = "project_credential_refused"
    reach = "endpoint"
    blame = "project"


class ModelUnavailable(OperatorError):
    """503: the model exists but is switched off or has no endpoint."""

    status = 503
    type = "service_unavailable_error"
    default_code = "model_unavailable"
    fallback = False


class NotReady(OperatorError):
    """503: there is no catalog to answer from yet."""

    status = 503
    type = "service_unavailable_error"
    default_code = "not_ready"
    fallback = False


class InternalError(XRouterError):
    """500: a defect of ours; the message never carries details."""

    default_code = "internal_error"
