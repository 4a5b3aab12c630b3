"""A key of its own for an application: the flow of `/auth` and `/api/v1/auth/keys`.

Nobody registers these applications. Other than elsewhere, a challenge with S256 is always needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from xrouter.control.audit import log as audit
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.identity import KeyRow
from xrouter.control.db.tables.oauth import ClientRow
from xrouter.control.identity.repository import organization
from xrouter.control.kit.actor import SignedIn
from xrouter.control.oauth import redirects
from xrouter.control.oauth.authorize import require_challenge
from xrouter.control.oauth.config import CODE_LIFE, KEY_CODE_LIFE
from xrouter.control.oauth.desk import VERIFIER
from xrouter.control.oauth.grants import Grants, Taken, key_of
from xrouter.control.oauth.pages import Page
from xrouter.control.oauth.people import Reception, guarded, is_own, see_other
from xrouter.control.oauth.problems import (
    NO_STORE,
    OPEN,
    OAuthError,
    bad_request,
    document,
    failure,
    fields,
    form,
)
from xrouter.domain.errors import XRouterError
from xrouter.domain.identity import new_key
from xrouter.stores.vault import Vault
from xrouter.telemetry.logs import log

PATH = "/auth"
CLIENT = "callback"
"""For whom these codes are: switched off, the flow is. It may ask for no tokens."""
KEY = "key"
"""The scope of such a grant; behind it, the name that the key gets."""
_MAX_LABEL = 100
_SHOWN = 4
_FORBIDDEN, _AWAY = 403, 503
_OURS = select(ClientRow).where(ClientRow.client_id == CLIENT)


class KeyFlow:
    """The pages of `/auth`, and the exchange."""

    def __init__(self, db: Database, vault: Vault, reception: Reception, grants: Grants) -> None:
        self._db = db
        self._vault = vault
        self._reception = reception
        self._grants = grants
        reception.ways[PATH] = _answers

    async def show(self, request: Request) -> Response:
        """The consent page."""
        return await guarded(self._show, request)

    async def decide(self, request: Request) -> Response:
        """What the consent page sends."""
        return await guarded(self._decide, request)

    async def exchange(self, request: Request) -> Response:
        """A key for a code."""
        try:
            answer = await self._exchange(request)
        except OAuthError as error:
            status = _FORBIDDEN if error.error == "invalid_grant" else error.status
            answer = failure(status, error.description)
        except XRouterError as error:
            log.error("oauth_failed", code=error.code, error=error.message)
            answer = failure(_AWAY, "The server cannot do this at the moment.")
        answer.headers.update({**NO_STORE, **OPEN})
        return answer

    async def _show(self, request: Request) -> Response:
        query = request.scope["query_string"].decode("latin-1")
        given = _read(query)
        user = await self._reception.signed(request)
        if user is None:
            return self._reception.ask(request, f"{PATH}?{query}", await _answers(query))
        projects = await self._projects()
        if not projects:
            return Page(request, user).failure("no_project", status=403)
        callback = given.get("callback_url")
        return Page(request, user).consent(
            action=PATH,
            name=_name(given),
            scopes=None,
            projects=projects,
            user=user,
            hidden={"request": query, "csrf": user.csrf.reveal()},
            answers=None if callback is None else redirects.origin(callback),
        )

    async def _decide(self, request: Request) -> Response:
        sent = await form(request)
        query = sent.get("request", "")
        given = _read(query)
        user = await self._reception.signed(request)
        if user is None:
            answers = await _answers(query)
            return self._reception.ask(request, f"{PATH}?{query}", answers, "expired")
        if not is_own(request) or not user.admits(sent.get("csrf")):
            return Page(request, user).failure("expired", status=403)
        if sent.get("decision") != "allow":
            return Page(request, user).failure("denied", status=200)
        project = sent.get("project", "")
        if project not in await self._projects():
            return Page(request, user).failure("no_project", status=403)
        code = await self._allow(given, user, project)
        callback = given.get("callback_url")
        if callback is None:
            return Page(request, user).code(code)
        return see_other(redirects.joined(callback, urlencode({"code": code})))

    async def _projects(self) -> Sequence[str]:
        async with self._db.read() as session:
            return await self._reception.projects(session, None)

    async def _allow(self, given: dict[str, str], user: SignedIn, project: str) -> str:
        client = await self._made()
        callback = given.get("callback_url", "")
        life = CODE_LIFE if callback else KEY_CODE_LIFE
        async with self._db.write() as session:
            grant = await self._grants.begin(
                session,
                client,
                user_id=user.row_id,
                project=project,
                scopes=[KEY, _name(given)],
                life=life,
            )
            code = self._grants.code(session, grant, callback, given["code_challenge"], life)
            await audit.record(
                session,
                action="oauth.consent",
                object=f"grant:{grant.grant_id}",
                organization=await organization(session, project),
                detail={"application": _name(given), "project": project, "scopes": [KEY]},
            )
        return code

    async def _made(self) -> ClientRow:
        """As `_client`; made on first use."""
        try:
            async with self._db.write() as session:
                if await session.scalar(_OURS) is None:
                    name = "Applications with a key of their own"
                    session.add(ClientRow(client_id=CLIENT, name=name))
        except IntegrityError:  # another process made it
            pass
        return await self._client()

    async def _client(self) -> ClientRow:
        """For whom all these codes are. Raises OAuthError, also when it was switched off."""
        async with self._db.read() as session:
            found: ClientRow | None = await session.scalar(_OURS)
        if found is None:  # no code was ever made
            raise OAuthError("invalid_grant", "Invalid code or code_verifier.")
        if not found.is_active:
            raise OAuthError("access_denied", "The operator has switched this off", status=403)
        return found

    async def _exchange(self, request: Request) -> Response:
        given = await document(request)
        code, verifier = given.get("code"), given.get("code_verifier")
        if not isinstance(code, str) or not code:
            raise bad_request("The field code is missing.")
        if given.get("code_challenge_method", "S256") != "S256":
            raise bad_request("The code_challenge_method must be S256, as it was asked for.")
        if not isinstance(verifier, str) or VERIFIER.fullmatch(verifier) is None:
            raise OAuthError("invalid_grant", "Invalid code or code_verifier.")
        client = await self._client()
        key = new_key()
        async with self._db.write() as session:
            taken = await self._grants.take(session, client, code, verifier, None)
            if taken is not None:
                await self._keep(session, key, taken)
        self._grants.changed()
        if taken is None:
            raise OAuthError("invalid_grant", "Invalid code or code_verifier, or it has expired.")
        return JSONResponse({"key": key, "user_id": taken.user})

    async def _keep(self, session: AsyncSession, key: str, taken: Taken) -> None:
        row = KeyRow(
            key_id=key_of(taken.grant),
            name=taken.grant.scopes[-1],
            project=taken.grant.project,
            pepper_id=self._vault.pepper_id,
            mac=self._vault.mac(key),
            last4=key[-_SHOWN:],
            created_at=self._grants.now(),
        )
        session.add(row)
        detail = {"name": row.name, "project": row.project, "grant": taken.grant.grant_id}
        await audit.record(
            session,
            action="key.create",
            object=f"key:{row.key_id}",
            organization=await organization(session, row.project),
            detail=detail,
            by=f"user:{taken.user}",
        )


def _read(query: str) -> dict[str, str]:
    """The request. Raises OAuthError."""
    given = fields(query)
    require_challenge(given)
    if not all(text.isprintable() for text in given.values()):
        raise bad_request("The parameters hold characters that are none.")
    if len(given.get("key_label", "")) > _MAX_LABEL:
        raise bad_request(f"The key_label is longer than {_MAX_LABEL} characters.")
    if "callback_url" in given:
        try:
            redirects.check_callback(given["callback_url"])
        except ValueError as reason:
            raise bad_request(f"The callback_url {reason}.") from None
    return given


def _name(given: dict[str, str]) -> str:
    """Of the key, and of who asks for it: what it says itself, or where it is."""
    if "key_label" in given:
        return given["key_label"]
    if "callback_url" not in given:
        return "OAuth"
    return redirects.origin(given["callback_url"]).partition("://")[2][:_MAX_LABEL]


async def _answers(query: str) -> str | None:
    try:
        callback = _read(query).get("callback_url")
    except OAuthError:
        return None
    return None if callback is None else redirects.origin(callback)
