"""Access tokens: OAuth with an authorization key, or user and password.

Both give a token for about 30 minutes, as {"access_token", "expires_at"} or {"tok", "exp"}, the
time in milliseconds (older descriptions show seconds: both are understood).
"""

from __future__ import annotations

import base64
import uuid
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import msgspec

from xrouter.domain.errors import (
    UpstreamDenied,
    UpstreamFailed,
    UpstreamRateLimited,
    XRouterError,
)
from xrouter.domain.secret import Secret
from xrouter.providers.gigachat.errors import malformed, retry_after_of, text_of_body
from xrouter.wire.types import Token, TokenFlow, WireReply, WireRequest

AUTH_URL = "https://ngw.devices.sberbank.ru:9443/api/v2/oauth"
DEFAULT_SCOPE = "GIGACHAT_API_PERS"
SCOPES = (DEFAULT_SCOPE, "GIGACHAT_API_B2B", "GIGACHAT_API_CORP")

_LIFETIME_S = 1800.0
_MILLISECONDS_ABOVE = 1e12
_HINTS = {
    1: "the option `scope` is not one that GigaChat knows.",
    4: "the credential is not a base64 authorization key; copy it as the studio shows it.",
    5: "the option `scope` is empty.",
    6: "the authorization key is wrong or revoked.",
    7: "the authorization key belongs to another `scope` (PERS, B2B and CORP are not the same).",
}


def key_flow(key: Secret, scope: str, auth_url: str, now: float) -> TokenFlow:
    """A token for an authorization key, which is sent as it is: it is already base64."""
    reply = yield WireRequest(
        "POST",
        auth_url,
        {
            "authorization": f"Basic {key.reveal()}",
            "rquid": str(uuid.uuid4()),
            "content-type": "application/x-www-form-urlencoded",
            "accept": "application/json",
        },
        urlencode({"scope": scope}).encode(),
    )
    return _token(reply, now)


def password_flow(user: Secret, password: Secret, base_url: str, now: float) -> TokenFlow:
    """A token for user and password; not every host of GigaChat offers this."""
    pair = base64.b64encode(f"{user.reveal()}:{password.reveal()}".encode()).decode()
    reply = yield WireRequest(
        "POST",
        f"{base_url}/token",
        {"authorization": f"Basic {pair}", "accept": "application/json"},
    )
    return _token(reply, now)


def _token(reply: WireReply, now: float) -> Token:
    if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
        raise _refusal(reply)
    try:
        data: Any = msgspec.json.decode(reply.body)
    except (ValueError, RecursionError):
        raise malformed("the token is not JSON") from None
    if not isinstance(data, dict):
        raise malformed("the token is not a JSON object")
    value = data.get("access_token") or data.get("tok")
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise malformed("there is no access token in it")
    return Token(value, _expiry(data.get("expires_at") or data.get("exp"), now))


def _expiry(given: Any, now: float) -> float:
    """Unix seconds; when none are given, the documented lifetime from now on."""
    try:
        stamp = float(given)
    except (TypeError, ValueError):
        return now + _LIFETIME_S
    return stamp / 1000 if stamp > _MILLISECONDS_ABOVE else stamp


def _refusal(reply: WireReply) -> XRouterError:
    error = _refusal_of_status(reply)
    error.upstream_status = reply.status
    error.upstream_request_id = reply.headers.get("x-request-id")
    return error


def _refusal_of_status(reply: WireReply) -> XRouterError:
    status = reply.status
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return UpstreamRateLimited(
            "GigaChat gives no more access tokens at the moment.",
            retry_after=retry_after_of(reply),
        )
    if not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return UpstreamFailed(f"GigaChat's token service answered with {status}.")
    return UpstreamDenied("GigaChat does not let XRouter in.", hint=_hint(reply))


def _hint(reply: WireReply) -> str:
    """What the operator should look at; GigaChat's own words where the code is not known."""
    try:
        data: Any = msgspec.json.decode(reply.body)
    except (ValueError, RecursionError):
        data = None
    code = data.get("code") if isinstance(data, dict) else None
    if isinstance(code, int) and code in _HINTS:
        return f"For the operator: {_HINTS[code]}"
    if reply.status == HTTPStatus.NOT_FOUND:
        return "For the operator: there is no token service at this address."
    said = text_of_body(reply.body) or f"status {reply.status}"
    return f"For the operator: the token was refused. GigaChat said: {said}"
