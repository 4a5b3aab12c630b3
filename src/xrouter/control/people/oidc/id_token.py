"""Checking an ID token (OpenID Connect Core, 3.1.3.7). Pure: keys and time are given.

Raises SignInProblem with the reason in `detail`.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
import warnings
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey
from msgspec import Struct

from xrouter.control.people.oidc.words import SignInProblem

MAX_TOKEN = 32 << 10
LEEWAY_S = 60.0
MAX_AGE_S = 600.0
"""Since it was made: we ask for it and get it at once."""
MAX_SUBJECT = 255
MIN_RSA_BITS = 2048

_PARTS = 3
_FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "RS": ("RSA", ()),
    "PS": ("RSA", ()),
    "ES256": ("EC", ("P-256",)),
    "ES384": ("EC", ("P-384",)),
    "ES512": ("EC", ("P-521",)),
    "EdDSA": ("OKP", ("Ed25519",)),
    "Ed25519": ("OKP", ("Ed25519",)),
}
_MEANINGS = frozenset({"jwk", "jku", "x5u", "crit", "b64", "enc", "zip"})
"""Of a header: other keys, other rules."""
_KINDS: dict[str, type[RSAKey | ECKey | OKPKey]] = {
    "RSA": RSAKey,
    "EC": ECKey,
    "OKP": OKPKey,
}
_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}

Jwk = Mapping[str, Any]


class Header(Struct, frozen=True):
    """kid: None where the provider has one key."""

    algorithm: str
    kid: str | None


class Expected(Struct, frozen=True, kw_only=True):
    """What it must say. audiences: those that it may name besides the client. now: unix seconds."""

    issuer: str
    client_id: str
    audiences: Collection[str]
    nonce: str
    access_token: str
    now: float


def header(token: str, algorithms: Collection[str]) -> Header:
    """How the token says it is signed."""
    parts = token.split(".")
    if len(parts) != _PARTS or len(token) > MAX_TOKEN or not token.isascii():
        raise _bad("it is no JWT")
    try:
        told = json.loads(urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        raise _bad("its header cannot be read") from None
    if not isinstance(told, dict) or _MEANINGS & told.keys():
        raise _bad("its header brings keys or rules of its own")
    if str(told.get("typ", "JWT")).upper() != "JWT":
        raise _bad("it is another kind of token")
    algorithm, kid = told.get("alg"), told.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise _bad("its algorithm is not allowed")
    if kid is not None and not isinstance(kid, str):
        raise _bad("its kid is no text")
    return Header(algorithm, kid)


def find(keys: Sequence[Jwk], wanted: Header) -> Jwk | None:
    """The one key that can have signed it. None without one, and where it is not clear."""
    found = [key for key in keys if _fits(key, wanted)]
    return found[0] if len(found) == 1 else None


def verified(token: str, key: Jwk, algorithm: str) -> dict[str, Any]:
    """The claims, when the key has signed them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # of names; short keys are refused
            public = _KINDS[key["kty"]].import_key(dict(key))
            if isinstance(public, RSAKey) and public.raw_value.key_size < MIN_RSA_BITS:
                raise _bad("its key is too short")
            claims = json.loads(jws.deserialize_compact(token, public, [algorithm]).payload)
    except (JoseError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise _bad("its signature is wrong") from None
    if not isinstance(claims, dict):
        raise _bad("its claims are no object")
    return claims


def require(claims: Mapping[str, Any], expected: Expected, algorithm: str) -> None:
    """Go on only for a token that was made for us, for this attempt, just now."""
    if claims.get("iss") != expected.issuer:
        raise _bad("another issuer made it")
    _require_audience(claims, expected)
    _require_times(claims, expected.now)
    if not same(claims.get("nonce"), expected.nonce):
        raise _bad("its nonce is not of this attempt")
    if not is_subject(claims.get("sub")):
        raise _bad("its subject is none")
    told = claims.get("at_hash")
    if told is not None and not same(told, at_hash(expected.access_token, algorithm)):
        raise _bad("it belongs to another access token")


def is_subject(subject: object) -> bool:
    """Whether it can name somebody."""
    return isinstance(subject, str) and 0 < len(subject) <= MAX_SUBJECT and subject.isprintable()


def same(given: object, wanted: str) -> bool:
    """Compared in constant time; what is no text is not the same."""
    if not isinstance(given, str):
        return False
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())


def at_hash(access_token: str, algorithm: str) -> str:
    """The left half of the access token's digest."""
    made = _HASHES.get(algorithm[-3:], hashlib.sha512)(access_token.encode()).digest()
    return urlsafe_b64encode(made[: len(made) // 2]).decode().rstrip("=")


def _fits(key: Jwk, wanted: Header) -> bool:
    family = _FAMILIES.get(wanted.algorithm) or _FAMILIES[wanted.algorithm[:2]]
    if key.get("kty") != family[0] or (family[1] and key.get("crv") not in family[1]):
        return False
    if key.get("use", "sig") != "sig" or key.get("alg", wanted.algorithm) != wanted.algorithm:
        return False
    uses = key.get("key_ops")
    if isinstance(uses, list) and "verify" not in uses:
        return False
    return wanted.kid is None or key.get("kid") == wanted.kid


def _require_audience(claims: Mapping[str, Any], expected: Expected) -> None:
    told = claims.get("aud")
    audience = [told] if isinstance(told, str) else told
    if not isinstance(audience, list) or not all(isinstance(each, str) for each in audience):
        raise _bad("its audience is none")
    ours = expected.client_id
    if ours not in audience:
        raise _bad("it is for another client")
    if not set(audience) <= {ours, *expected.audiences}:
        raise _bad("it is for clients that are not listed in 'audiences', too")
    party = claims.get("azp")
    if party is None and len(audience) == 1:
        return
    if party != ours:
        raise _bad("another client had it made")


def _require_times(claims: Mapping[str, Any], now: float) -> None:
    ends, made = _moment(claims.get("exp")), _moment(claims.get("iat"))
    begins = _moment(claims.get("nbf", 0))
    if not now < ends + LEEWAY_S:
        raise _bad("it has expired")
    if not (made <= now + LEEWAY_S and begins <= now + LEEWAY_S):
        raise _bad("it comes from the future; compare the clocks")
    if not made >= now - MAX_AGE_S - LEEWAY_S:
        raise _bad("it is too old")


def _moment(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _bad("one of its times is missing or no number")
    try:
        return float(value)
    except OverflowError:
        raise _bad("one of its times is too far away") from None


def _bad(why: str) -> SignInProblem:
    return SignInProblem("failed", f"ID token: {why}")
