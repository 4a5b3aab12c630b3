"""Who the client is: by secret, or by its name alone where it can keep none."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from urllib.parse import unquote_plus

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from xrouter.control.audit import log as audit
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.oauth import ClientRow
from xrouter.control.identity.repository import organization
from xrouter.control.oauth.problems import OAuthError, bad_request, busy
from xrouter.control.people.throttle import Throttle
from xrouter.domain.errors import RateLimited
from xrouter.stores.vault import Vault

_NOBODY = bytes(32)
_CHALLENGE = {"www-authenticate": 'Basic realm="xrouter", charset="UTF-8"'}


class ClientBook:
    """Authenticates clients. throttle: for all who try secrets."""

    def __init__(self, db: Database, vault: Vault, throttle: Throttle | None = None) -> None:
        self._db = db
        self._mac: Callable[[str], bytes] = vault.mac
        self._throttle = throttle or Throttle()

    async def authenticate(self, request: Request, form: dict[str, str]) -> ClientRow:
        """The client of a request; it has shown its secret, if it has one. Raises OAuthError."""
        name, secret = _credentials(request, form)
        async with self._db.read() as session:
            client = await find(session, name)
        if client is not None and client.secret is None and secret is None:
            return client
        ip = request.client.host if request.client else None
        account = f"client:{name}:{ip}"
        try:
            await self._throttle.enter(account, ip)
        except RateLimited as error:
            raise busy(error.retry_after or 1.0) from None
        kept = _NOBODY if client is None or client.secret is None else client.secret
        given = self._mac("oauth-client:" + (secret or ""))
        if client is None or secret is None or not hmac.compare_digest(given, kept):
            await self._refused(client)
            raise _stranger()
        await self._throttle.passed(account, ip)
        return client

    async def _refused(self, client: ClientRow | None) -> None:
        """What was given as the name of nobody is not kept: it may be a secret."""
        name = "unknown" if client is None else client.client_id
        async with self._db.write() as session:
            owner = None
            if client is not None and client.project is not None:
                owner = await organization(session, client.project)
            await audit.record(
                session, action="client.refuse", object=f"client:{name}", organization=owner
            )


async def find(session: AsyncSession, client_id: str) -> ClientRow | None:
    """An active client."""
    query = select(ClientRow).where(ClientRow.client_id == client_id, ClientRow.is_active)
    found: ClientRow | None = await session.scalar(query)
    return found


def secret_mac(vault: Vault, secret: str) -> bytes:
    """Under which a secret is stored."""
    return vault.mac("oauth-client:" + secret)


def _credentials(request: Request, form: dict[str, str]) -> tuple[str, str | None]:
    given = request.headers.getlist("authorization")
    if not given:
        if "client_id" not in form:
            raise _stranger()
        return _storable(form["client_id"]), form.get("client_secret")
    if len(given) > 1 or "client_secret" in form:
        raise bad_request("The client must authenticate in one way.")
    name, secret = _basic(given[0])
    if form.get("client_id", name) != name:
        raise bad_request("The client must authenticate in one way.")
    return name, secret


def _basic(value: str) -> tuple[str, str]:
    scheme, _, rest = value.partition(" ")
    try:
        pair = base64.b64decode(rest.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        raise _stranger() from None
    name, colon, secret = pair.partition(":")
    if scheme.lower() != "basic" or not colon or not secret:
        raise _stranger()
    return _storable(unquote_plus(name)), unquote_plus(secret)


def _storable(name: str) -> str:
    """Databases take no NUL and no surrogates."""
    if not name.isascii() or not name.isprintable():
        raise _stranger()
    return name


def _stranger() -> OAuthError:
    text = "The client is unknown, or did not authenticate."
    return OAuthError("invalid_client", text, status=401, headers=_CHALLENGE)
