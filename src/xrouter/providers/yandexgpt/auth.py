"""Who we are: API keys, IAM tokens, and what gets IAM tokens by itself.

That is the authorized key of a service account, and the metadata service of the machine we run on
(or whatever the operator has put up that speaks like it).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from msgspec import Struct
from typing_extensions import override

from xrouter.domain.errors import InvalidRequest, UpstreamDenied, UpstreamMalformed, XRouterError
from xrouter.domain.secret import Secret
from xrouter.providers.yandexgpt.errors import ErrorReader, text_in
from xrouter.providers.yandexgpt.payload import as_count, as_text, read_object
from xrouter.wire.types import Token, TokenFlow, WireReply, WireRequest

IAM_URL = "https://iam.api.cloud.yandex.net/iam/v1/tokens"

METADATA_URL = "http://169.254.169.254"
_METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"

KINDS = ("api_key", "iam_token", "service_account_key")
"""The credentials; an endpoint has exactly one of them, or the metadata service."""

_LIFETIME = 3600
"""Seconds: of the assertion (the most that is accepted), and after which a token is renewed."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)?")


class ServiceAccountKey(Struct, frozen=True):
    """What is used of an authorized key file. Never shown: it holds the private key."""

    id: str
    service_account_id: str
    private_key: str

    @override
    def __repr__(self) -> str:
        return "ServiceAccountKey(***)"


def read_key(secret: Secret) -> ServiceAccountKey:
    """The authorized key file. Raises InvalidRequest that names the credential."""
    param = "credential.service_account_key"
    try:
        key = msgspec.json.decode(secret.reveal(), type=ServiceAccountKey)
        _rsa(key)
    except msgspec.DecodeError:
        raise InvalidRequest(
            "The service account key is not the JSON of an authorized key.",
            param=param,
            hint="Paste the whole file that `yc iam key create` wrote.",
        ) from None
    except (ValueError, JoseError):
        raise InvalidRequest(
            "The private key of the service account key cannot be read.", param=param
        ) from None
    return key


def _rsa(key: ServiceAccountKey) -> RSAKey:
    """The private key; a line of explanation stands before the PEM block."""
    start = key.private_key.index("-----BEGIN")
    return RSAKey.import_key(key.private_key[start:])


def assertion(key: ServiceAccountKey, now: float) -> str:
    """The signed JWT that is exchanged for a token. The audience is fixed by the provider."""
    issued = int(now)
    claims = {
        "iss": key.service_account_id,
        "aud": IAM_URL,
        "iat": issued,
        "exp": issued + _LIFETIME,
    }
    header = {"typ": "JWT", "alg": "PS256", "kid": key.id}
    return jwt.encode(header, claims, _rsa(key), algorithms=["PS256"])


def token_flow(key: ServiceAccountKey, url: str, now: float, errors: ErrorReader) -> TokenFlow:
    """Exchange an assertion for an IAM token, to be renewed after an hour at most."""
    reply = yield WireRequest(
        method="POST",
        url=url,
        headers={"content-type": "application/json", "accept": "application/json"},
        body=msgspec.json.encode({"jwt": assertion(key, now)}),
    )
    if reply.status >= 300:  # noqa: PLR2004 - HTTP
        raise _refused(reply, errors)
    body = read_object(reply.body)
    token = as_text(body.get("iamToken"))
    if token is None:
        raise UpstreamMalformed("The token service answered without a token.")
    latest = now + _LIFETIME
    ends = _seconds(body.get("expiresAt"))
    return Token(token, latest if ends is None else min(ends, latest))


def metadata_flow(address: str, now: float, errors: ErrorReader) -> TokenFlow:
    """Ask the metadata service. address: `http://host`, or the host alone."""
    root = address if "://" in address else f"http://{address}"
    url = root.rstrip("/") + _METADATA_PATH
    reply = yield WireRequest("GET", url, {"metadata-flavor": "Google"})
    if reply.status >= 300:  # noqa: PLR2004 - HTTP
        error = errors.from_reply(reply)
        if reply.status >= 500 or reply.status == 429:  # noqa: PLR2004 - HTTP
            raise error
        raise UpstreamDenied(
            f"The metadata service gave no token: status {reply.status}.",
            hint="Attach a service account to the machine, or check `metadata_url`.",
        )
    body = read_object(reply.body)
    token = as_text(body.get("access_token"))
    if token is None:
        raise UpstreamMalformed("The metadata service answered without a token.")
    left = as_count(body.get("expires_in")) or _LIFETIME
    return Token(token, now + min(left, _LIFETIME))


def _refused(reply: WireReply, errors: ErrorReader) -> XRouterError:
    error = errors.from_reply(reply)
    if reply.status >= 500 or reply.status == 429:  # noqa: PLR2004 - HTTP
        return error
    denied = UpstreamDenied(
        "The token service refused the service account's key: "
        + errors.clean(text_in(reply) or f"status {reply.status}"),
        hint="Check that the key was not deleted or revoked, that it belongs to this service "
        "account, and that the clock of this machine is right: the assertion is valid for an hour.",
    )
    denied.upstream_status = reply.status
    denied.upstream_request_id = error.upstream_request_id
    return denied


def _seconds(value: object) -> float | None:
    """Unix seconds of an RFC 3339 time with any number of digits; None if it is not one."""
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    zone = UTC if found[2] in (None, "Z") else _offset(found[2])
    try:
        return datetime.fromisoformat(found[1]).replace(tzinfo=zone).timestamp()
    except ValueError:
        return None


def _offset(text: str) -> timezone:
    hours, minutes = int(text[1:3]), int(text[4:6])
    delta = timedelta(hours=hours % 24, minutes=minutes % 60)
    return timezone(-delta if text[0] == "-" else delta)
