"""Keys and tokens of the simulated Yandex Cloud."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec import Struct

from xrouter.sandbox.kit import SandboxRequest
from xrouter.sandbox.yandex.errors import DENIED, INVALID, UNAUTHENTICATED, Refusal
from xrouter.sandbox.yandex.models import check_folder

API_KEY = "AQVN-sandbox"
"""How good API keys begin. One that ends in -expired is expired, in -denied lacks its role."""
ACCOUNT = "ajesandbox0000000000"
KEY_ID = "ajesandboxkey0000000"
AUDIENCE = "https://iam.api.cloud.yandex.net/iam/v1/tokens"
LIFETIME = 12 * 3600
TOKENS_KEPT = 10_000
KEYS_KEPT = 1000

_JWT_LIFETIME = 3600
_JWT_CHARACTERS = 8000
_JWT_PARTS = 3
_SKEW = 5
_PSS = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=SHA256.digest_size)


class AuthorizedKey(Struct):
    """The public part of a service account's key."""

    id: str
    service_account_id: str
    public_key: str


class Accounts:
    """Who may call. clock: seconds since 1970."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._keys: dict[str, AuthorizedKey] = {}
        self._own: dict[str, str] = {}
        self._tokens: dict[str, tuple[str, float]] = {}

    def own_key(self) -> dict[str, str]:
        """The sandbox's own authorized key as its JSON file, made when first asked for."""
        if not self._own:
            private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            public = _pem(private.public_key())
            secret = private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode()
            note = f"PLEASE DO NOT REMOVE THIS LINE! Yandex.Cloud SA Key ID <{KEY_ID}>\n"
            self._own = {
                "id": KEY_ID,
                "service_account_id": ACCOUNT,
                "created_at": "2026-01-02T03:04:05.678901234Z",
                "key_algorithm": "RSA_2048",
                "public_key": public,
                "private_key": note + secret,
            }
            self.register(AuthorizedKey(KEY_ID, ACCOUNT, public))
        return self._own

    def register(self, key: AuthorizedKey) -> None:
        """Let a service account sign with a key. Raises Refusal when it is no public RSA key."""
        _public(key.public_key)
        self._keys[key.id] = key
        if len(self._keys) > KEYS_KEPT:
            del self._keys[next(iter(self._keys))]

    def exchange(self, body: Any) -> dict[str, str]:
        """A token for a signed JWT: the answer of POST /iam/v1/tokens."""
        if not isinstance(body, dict) or list(body) not in (["jwt"], ["yandexPassportOauthToken"]):
            raise Refusal(INVALID, "exactly one of jwt, yandexPassportOauthToken must be given")
        if "jwt" not in body:
            raise Refusal(UNAUTHENTICATED, "OAuth token is invalid or expired")
        token, expires = self._issue(self._signer(body["jwt"]))
        shown = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
        return {"iamToken": token, "expiresAt": f"{shown}789Z"}

    def of_the_machine(self, request: SandboxRequest) -> dict[str, Any]:
        """A token for the service account of the machine: what its metadata service answers."""
        if request.headers.get("metadata-flavor") != "Google":
            raise Refusal(DENIED, "Missing Metadata-Flavor header")
        token, _ = self._issue(ACCOUNT)
        return {"access_token": token, "expires_in": LIFETIME, "token_type": "Bearer"}

    def _issue(self, account: str) -> tuple[str, float]:
        token = f"t1.{secrets.token_urlsafe(160)}"
        expires = self._clock() + LIFETIME
        self._tokens[token] = (account, expires)
        if len(self._tokens) > TOKENS_KEPT:
            del self._tokens[next(iter(self._tokens))]
        return token, expires

    def expire_all(self) -> int:
        """Let every token given so far be expired; answers how many."""
        self._tokens = {token: (account, 0.0) for token, (account, _) in self._tokens.items()}
        return len(self._tokens)

    def of_native(self, request: SandboxRequest) -> str:
        """Who calls the native API: an API key, or an account with an IAM token."""
        check_folder_header(request, "x-folder-id")
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "api-key":
            return _checked_key(credential.strip())
        return self._of_token(scheme, credential.strip())

    def of_compatible(self, request: SandboxRequest) -> str:
        """Who calls the compatible API; it also takes an API key as a Bearer."""
        check_folder_header(request, "x-folder-id")
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        credential = credential.strip()
        if scheme.lower() == "api-key" or (scheme.lower() == "bearer" and credential[:3] != "t1."):
            return _checked_key(credential)
        return self._of_token(scheme, credential)

    def _of_token(self, scheme: str, token: str) -> str:
        account, expires = self._tokens.get(token, ("", 0.0))
        if scheme.lower() != "bearer" or not account:
            raise Refusal(UNAUTHENTICATED, "The token is invalid")
        if expires <= self._clock():
            raise Refusal(UNAUTHENTICATED, "The token has expired")
        return account

    def _signer(self, jwt: Any) -> str:
        """The account that signed this JWT. Raises Refusal for anything that is not as it must."""
        parts = jwt.split(".") if isinstance(jwt, str) and len(jwt) <= _JWT_CHARACTERS else []
        if len(parts) != _JWT_PARTS:
            raise _bad_jwt("it is not a JWT")
        header, claims = _object(parts[0]), _object(parts[1])
        if header.get("alg") != "PS256":
            raise _bad_jwt("only PS256 is accepted")
        key = self._keys.get(str(header.get("kid")))
        if key is None:
            raise _bad_jwt("its key is unknown")
        try:
            _public(key.public_key).verify(
                _decoded(parts[2]), f"{parts[0]}.{parts[1]}".encode(), _PSS, SHA256()
            )
        except InvalidSignature:
            raise _bad_jwt("its signature is wrong") from None
        if claims.get("iss") != key.service_account_id:
            raise _bad_jwt("iss is not the key's service account")
        if claims.get("aud") != AUDIENCE:
            raise _bad_jwt(f"aud is not {AUDIENCE}")
        self._check_times(claims.get("iat"), claims.get("exp"))
        return key.service_account_id

    def _check_times(self, issued: Any, expires: Any) -> None:
        if type(issued) is not int or type(expires) is not int:
            raise _bad_jwt("iat and exp must be integers")
        now = self._clock()
        if issued > now + _SKEW:
            raise _bad_jwt("it is issued in the future")
        if expires <= now - _SKEW:
            raise _bad_jwt("it has expired")
        if not 0 < expires - issued <= _JWT_LIFETIME:
            raise _bad_jwt("it may live for an hour at most")


def check_folder_header(request: SandboxRequest, name: str) -> None:
    """Raise Refusal when the header names another folder."""
    folder = request.headers.get(name)
    if folder is not None:
        check_folder(folder)


def _checked_key(key: str) -> str:
    if not key.startswith(API_KEY):
        raise Refusal(UNAUTHENTICATED, "Unknown api key")
    if key.endswith("-expired"):
        raise Refusal(UNAUTHENTICATED, "The apikey has expired")
    if key.endswith("-denied"):
        raise Refusal(DENIED)
    return key


def _pem(key: rsa.RSAPublicKey) -> str:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def _public(pem: str) -> rsa.RSAPublicKey:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ValueError:
        raise Refusal(INVALID, "public_key is not a PEM") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise Refusal(INVALID, "public_key is not an RSA key")
    return key


def _object(part: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(_decoded(part))
    except ValueError:
        raise _bad_jwt("a part of it is not JSON") from None
    if not isinstance(value, dict):
        raise _bad_jwt("a part of it is not an object")
    return value


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _bad_jwt("a part of it is not base64url") from None


def _bad_jwt(why: str) -> Refusal:
    return Refusal(UNAUTHENTICATED, f"JWT is invalid: {why}")
