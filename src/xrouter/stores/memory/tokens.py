"""Checking access tokens (RFC 9068): the signature once, then one SHA-256 and a look-up.

A token is kept by its full SHA-256 until it ends; whether it was revoked is looked up in the
snapshot with each request. Nothing that a token says makes anybody ask anything of anybody.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import math
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from msgspec import Struct

from xrouter.domain.bounds import SCOPES, Bounds
from xrouter.domain.errors import Forbidden, NotReady
from xrouter.domain.identity import Principal
from xrouter.domain.snapshot import Snapshot
from xrouter.domain.tokens import ALGORITHMS, TOKEN_TYPE, AccessToken, InvalidToken, TokenKey, Trust

MAX_TOKEN = 4096
"""Characters."""
MAX_HELD = 10_000
LEEWAY_S = 30.0
"""How far the clock of whoever signed may be ahead of ours."""

_HEADER = {"alg", "kid", "typ"}
_PARTS = 3
_TEXTS = ("sub", "client_id", "jti", "gid", "project", "scope")


class _Held(Struct, frozen=True):
    token: AccessToken
    key: TokenKey
    principal: Principal | None


class MemoryTokenBook:
    """Finds whose an access token is. now: unix seconds. size: tokens that are kept."""

    def __init__(self, now: Callable[[], float] = time.time, size: int = MAX_HELD) -> None:
        self._now = now
        self._size = size
        self._held: dict[bytes, _Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def find(self, token: str, snapshot: Snapshot) -> Principal:
        """The owner of the token. Raises InvalidToken, Forbidden, NotReady."""
        name = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        held = self._held.get(name) or self._take(name, token, snapshot)
        if not self._is_good(held, snapshot.tokens):
            self._held.pop(name, None)
            raise InvalidToken("The access token has expired or was revoked.")
        if held.principal is None:
            raise Forbidden(
                "This access token does not allow calls of models.",
                code="insufficient_scope",
                hint=f"It takes one of the scopes {', '.join(SCOPES)}.",
            )
        return held.principal

    def _is_good(self, held: _Held, trust: Trust) -> bool:
        token, revoked = held.token, trust.revoked
        return (
            token.expires_at > self._now()
            and token.grant_id not in revoked
            and token.token_id not in revoked
            and trust.keys.get(token.kid) == held.key
        )

    def _take(self, name: bytes, token: str, snapshot: Snapshot) -> _Held:
        if snapshot.revision < 0:
            raise NotReady("The access token cannot be checked yet. Try again.", retry_after=5.0)
        trust = snapshot.tokens
        found = verify(token, trust, self._now())
        held = _Held(found, trust.keys[found.kid], _principal(found))
        if len(self._held) >= self._size:
            del self._held[next(iter(self._held))]
        self._held[name] = held
        return held


def _principal(token: AccessToken) -> Principal | None:
    """None for one that opens nothing here: no scope would mean every scope."""
    scopes = tuple(scope for scope in token.scopes if scope in SCOPES)
    if not scopes:
        return None
    return Principal(
        key_id=token.grant_id,
        name=token.client_id,
        project=token.project,
        user=None if token.subject.startswith("client:") else token.subject,
        bounds=None if set(scopes) == set(SCOPES) else Bounds(scopes=scopes),
    )


def verify(token: str, trust: Trust, now: float) -> AccessToken:
    """What a token of ours says, whether revoked or not. Raises InvalidToken."""
    if len(token) > MAX_TOKEN or not trust.issuer:
        raise _bad()
    header = _header(token)
    kid = header["kid"]
    key = trust.keys.get(kid) if isinstance(kid, str) else None
    if key is None or header["alg"] != key.algorithm or key.algorithm not in ALGORITHMS:
        raise _bad()
    try:
        signed = jws.deserialize_compact(token, _public(key), algorithms=[key.algorithm])
        claims = json.loads(signed.payload)
    except (JoseError, ValueError, RecursionError):
        raise _bad() from None
    return _read(claims, kid, trust.issuer, now)


def _header(token: str) -> dict[str, Any]:
    """Exactly what we write, so that no other way to name a key or a meaning is even there."""
    parts = token.split(".")
    if len(parts) != _PARTS or not token.isascii():
        raise _bad()
    try:
        header = json.loads(urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        raise _bad() from None
    if not isinstance(header, dict) or set(header) != _HEADER or header["typ"] != TOKEN_TYPE:
        raise _bad()
    return header


@lru_cache(maxsize=64)
def _public(key: TokenKey) -> ECKey | RSAKey:
    kind = ECKey if key.algorithm == "ES256" else RSAKey
    return kind.import_key(json.loads(key.public))


def _read(claims: Any, kid: str, issuer: str, now: float) -> AccessToken:
    if not isinstance(claims, dict) or claims.get("iss") != issuer:
        raise _bad()
    audience = claims.get("aud")
    if issuer not in (audience if isinstance(audience, list) else [audience]):
        raise _bad()
    texts = {name: claims.get(name) for name in _TEXTS}
    if not all(isinstance(text, str) and text for text in texts.values()):
        raise _bad()
    begins = [_moment(claims["iat"]) if "iat" in claims else math.inf]
    if "nbf" in claims:
        begins.append(_moment(claims["nbf"]))
    expires_at = _moment(claims.get("exp"))
    if max(begins) > now + LEEWAY_S:
        raise _bad()
    if expires_at <= now:
        raise InvalidToken("The access token has expired.", hint="Refresh it, or sign in again.")
    return AccessToken(
        token_id=claims["jti"],
        grant_id=claims["gid"],
        client_id=claims["client_id"],
        subject=claims["sub"],
        project=claims["project"],
        scopes=tuple(claims["scope"].split(" ")),
        kid=kid,
        issued_at=begins[0],
        expires_at=expires_at,
    )


def _moment(value: Any) -> float:
    """Seconds; what is none is refused."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _bad()
    try:
        seconds = float(value)
    except OverflowError:
        raise _bad() from None
    if not math.isfinite(seconds):
        raise _bad()
    return seconds


def _bad() -> InvalidToken:
    return InvalidToken("The access token is not valid.", hint="Get another one; sign in again.")
