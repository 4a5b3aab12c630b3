"""One sign-in provider: its discovery document, its keys, and who a code belongs to."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any
from unicodedata import normalize
from urllib.parse import quote_plus, urlencode, urlsplit

from msgspec import Struct

from xrouter.control.people.oidc import id_token
from xrouter.control.people.oidc.ask import Answer, Asker
from xrouter.control.people.oidc.config import Fixed, ProviderConfig
from xrouter.control.people.oidc.flow import Flow
from xrouter.control.people.oidc.words import SignInProblem
from xrouter.wire.client import Client
from xrouter.wire.types import WireRequest

FRESH_S = 3600.0
"""For which a discovery document and keys are kept."""
QUIET_S = 10.0
"""After a failure, before discovery is tried again."""
KEYS_EVERY_S = 60.0
"""Between two reads of the keys ahead of time, however many tokens have an unknown `kid`."""
MAX_KEYS = 100
MAX_ACCESS_TOKEN = 32 << 10
_OK = 200
_MAX_NAME = 200
_MAX_EMAIL = 254
_GMAIL = "gmail.com"


class Identity(Struct, frozen=True, kw_only=True):
    """Who signed in there. subject: never changes; email: in lower case, may change.

    is_verified: whether the provider vouches for the address.
    """

    issuer: str
    subject: str
    email: str | None = None
    is_verified: bool = False
    name: str | None = None


class _Document(Struct, frozen=True):
    """What of a discovery document we use. tells_issuer: RFC 9207."""

    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str | None
    jwks_uri: str
    takes_basic: bool
    tells_issuer: bool


class Provider:
    """clock: seconds that never go back. now: unix seconds, for tests."""

    def __init__(
        self,
        client: Client,
        config: ProviderConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self._asker = Asker(client, config)
        self._clock = clock
        self._now = now
        self._turn = asyncio.Lock()
        self._document: _Document | None = None
        self._read_at = 0.0
        self._failed: tuple[float, SignInProblem] | None = None
        self._keys: list[id_token.Jwk] = []
        self._keys_at: float | None = None
        self._quiet_until = float("-inf")
        self._keys_turn = asyncio.Lock()

    async def address(self, flow: Flow, redirect_uri: str) -> str:
        """Where the browser is to go. Raises SignInProblem."""
        fixed = self.config.fixed
        there = fixed or await self._discovered()
        challenge = sha256(flow.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self.config.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self.config.scopes),
            "state": flow.state,
            "code_challenge": urlsafe_b64encode(challenge).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        if fixed is None:
            query["nonce"] = flow.nonce
        base = there.authorization_endpoint
        return f"{base}{'&' if urlsplit(base).query else '?'}{urlencode(query)}"

    async def require_issuer(self, told: str | None) -> None:
        """Go on only when the answer comes from this provider (RFC 9207). Raises SignInProblem."""
        if self.config.fixed is not None:
            return  # it promises nothing; the address that it sends people back to is its own
        if told is None:
            if (await self._discovered()).tells_issuer:
                raise SignInProblem("failed", "the answer lacks iss")
        elif not id_token.same(told, self.config.issuer):
            raise SignInProblem("failed", "the answer is another issuer's")

    async def identity(self, code: str, flow: Flow, redirect_uri: str) -> Identity:
        """Whose the code is. Raises SignInProblem."""
        fixed = self.config.fixed
        if fixed is not None:
            tokens = await self._tokens(fixed.token_endpoint, code, flow, redirect_uri, basic=False)
            told = await self._told(fixed.userinfo_endpoint, tokens, fixed.scheme)
            return self._fixed_identity(fixed, told)
        document = await self._discovered()
        tokens = await self._tokens(
            document.token_endpoint, code, flow, redirect_uri, basic=document.takes_basic
        )
        claims = await self._claims(document, tokens, flow)
        if "email" not in claims and document.userinfo_endpoint is not None:
            told = await self._told(document.userinfo_endpoint, tokens, "Bearer")
            if told.get("sub") != claims["sub"]:
                raise SignInProblem("failed", "the user endpoint tells of somebody else")
            claims = {**told, **claims}
        return self._identity(claims)

    async def _tokens(
        self, url: str, code: str, flow: Flow, redirect_uri: str, *, basic: bool
    ) -> Mapping[str, Any]:
        """What the code is worth."""
        config = self.config
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": flow.verifier,
        }
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "accept": "application/json",
        }
        by_header = basic if config.client_auth is None else config.client_auth == "basic"
        if config.client_secret is not None and by_header:
            pair = f"{quote_plus(config.client_id)}:{quote_plus(config.client_secret.reveal())}"
            headers["authorization"] = "Basic " + b64encode(pair.encode()).decode()
        else:
            form["client_id"] = config.client_id
            if config.client_secret is not None:
                form["client_secret"] = config.client_secret.reveal()
        request = WireRequest("POST", url, headers, urlencode(form).encode())
        answer = await self._asker.ask(request)
        if answer.status != _OK:
            raise SignInProblem("failed", f"token endpoint: {answer.status} {_word(answer)}")
        token = answer.body.get("access_token")
        if not isinstance(token, str) or not 0 < len(token) <= MAX_ACCESS_TOKEN:
            raise SignInProblem("failed", "token endpoint: no access token")
        if str(answer.body.get("token_type", "bearer")).lower() != "bearer":
            raise SignInProblem("failed", "token endpoint: another kind of token")
        return answer.body

    async def _claims(
        self, document: _Document, tokens: Mapping[str, Any], flow: Flow
    ) -> dict[str, Any]:
        """What the ID token says, checked."""
        token = tokens.get("id_token")
        if not isinstance(token, str):
            raise SignInProblem("failed", "token endpoint: no ID token")
        config = self.config
        header = id_token.header(token, config.algorithms)
        key = await self._key(document, header)
        if key is None:
            raise SignInProblem("failed", "ID token: none of the provider's keys is its key")
        claims = id_token.verified(token, key, header.algorithm)
        expected = id_token.Expected(
            issuer=config.issuer,
            client_id=config.client_id,
            audiences=config.audiences,
            nonce=flow.nonce,
            access_token=tokens["access_token"],
            now=self._now(),
        )
        id_token.require(claims, expected, header.algorithm)
        return claims

    async def _told(self, url: str, tokens: Mapping[str, Any], scheme: str) -> dict[str, Any]:
        """What the user endpoint tells."""
        headers = {
            "authorization": f"{scheme} {tokens['access_token']}",
            "accept": "application/json",
        }
        answer = await self._asker.ask(WireRequest("GET", url, headers))
        if answer.status != _OK:
            raise SignInProblem("failed", f"user endpoint: {answer.status}")
        return answer.body

    async def _discovered(self) -> _Document:
        """The document, read again when it is old; one at a time."""
        async with self._turn:
            now = self._clock()
            if self._document is not None and now - self._read_at < FRESH_S:
                return self._document
            if self._failed is not None and now - self._failed[0] < QUIET_S:
                raise self._failed[1].with_traceback(None)
            try:
                self._document = await self._discover()
            except SignInProblem as problem:
                self._failed = (self._clock(), problem)
                raise
            self._failed, self._read_at = None, now
            return self._document

    async def _discover(self) -> _Document:
        issuer = self.config.issuer
        url = issuer.rstrip("/") + "/.well-known/openid-configuration"
        answer = await self._asker.ask(_get(url))
        told, checked = answer.body, self._asker.checked
        if answer.status != _OK or told.get("issuer") != issuer:
            why = f"discovery: status {answer.status}, or another issuer than configured"
            raise SignInProblem("failed", why)
        user = told.get("userinfo_endpoint")
        return _Document(
            authorization_endpoint=checked(told.get("authorization_endpoint")),
            token_endpoint=checked(told.get("token_endpoint")),
            userinfo_endpoint=None if user is None else checked(user),
            jwks_uri=checked(told.get("jwks_uri")),
            takes_basic="client_secret_basic"
            in _texts(told.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])),
            tells_issuer=told.get("authorization_response_iss_parameter_supported") is True,
        )

    async def _key(self, document: _Document, wanted: id_token.Header) -> id_token.Jwk | None:
        """The key of a token; an unknown one makes us read the keys again, but not often."""
        async with self._keys_turn:
            now = self._clock()
            if self._keys_at is not None and now - self._keys_at < FRESH_S:
                found = id_token.find(self._keys, wanted)
                if found is not None or now < self._quiet_until:
                    return found
                self._quiet_until = now + KEYS_EVERY_S
            answer = await self._asker.ask(_get(document.jwks_uri))
            keys = answer.body.get("keys")
            if answer.status != _OK or not isinstance(keys, list) or len(keys) > MAX_KEYS:
                raise SignInProblem("failed", f"keys: {answer.status}, no list or a long one")
            self._keys, self._keys_at = [key for key in keys if isinstance(key, dict)], now
            return id_token.find(self._keys, wanted)

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        config = self.config
        email = _email(claims.get("email"))
        verified = claims.get("email_verified") is True
        if config.hosted_email and email is not None:
            verified = verified and (email.endswith("@" + _GMAIL) or bool(claims.get("hd")))
        return Identity(
            issuer=config.issuer,
            subject=claims["sub"],
            email=email,
            is_verified=email is not None and (verified or config.trust_email),
            name=_name(claims.get("name")),
        )

    def _fixed_identity(self, fixed: Fixed, told: Mapping[str, Any]) -> Identity:
        """Of a provider that says nothing of whether addresses are verified."""
        subject = told.get(fixed.subject)
        subject = str(subject) if isinstance(subject, int) else subject
        if not isinstance(subject, str) or not id_token.is_subject(subject):
            raise SignInProblem("failed", "user endpoint: no subject")
        if told.get(fixed.audience, self.config.client_id) != self.config.client_id:
            raise SignInProblem("failed", "user endpoint: the token is another client's")
        email = _email(told.get(fixed.email))
        return Identity(
            issuer=self.config.issuer,
            subject=subject,
            email=email,
            is_verified=email is not None and self.config.trust_email,
            name=_name(told.get(fixed.name)),
        )


def _get(url: str) -> WireRequest:
    return WireRequest("GET", url, {"accept": "application/json"})


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _word(answer: Answer) -> str:
    """The error's code; never its description."""
    code = answer.body.get("error")
    return code if isinstance(code, str) and code.isidentifier() and len(code) < _MAX_NAME else ""


def _email(value: object) -> str | None:
    """Letters that only look like those of another address are not made the same by lower case."""
    if not isinstance(value, str) or normalize("NFKC", value) != value:
        return None
    email = value.strip().lower()
    name, _, host = email.rpartition("@")
    good = name and host and "@" not in name and email.isprintable() and " " not in email
    return email if good and len(email) <= _MAX_EMAIL else None


def _name(value: object) -> str | None:
    if not isinstance(value, str) or not value.isprintable():
        return None
    return value.strip()[:_MAX_NAME] or None
