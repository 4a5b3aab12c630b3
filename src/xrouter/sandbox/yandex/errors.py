"""The error answers of the simulated Yandex Cloud: one error, a shape for each of its APIs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from xrouter.sandbox.kit import SandboxResponse, json_response

INVALID, NOT_FOUND, DENIED, EXHAUSTED, INTERNAL, UNAUTHENTICATED = 3, 5, 7, 8, 13, 16


class _Code(Struct, frozen=True):
    status: int
    phrase: str
    kind: str
    usual: str


_CODES = {
    1: _Code(499, "Client Closed Request", "server_error", "Operation was cancelled"),
    INVALID: _Code(400, "Bad Request", "invalid_request_error", "Invalid argument"),
    4: _Code(504, "Gateway Timeout", "server_error", "Deadline exceeded"),
    NOT_FOUND: _Code(404, "Not Found", "not_found", "Not Found"),
    DENIED: _Code(403, "Forbidden", "forbidden", "Permission denied"),
    EXHAUSTED: _Code(429, "Too Many Requests", "too_many_requests", "Quota limit exceeded"),
    12: _Code(501, "Not Implemented", "server_error", "Method not implemented"),
    INTERNAL: _Code(500, "Internal Server Error", "server_error", "Internal error"),
    14: _Code(503, "Service Unavailable", "server_error", "Service unavailable"),
    UNAUTHENTICATED: _Code(401, "Unauthorized", "unauthorized", "Unknown api key"),
}
_OF_SERVERS = 500
_OF_STATUS = {code.status: number for number, code in _CODES.items()}


class Refusal(Exception):
    """An error of any of the APIs. code: as gRPC counts. kind: `type` of the compatible API."""

    def __init__(self, code: int, message: str | None = None, kind: str | None = None) -> None:
        self.code = code
        self.about = _CODES[code]
        self.message = message or self.about.usual
        self.kind = kind or self.about.kind
        super().__init__(self.message)


Shape = Callable[[Refusal], Any]


def of_status(status: int, message: str | None = None) -> Refusal:
    """The error that is answered with this status; INVALID or INTERNAL lend theirs to others."""
    other = INVALID if status < _OF_SERVERS else INTERNAL
    refusal = Refusal(_OF_STATUS.get(status, other), message)
    refusal.about = msgspec.structs.replace(refusal.about, status=status)
    return refusal


def streaming(refusal: Refusal) -> Any:
    """The shape of methods that may stream: native completions."""
    return {
        "error": {
            "grpcCode": refusal.code,
            "httpCode": refusal.about.status,
            "message": refusal.message,
            "httpStatus": refusal.about.phrase,
            "details": [],
        }
    }


def unary(refusal: Refusal) -> Any:
    """The shape of native methods that never stream."""
    return {"error": refusal.message} | plain(refusal)


def plain(refusal: Refusal) -> Any:
    """The shape of the IAM service, and of an operation that failed."""
    return {"code": refusal.code, "message": refusal.message, "details": []}


def compatible(refusal: Refusal) -> Any:
    """The shape of the OpenAI-compatible API."""
    return {"error": {"message": refusal.message, "type": refusal.kind}}


def response_of(refusal: Refusal, shape: Shape) -> SandboxResponse:
    """The error as an answer of this shape."""
    return json_response(shape(refusal), refusal.about.status)
