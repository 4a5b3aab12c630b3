"""One attempt to come in by a provider: what the browser keeps, sealed, until it comes back."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct
from starlette.responses import Response

from xrouter.control.people import cookies
from xrouter.control.people.ways import is_local
from xrouter.stores.vault import Vault, VaultError

LIVES = timedelta(minutes=10)
_NAME, _PLAIN = "__Host-xrouter-oidc", "xrouter-oidc"
_MAX_COOKIE = 4000
_CONTEXT = "oidc.flow"
_BYTES = 32


class Flow(Struct, frozen=True, kw_only=True):
    """state, nonce, verifier: of this attempt alone. next: a path of ours.

    expires_at: unix seconds. session_id: of who links an identity. invite: the secret of the link
    that is taken.
    """

    provider: str
    state: str
    nonce: str
    verifier: str
    expires_at: int
    next: str | None = None
    session_id: int | None = None
    invite: str | None = None


class FlowBook:
    """Begins attempts, and reads them from browsers. now: the time in UTC."""

    def __init__(self, vault: Vault, now: Callable[[], datetime], *, is_secure: bool) -> None:
        self._vault = vault
        self._now = now
        self._secure = is_secure
        self._cookie = _NAME if is_secure else _PLAIN

    def new(
        self,
        provider: str,
        next_url: str | None,
        *,
        session_id: int | None = None,
        invite: str | None = None,
    ) -> Flow:
        """An attempt that nobody can have guessed."""
        return Flow(
            provider=provider,
            state=secrets.token_urlsafe(_BYTES),
            nonce=secrets.token_urlsafe(_BYTES),
            verifier=secrets.token_urlsafe(_BYTES),
            expires_at=int((self._now() + LIVES).timestamp()),
            next=next_url if next_url is not None and is_local(next_url) else None,
            session_id=session_id,
            invite=invite,
        )

    def put(self, response: Response, flow: Flow) -> None:
        """Let the browser keep it."""
        sealed = self._vault.seal(msgspec.json.encode(flow), _CONTEXT)
        self._set(response, urlsafe_b64encode(sealed).decode(), int(LIVES.total_seconds()))

    def clear(self, response: Response) -> None:
        """Take it away."""
        self._set(response, "", 0)

    def read(self, headers: cookies.Headers) -> Flow | None:
        """What the browser brings. None without one, for one that is over, and for two of them."""
        found = [
            value
            for key, line in headers
            if key.lower() == b"cookie"
            for name, _, value in (part.strip().partition("=") for part in _parts(line))
            if name == self._cookie
        ]
        if len(found) != 1 or not 0 < len(found[0]) <= _MAX_COOKIE:
            return None
        try:
            plain = self._vault.open(urlsafe_b64decode(found[0]), _CONTEXT)
            flow = msgspec.json.decode(plain, type=Flow)
        except (VaultError, NotBase64, ValueError, msgspec.MsgspecError):
            return None
        return flow if self._now().timestamp() < flow.expires_at else None

    def _set(self, response: Response, value: str, max_age: int) -> None:
        response.set_cookie(
            self._cookie,
            value,
            max_age=max_age,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )


def _parts(line: bytes) -> list[str]:
    return line.decode("latin-1").split(";")
