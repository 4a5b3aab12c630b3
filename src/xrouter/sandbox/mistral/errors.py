"""The errors of the simulated Mistral, in the several shapes that the real one has."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from xrouter.sandbox.kit import SandboxResponse, json_response


class ApiError(Exception):
    """An error answer."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(str(body.get("message") or body.get("detail")))
        self.status = status
        self.body = body

    def response(self, headers: dict[str, str]) -> SandboxResponse:
        """As it goes out."""
        return json_response(self.body, self.status, headers)


class Wrong(Struct):
    """One thing that the validator says."""

    type: str
    loc: tuple[str | int, ...]
    msg: str
    input: Any = None


def refused(
    message: str, kind: str = "invalid_request_error", code: str | None = None, status: int = 400
) -> ApiError:
    """The usual shape."""
    return ApiError(
        status,
        {
            "object": "error",
            "message": message,
            "type": kind,
            "param": None,
            "code": code,
            "raw_status_code": status,
        },
    )


def invalid(details: list[Wrong]) -> ApiError:
    """422: the body does not fit the closed schema; the message is an object."""
    shown = [{**msgspec.to_builtins(one), "loc": ["body", *one.loc]} for one in details]
    return ApiError(
        422,
        {
            "object": "error",
            "message": {"detail": shown},
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        },
    )


def disorder(message: str) -> ApiError:
    """Messages in a wrong order."""
    return refused(message, "invalid_request_message_order", "3230")


def bad_call(message: str) -> ApiError:
    """Calls of tools and their ids."""
    return refused(message, "invalid_function_call", "3280")


def no_model(name: str) -> ApiError:
    """Nobody of this name."""
    return refused(f"Invalid model: {name}", "invalid_model", "1500")


def too_long(tokens: int, model: str, limit: int) -> ApiError:
    """The prompt does not fit."""
    return refused(
        f"Prompt contains {tokens} tokens and 0 draft tokens, too large for model with {limit} "
        f"maximum context length: {model}",
        code="3051",
    )


def no_capacity(status: int = 429) -> ApiError:
    """Too many others want this model."""
    message = "Service tier capacity exceeded for this model."
    return refused(message, "service_tier_capacity_exceeded", "3505", status)


def failure_of(status: int, message: str | None) -> ApiError:
    """The error of this status."""
    if status == 401:  # noqa: PLR2004 - HTTP
        return ApiError(status, {"detail": message or "Unauthorized"})
    if status == 404:  # noqa: PLR2004 - HTTP
        return ApiError(status, {"detail": message or "Not Found"})
    if status == 422:  # noqa: PLR2004 - HTTP
        wrong = Wrong("missing", ("messages",), message or "Field required", {})
        return ApiError(status, {"detail": [{**msgspec.to_builtins(wrong), "loc": ["body"]}]})
    if status == 429:  # noqa: PLR2004 - HTTP
        return refused(message or "Rate limit exceeded", "rate_limited", "1300", status)
    if status == 503:  # noqa: PLR2004 - HTTP
        return no_capacity(status)
    if status < 500:  # noqa: PLR2004 - HTTP
        return refused(message or "The request cannot be served.", status=status)
    return refused(message or "Internal server error", "internal_server_error", "3000", status)
