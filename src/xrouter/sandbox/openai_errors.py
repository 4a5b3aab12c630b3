"""The error answers of the simulated OpenAI."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An error answer: status, and the four fields of the envelope."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.envelope = {"error": {"message": message, "type": kind, "param": param, "code": code}}


FAILURES: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "Your request could not be understood."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided: sk-wr***ng."),
    403: (
        "request_forbidden",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported",
    ),
    404: ("invalid_request_error", None, "Not found"),
    429: (
        "requests",
        "rate_limit_exceeded",
        (
            "Rate limit reached for the model in organization org-sandbox on requests per min"
            " (RPM): Limit 500, Used 500, Requested 1. Please try again in 120ms."
        ),
    ),
    500: (
        "server_error",
        None,
        "The server had an error while processing your request. Sorry about that!",
    ),
    503: (
        "service_unavailable_error",
        "server_is_overloaded",
        "The engine is currently overloaded, please try again later",
    ),
}
"""Type, code and message of the error of each status; 500's for those not named."""


def failure_of(status: int, message: str | None) -> ApiError:
    """The provider's own error of this status."""
    kind, code, usual = FAILURES.get(status, FAILURES[500])
    return ApiError(message or usual, status=status, kind=kind, code=code)


def invalid_type(param: str, expected: str, value: Any) -> ApiError:
    """The value has a wrong JSON type."""
    return ApiError(
        f"Invalid type for '{param}': expected {expected}, but got {_named(value)} instead.",
        code="invalid_type",
        param=param,
    )


def invalid_value(param: str, value: Any, supported: tuple[str, ...]) -> ApiError:
    """The value is none of those that are known."""
    known = ", ".join(f"'{one}'" for one in supported)
    return ApiError(
        f"Invalid value: '{value}'. Supported values are: {known}.",
        code="invalid_value",
        param=param,
    )


def missing(param: str) -> ApiError:
    """A field that must be there is not."""
    return ApiError(
        f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param
    )


def out_of_range(param: str, value: float, low: float | None, high: float | None) -> ApiError:
    """A number beyond one of its limits."""
    kind = "decimal" if isinstance(value, float) else "integer"
    if low is not None and value < low:
        side, sign, code, limit = "below minimum", ">=", f"{kind}_below_min_value", low
    else:
        side, sign, code, limit = "above maximum", "<=", f"{kind}_above_max_value", high or 0
    message = (
        f"Invalid '{param}': {kind} {side} value. Expected a value {sign} {limit:g}, but got"
        f" {value:g} instead."
    )
    return ApiError(message, code=code, param=param)


def array_length(param: str, size: int, least: int, most: int) -> ApiError:
    """An array with too few or too many items."""
    if size < least:
        return ApiError(
            f"Invalid '{param}': empty array. Expected an array with minimum length {least},"
            " but got an empty array instead.",
            code="empty_array",
            param=param,
        )
    return ApiError(
        f"Invalid '{param}': array too long. Expected an array with maximum length {most},"
        f" but got an array with length {size} instead.",
        code="array_above_max_length",
        param=param,
    )


def unrecognized(names: list[str]) -> ApiError:
    """Parameters that nobody knows."""
    many = "s" if len(names) > 1 else ""
    return ApiError(f"Unrecognized request argument{many} supplied: {', '.join(names)}")


def unsupported(param: str, instead: str | None = None) -> ApiError:
    """A parameter that this model does not take."""
    hint = f" Use '{instead}' instead." if instead else ""
    return ApiError(
        f"Unsupported parameter: '{param}' is not supported with this model.{hint}",
        code="unsupported_parameter",
        param=param,
    )


def model_not_found(model: str) -> ApiError:
    """No such model."""
    return ApiError(
        f"The model `{model}` does not exist or you do not have access to it.",
        status=404,
        code="model_not_found",
    )


def context_exceeded(limit: int, prompt: int, answer: int) -> ApiError:
    """Prompt, or prompt and answer together, are longer than the model's context."""
    start = f"This model's maximum context length is {limit} tokens. However, "
    if prompt > limit:
        rest = (
            f"your messages resulted in {prompt} tokens. Please reduce the length of the messages."
        )
    else:
        rest = (
            f"you requested {prompt + answer} tokens ({prompt} in the messages, {answer} in the"
            " completion). Please reduce the length of the messages or completion."
        )
    return ApiError(start + rest, code="context_length_exceeded", param="messages")


_NAMES = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string"}


def _named(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "an array"
    return _NAMES.get(type(value), "an object")
