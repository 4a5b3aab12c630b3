"""The error answers of the simulated llama.cpp server: `code` is a number, there is no `param`."""

from __future__ import annotations

from typing import Any

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    500: "server_error",
    501: "not_supported_error",
    503: "unavailable_error",
}
_MESSAGES = {
    400: "the request is not valid",
    401: "Invalid API Key",
    404: "File Not Found",
    500: "the model failed to compute",
    501: "This server does not support this",
    503: "Loading model",
}


class ServerError(Exception):
    """An error answer. A slip of the caller is often a 500 here, as it is there."""

    def __init__(
        self, code: int, message: str | None = None, kind: str | None = None, **extra: Any
    ) -> None:
        super().__init__(message)
        self.code = code
        self.envelope = {
            "error": {
                "code": code,
                "message": message or _MESSAGES.get(code, _MESSAGES[500]),
                "type": kind or _TYPES.get(code, "server_error"),
                **extra,
            }
        }


def context_exceeded(prompt: int, context: int) -> ServerError:
    """The prompt alone is longer than a slot."""
    return ServerError(
        400,
        f"request ({prompt} tokens) exceeds the available context size ({context} tokens), try"
        " increasing it",
        "exceed_context_size_error",
        n_prompt_tokens=prompt,
        n_ctx=context,
    )


def wrong_type(wanted: str, value: Any) -> str:
    """How the server's JSON library complains of a value."""
    return f"[json.exception.type_error.302] type must be {wanted}, but is {kind_of(value)}"


def kind_of(value: Any) -> str:
    """The type of a JSON value as that library names it."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "null"


def wrong_field(name: str, words: str) -> ServerError:
    """A field of the request that is not as it must be."""
    return ServerError(400, f"Field '{name}': {words}")
