"""The error answers of the simulated GigaChat."""

from __future__ import annotations

from xrouter.sandbox.kit import SandboxResponse, json_response

INVALID_JSON = "Your request contains invalid JSON syntax."
NO_SUCH_MODEL = "No such model"

USUAL: dict[int, str] = {
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Permission denied",
    404: NO_SUCH_MODEL,
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Payload too large",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
"""The message of each status, where there is nothing more to say."""


class Refusal(Exception):
    """An error of the API: `status` and `message` are the body."""

    def __init__(self, status: int, message: str | None = None) -> None:
        self.status = status
        self.message = message or USUAL.get(status, USUAL[500])
        super().__init__(self.message)

    def response(self) -> SandboxResponse:
        """As the API answers it."""
        return json_response({"status": self.status, "message": self.message}, self.status)


def invalid(message: str) -> Refusal:
    """A parameter is wrong."""
    return Refusal(422, f"Invalid params: {message}")
