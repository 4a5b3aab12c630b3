"""Errors as RFC 6749 has them, and forms that hold each field once."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
OPEN = {"access-control-allow-origin": "*"}
"""For pages of everybody; no answer depends on a cookie there."""
MAX_FORM = 64 << 10
MAX_VALUE = 16_000
_FIELDS = 60
_READ_S = 10.0
_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"


class OAuthError(Exception):
    """error: its code. description: ours alone, printable ASCII without quotes."""

    def __init__(
        self,
        error: str,
        description: str,
        *,
        status: int = 400,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """As JSON, kept by nobody."""
        body = {"error": self.error, "error_description": self.description}
        return JSONResponse(body, self.status, {**NO_STORE, **self.headers})


def bad_request(description: str) -> OAuthError:
    """400 `invalid_request`."""
    return OAuthError("invalid_request", description)


def bad_grant() -> OAuthError:
    """400 `invalid_grant`: the same for whatever is wrong with it."""
    return OAuthError("invalid_grant", "The grant is invalid, expired or used.")


def busy(wait_s: float) -> OAuthError:
    """429."""
    headers = {"retry-after": str(math.ceil(wait_s))}
    text = "There were too many attempts; wait a little."
    return OAuthError("slow_down", text, status=429, headers=headers)


def away() -> OAuthError:
    """503: nothing was done."""
    text = "The server cannot do this at the moment; nothing was changed."
    return OAuthError("temporarily_unavailable", text, status=503, headers={"retry-after": "5"})


def failure(status: int, message: str) -> Response:
    """An error as the callers of `/api/v1/auth/keys` and its neighbours know it."""
    return JSONResponse({"error": {"code": status, "message": message}}, status)


async def form(request: Request) -> dict[str, str]:
    """The fields of a form; empty ones are absent. Raises OAuthError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise bad_request(f"The body must be a form: {_FORM}.")
    if request.scope["query_string"]:  # `request.url` is made of the header Host
        raise bad_request("Parameters belong into the body, not into the address.")
    return fields(await _body(request))


async def document(request: Request) -> dict[str, Any]:
    """The JSON object of the body. Raises OAuthError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _JSON:
        raise bad_request(f"The body must be JSON: {_JSON}.")
    try:
        found = json.loads(await _body(request))
    except (ValueError, RecursionError):
        raise bad_request("The body is not JSON.") from None
    if not isinstance(found, dict):
        raise bad_request("The body must be a JSON object.")
    return found


def fields(data: str) -> dict[str, str]:
    """Of a form or a query; empty ones are absent. Raises OAuthError, also for a
    field that comes twice.

    Bytes that are no UTF-8 are kept as surrogates.
    """
    found = pairs(data)
    if len({name for name, _ in found}) != len(found):
        raise bad_request("A parameter came twice.")
    return {name: value for name, value in found if value}


def pairs(data: str) -> list[tuple[str, str]]:
    """The same with empty ones, and those that come twice. Raises OAuthError."""
    try:
        found = parse_qsl(
            data, keep_blank_values=True, max_num_fields=_FIELDS, errors="surrogateescape"
        )
    except ValueError:
        raise bad_request("The parameters cannot be read.") from None
    if any(len(value) > MAX_VALUE for _, value in found):
        raise bad_request(f"A parameter is longer than {MAX_VALUE} characters.")
    return found


async def _body(request: Request) -> str:
    parts = bytearray()
    try:
        async with asyncio.timeout(_READ_S):
            async for part in request.stream():
                parts += part
                if len(parts) > MAX_FORM:
                    raise OAuthError("invalid_request", "The body is too large.", status=413)
    except (TimeoutError, ClientDisconnect):
        raise bad_request("The body did not arrive.") from None
    return parts.decode("utf-8", "surrogateescape")
