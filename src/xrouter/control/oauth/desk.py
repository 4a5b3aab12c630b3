"""The endpoints that clients call themselves: token, revoke, introspect."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from xrouter.control.audit import log as audit
from xrouter.control.db.tables.oauth import ClientRow, GrantRow, RefreshRow, RevokedRow
from xrouter.control.identity.repository import organization
from xrouter.control.oauth import ground
from xrouter.control.oauth.clients import ClientBook
from xrouter.control.oauth.config import Means
from xrouter.control.oauth.grants import Grants
from xrouter.control.oauth.guesses import Guesses
from xrouter.control.oauth.problems import (
    NO_STORE,
    OPEN,
    OAuthError,
    away,
    bad_request,
    form,
)
from xrouter.control.oauth.signing import SigningKeys
from xrouter.control.people.throttle import neighbourhood
from xrouter.domain.errors import XRouterError
from xrouter.domain.tokens import AccessToken, InvalidToken, Trust
from xrouter.stores.memory.tokens import verify
from xrouter.telemetry.logs import log

VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)
_INACTIVE = {"active": False}
_Form = dict[str, str]


class Desk:
    """guesses: for tokens that are unknown, by client."""

    def __init__(
        self,
        means: Means,
        book: ClientBook,
        grants: Grants,
        keys: SigningKeys,
        guesses: Guesses | None = None,
    ) -> None:
        self._db = means.db
        self._config = means.config
        self._changed = means.changed
        self._book = book
        self._grants = grants
        self._keys = keys
        self._guesses = guesses or Guesses()

    async def token(self, request: Request) -> Response:
        """Tokens for a code, a refresh token, or the client itself."""
        return await answered(self._token, request)

    async def revoke(self, request: Request) -> Response:
        """RFC 7009."""
        return await answered(self._revoke, request)

    async def introspect(self, request: Request) -> Response:
        """RFC 7662."""
        return await answered(self._introspect, request)

    async def _token(self, request: Request) -> Response:
        given = await form(request)
        client = await self._book.authenticate(request, given)
        kind = given.get("grant_type")
        if kind is None:
            raise bad_request("The parameter grant_type is missing.")
        give = {
            "authorization_code": self._by_code,
            "refresh_token": self._by_refresh,
            "client_credentials": self._by_client,
        }.get(kind)
        if give is None:
            raise OAuthError("unsupported_grant_type", "There is no such grant type here.")
        if kind not in client.grant_types:
            raise OAuthError("unauthorized_client", "The client may not use this grant type.")
        if given.get("resource", self._config.issuer) != self._config.issuer:
            raise OAuthError("invalid_target", "Tokens are for this router alone.")
        return JSONResponse(await give(client, given), headers={**NO_STORE, **OPEN})

    async def _by_code(self, client: ClientRow, given: _Form) -> dict[str, Any]:
        code, verifier = _need(given, "code"), _need(given, "code_verifier")
        if VERIFIER.fullmatch(verifier) is None:
            raise bad_request("The code_verifier must be 43 to 128 unreserved characters.")
        return await self._grants.exchange(client, code, verifier, given.get("redirect_uri"))

    async def _by_refresh(self, client: ClientRow, given: _Form) -> dict[str, Any]:
        token = _need(given, "refresh_token")
        return await self._grants.refresh(client, token, _scopes(given))

    async def _by_client(self, client: ClientRow, given: _Form) -> dict[str, Any]:
        if client.secret is None:
            raise OAuthError("unauthorized_client", "This takes a client that has a secret.")
        asked = _scopes(given)
        if asked is not None and not set(asked) <= set(client.scopes):
            raise OAuthError("invalid_scope", "The client may not ask for this scope.")
        return await self._grants.own(client, asked or client.scopes)

    async def _revoke(self, request: Request) -> Response:
        given = await form(request)
        client = await self._book.authenticate(request, given)
        token, asker = _need(given, "token"), _asker(client, request)
        self._guesses.enter(asker)
        async with self._db.write() as session:
            owner = await self._end(session, client, token)
        if owner is None:
            await self._guesses.miss(asker)
            return Response(status_code=200, headers={**NO_STORE, **OPEN})
        if owner != client.id:
            raise OAuthError("invalid_client", "The token belongs to another client.")
        self._changed()
        return Response(status_code=200, headers={**NO_STORE, **OPEN})

    async def _end(self, session: AsyncSession, client: ClientRow, token: str) -> int | None:
        """End a token if it is the client's; whose it is, None when there is none."""
        now = self._grants.now()
        found = await self._grant_of_refresh(session, token)
        if found is not None:
            grant = found[0]
            if grant.client_id == client.id:
                await ground.revoke(session, now, GrantRow.id == grant.id)
                await _tell(session, client, f"grant:{grant.grant_id}", grant)
            return grant.client_id
        access = await self._read(session, token)
        if access is None:
            return None
        owner = await _grant(session, access.grant_id, lock=True)
        if owner is None:
            return None
        if owner.client_id == client.id and await session.get(RevokedRow, access.token_id) is None:
            ends = datetime.fromtimestamp(access.expires_at, UTC)
            session.add(RevokedRow(jti=access.token_id, expires_at=ends))
            await _tell(session, client, f"token:{access.token_id}", owner)
        return owner.client_id

    async def _introspect(self, request: Request) -> Response:
        given = await form(request)
        client = await self._book.authenticate(request, given)
        if client.secret is None:
            raise OAuthError("invalid_client", "This takes a client that has a secret.", status=401)
        token, asker = _need(given, "token"), _asker(client, request)
        self._guesses.enter(asker)
        async with self._db.read() as session:
            told = await self._tell_of(session, client, token)
        if told is _INACTIVE:
            await self._guesses.miss(asker)
        return JSONResponse(told, headers=NO_STORE)

    async def _tell_of(
        self, session: AsyncSession, client: ClientRow, token: str
    ) -> dict[str, Any]:
        now = self._grants.now()
        found = await self._grant_of_refresh(session, token)
        if found is not None:
            grant, row = found
            good = row.rotated_at is None and row.expires_at > now
            about: dict[str, Any] = {"exp": int(row.expires_at.timestamp())}
            scope = " ".join(grant.scopes)
        else:
            access = await self._read(session, token)
            owner = None if access is None else await _grant(session, access.grant_id)
            if access is None or owner is None:
                return _INACTIVE
            grant, scope = owner, " ".join(access.scopes)
            good = await session.get(RevokedRow, access.token_id) is None
            about = {"exp": int(access.expires_at), "iat": int(access.issued_at)}
            about |= {"sub": access.subject, "jti": access.token_id, "token_type": "Bearer"}
        mine = good and grant.client_id == client.id
        if not mine or not await ground.stands(session, grant, now):
            return _INACTIVE
        issuer = self._config.issuer
        more = {"client_id": client.client_id, "scope": scope, "iss": issuer, "aud": issuer}
        return {"active": True, **more, **about}

    async def _grant_of_refresh(
        self, session: AsyncSession, token: str
    ) -> tuple[GrantRow, RefreshRow] | None:
        query = (
            select(GrantRow, RefreshRow)
            .join(RefreshRow, RefreshRow.grant_id == GrantRow.id)
            .where(RefreshRow.mac == self._grants.refresh_mac(token))
        )
        found = (await session.execute(query)).one_or_none()
        return None if found is None else (found[0], found[1])

    async def _read(self, session: AsyncSession, token: str) -> AccessToken | None:
        trust = Trust(issuer=self._config.issuer, keys=await self._keys.public_in(session))
        try:
            return verify(token, trust, self._grants.now().timestamp())
        except InvalidToken:
            return None


async def answered(work: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
    """The answer, also when it is an error of ours."""
    try:
        return await work(request)
    except OAuthError as error:
        answer = error.response()
    except XRouterError as error:
        log.error("oauth_failed", code=error.code, error=error.message, hint=error.hint)
        answer = away().response()
    answer.headers.update(OPEN)
    return answer


def _asker(client: ClientRow, request: Request) -> str:
    """Who guesses. Anybody can say to be a public client, and must not use up its guesses."""
    if client.secret is not None:
        return client.client_id
    ip = request.client.host if request.client else None
    return f"{client.client_id} {neighbourhood(ip)}"


async def _grant(session: AsyncSession, grant_id: str, *, lock: bool = False) -> GrantRow | None:
    """lock: others who end one of its tokens wait until this transaction ends."""
    query = select(GrantRow).where(GrantRow.grant_id == grant_id)
    found: GrantRow | None = await session.scalar(query.with_for_update() if lock else query)
    return found


async def _tell(session: AsyncSession, client: ClientRow, what: str, grant: GrantRow) -> None:
    await audit.record(
        session,
        action="oauth.revoke",
        object=what,
        organization=await organization(session, grant.project),
        by=f"client:{client.client_id}",
    )


def _need(given: _Form, name: str) -> str:
    if name not in given:
        raise bad_request(f"The parameter {name} is missing.")
    return given[name]


def _scopes(given: _Form) -> list[str] | None:
    return sorted(set(given["scope"].split(" ")) - {""}) if "scope" in given else None
