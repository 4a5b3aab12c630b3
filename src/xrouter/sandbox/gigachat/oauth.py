"""Keys, scopes and access tokens of the simulated GigaChat."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable
from urllib.parse import parse_qsl
from uuid import UUID

from msgspec import Struct

from xrouter.sandbox.gigachat.errors import Refusal
from xrouter.sandbox.kit import SandboxRequest, SandboxResponse, json_response

SECRET = "sandbox"  # noqa: S105 - everyone knows the sandbox's secret
LIFETIME = 30 * 60
TOKENS_KEPT = 10_000
FORM = "application/x-www-form-urlencoded"

_SCOPES = {
    "pers": "GIGACHAT_API_PERS",
    "b2b": "GIGACHAT_API_B2B",
    "corp": "GIGACHAT_API_CORP",
}
_ANSWERS_AT_ONCE = {"GIGACHAT_API_PERS": 1, "GIGACHAT_API_B2B": 10, "GIGACHAT_API_CORP": 10}


class Account(Struct, frozen=True):
    """Who holds a key. id: the client id. streams: how many requests at once.

    empty: its package of tokens is used up.
    """

    id: str
    scope: str
    streams: int
    empty: bool

    @property
    def prepaid(self) -> bool:
        """Whether it has a balance."""
        return self.scope != _SCOPES["corp"]


class Denied(Exception):
    """An error of the OAuth service: `code` and `message` are the body."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class _Token(Struct):
    account: Account
    expires: float


class TokenOffice:
    """Gives tokens for keys, and knows whose a token is. clock: seconds since 1970."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tokens: dict[str, _Token] = {}

    def issue(self, request: SandboxRequest) -> SandboxResponse:
        """Answer POST /oauth."""
        try:
            account = _account_of_key(request.headers.get("authorization", ""))
            if not _is_uuid4(request.headers.get("rquid", "")):
                headers = {"content-type": "text/plain; charset=utf-8"}
                return SandboxResponse(400, headers, b"RqUID header is missing or malformed")
            _check_scope(_scope_of(request), account)
        except Denied as denied:
            body = {"code": denied.code, "message": denied.message}
            return json_response(body, denied.status)
        token, expires = self._new(account)
        return json_response({"access_token": token, "expires_at": expires})

    def issue_to_user(self, request: SandboxRequest) -> SandboxResponse:
        """Answer POST /token: a user and the password. Raises Refusal (401)."""
        try:
            token, expires = self._new(_account_of_key(request.headers.get("authorization", "")))
        except Denied:
            raise Refusal(401) from None
        return json_response({"tok": token, "exp": expires})

    def _new(self, account: Account) -> tuple[str, int]:
        """A token, and when it ends, in milliseconds."""
        token = f"eyJ{secrets.token_urlsafe(256)}"
        expires = self._clock() + LIFETIME
        self._tokens[token] = _Token(account, expires)
        if len(self._tokens) > TOKENS_KEPT:
            del self._tokens[next(iter(self._tokens))]
        return token, int(expires * 1000)

    def account_of(self, request: SandboxRequest) -> Account:
        """Whose request this is. Raises Refusal (401)."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        token = self._tokens.get(value.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            raise Refusal(401)
        if token.expires <= self._clock():
            raise Refusal(401, "Token has expired")
        return token.account

    def expire_all(self) -> int:
        """Let every token given so far be expired; answers how many."""
        for token in self._tokens.values():
            token.expires = 0.0
        return len(self._tokens)


def _account_of_key(header: str) -> Account:
    scheme, _, key = header.partition(" ")
    try:
        text = base64.b64decode(key.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    client_id, colon, secret = text.partition(":")
    if scheme.lower() != "basic" or not client_id or not colon:
        raise Denied(401, 4, "Can't decode 'Authorization' header")
    if secret != SECRET:
        raise Denied(401, 6, "credentials doesn't match db data")
    scope = _SCOPES.get(client_id.partition("-")[0], _SCOPES["pers"])
    return Account(client_id, scope, _ANSWERS_AT_ONCE[scope], client_id.endswith("-empty"))


def _scope_of(request: SandboxRequest) -> str:
    """The form's scope; what is not a form has none."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return ""
    return dict(parse_qsl(request.body.decode(errors="replace"))).get("scope", "")


def _check_scope(scope: str, account: Account) -> None:
    if not scope:
        raise Denied(400, 5, "scope is empty")
    if scope not in _ANSWERS_AT_ONCE:
        raise Denied(400, 1, "scope data format invalid")
    if scope != account.scope:
        raise Denied(400, 7, "scope from db not fully includes consumed scope")


def _is_uuid4(text: str) -> bool:
    try:
        return UUID(text).version == 4  # noqa: PLR2004 - the version meant by "uuid4"
    except ValueError:
        return False
