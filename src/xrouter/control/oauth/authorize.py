"""The authorization endpoint: from an application's request to a code, by a person's consent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from msgspec import Struct
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from xrouter.control.audit import log as audit
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.oauth import ClientRow
from xrouter.control.identity.repository import organization
from xrouter.control.kit.actor import SignedIn
from xrouter.control.oauth import clients, redirects
from xrouter.control.oauth.config import OAuthConfig
from xrouter.control.oauth.grants import Grants
from xrouter.control.oauth.pages import Page
from xrouter.control.oauth.people import Reception, guarded, is_own, see_other
from xrouter.control.oauth.problems import OAuthError, bad_request, form, pairs

PATH = "/oauth/authorize"
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
MAX_STATE = 2048
"""Bytes."""


class NoRedirect(Exception):
    """The application cannot be answered: the person is told. reason: a word of `words`."""


class Asked(Struct, frozen=True, kw_only=True):
    """What an application asks for. problem: instead of which it is told this.

    state: as it came, bytes that are no UTF-8 as surrogates.
    """

    client: ClientRow
    redirect_uri: str
    state: str | None = None
    challenge: str = ""
    scopes: Sequence[str] = ()
    problem: OAuthError | None = None


class Authorization:
    """The pages of `/oauth/authorize`."""

    def __init__(
        self, db: Database, reception: Reception, grants: Grants, config: OAuthConfig
    ) -> None:
        self._db = db
        self._reception = reception
        self._grants = grants
        self._config = config
        reception.ways[PATH] = self._answers

    async def show(self, request: Request) -> Response:
        """The consent page, what must come before it, or an error."""
        return await guarded(self._show, request)

    async def decide(self, request: Request) -> Response:
        """What the consent page sends."""
        return await guarded(self._decide, request)

    async def _show(self, request: Request) -> Response:
        query = request.scope["query_string"].decode("latin-1")
        try:
            asked = await self._read(query)
        except NoRedirect as stop:
            return Page(request).failure(str(stop))
        if asked.problem is not None:
            return self._back(asked, error=asked.problem)
        user = await self._reception.signed(request)
        answers = redirects.origin(asked.redirect_uri)
        if user is None:
            return self._reception.ask(request, f"{PATH}?{query}", answers)
        async with self._db.read() as session:
            projects = await self._reception.projects(session, asked.client)
        if not projects:
            return Page(request, user).failure("no_project", status=403)
        if asked.client.is_first_party and len(projects) == 1:
            return await self._allow(asked, user, projects[0])
        return Page(request, user).consent(
            action=PATH,
            name=asked.client.name,
            scopes=asked.scopes,
            projects=projects,
            user=user,
            hidden={"request": query, "csrf": user.csrf.reveal()},
            answers=answers,
        )

    async def _decide(self, request: Request) -> Response:
        given = await form(request)
        query = given.get("request", "")
        try:
            asked = await self._read(query)
        except NoRedirect as stop:
            return Page(request).failure(str(stop))
        user = await self._reception.signed(request)
        if user is None:
            answers = redirects.origin(asked.redirect_uri)
            return self._reception.ask(request, f"{PATH}?{query}", answers, "expired")
        if not is_own(request) or not user.admits(given.get("csrf")):
            return Page(request, user).failure("expired", status=403)
        if asked.problem is not None:
            return self._back(asked, error=asked.problem)
        if given.get("decision") != "allow":
            return self._back(asked, error=OAuthError("access_denied", "The user said no."))
        project = given.get("project", "")
        async with self._db.read() as session:
            projects = await self._reception.projects(session, asked.client)
        if project not in projects:
            return Page(request, user).failure("no_project", status=403)
        return await self._allow(asked, user, project)

    async def _allow(self, asked: Asked, user: SignedIn, project: str) -> Response:
        client, life = asked.client, self._config.grant_life
        async with self._db.write() as session:
            grant = await self._grants.begin(
                session,
                client,
                user_id=user.row_id,
                project=project,
                scopes=asked.scopes,
                life=life,
            )
            code = self._grants.code(session, grant, asked.redirect_uri, asked.challenge)
            await audit.record(
                session,
                action="oauth.consent",
                object=f"grant:{grant.grant_id}",
                organization=await organization(session, project),
                detail={"client": client.client_id, "project": project, "scopes": grant.scopes},
            )
        return self._back(asked, code=code)

    def _back(
        self, asked: Asked, *, code: str | None = None, error: OAuthError | None = None
    ) -> Response:
        """Send the browser back, with `state` and `iss` either way."""
        told = {} if code is None else {"code": code}
        if error is not None:
            told = {"error": error.error, "error_description": error.description}
        parts = [urlencode({**told, "iss": self._config.issuer})]
        if asked.state is not None:
            state = asked.state.encode("utf-8", "surrogateescape")
            parts.append("state=" + quote(state, safe=""))
        return see_other(redirects.joined(asked.redirect_uri, "&".join(parts)))

    async def _answers(self, query: str) -> str | None:
        try:
            return redirects.origin((await self._read(query)).redirect_uri)
        except (NoRedirect, OAuthError):
            return None

    async def _read(self, query: str) -> Asked:
        """The request in a query. Raises NoRedirect, OAuthError for one that cannot be read."""
        found = pairs(query)
        names = [name for name, _ in found]
        twice = {name for name in names if names.count(name) > 1}
        given = {name: value for name, value in found if value}
        if "client_id" in twice or "client_id" not in given or not given["client_id"].isascii():
            raise NoRedirect("client")
        async with self._db.read() as session:
            name = given["client_id"].replace("\x00", "")
            client = await clients.find(session, name) if name == given["client_id"] else None
        if client is None:
            raise NoRedirect("client")
        if "redirect_uri" in twice:
            raise NoRedirect("redirect")
        asked = Asked(client=client, redirect_uri=_target(client, given.get("redirect_uri")))
        state = None if "state" in twice else given.get("state")
        if state is not None and len(state.encode("utf-8", "surrogateescape")) > MAX_STATE:
            problem = bad_request(f"The state is longer than {MAX_STATE} bytes.")
            return replace(asked, problem=problem)
        asked = replace(asked, state=state)
        try:
            if twice:
                raise bad_request("A parameter came twice.")
            scopes = self._check(client, given)
        except OAuthError as problem:
            return replace(asked, problem=problem)
        return replace(asked, challenge=given["code_challenge"], scopes=scopes)

    def _check(self, client: ClientRow, given: dict[str, str]) -> Sequence[str]:
        """The scopes; all else must be as it has to. Raises OAuthError."""
        kind = given.get("response_type")
        if kind is None:
            raise bad_request("The parameter response_type is missing.")
        if kind != "code":
            raise OAuthError("unsupported_response_type", "There is only the type code.")
        if "authorization_code" not in client.grant_types:
            raise OAuthError("unauthorized_client", "The client may not use this grant type.")
        if "request" in given:
            raise OAuthError("request_not_supported", "Request objects are not read here.")
        if "request_uri" in given:
            raise OAuthError("request_uri_not_supported", "Request objects are not read here.")
        if given.get("response_mode", "query") != "query":
            raise bad_request("There is only the response_mode query.")
        require_challenge(given)
        if given.get("resource", self._config.issuer) != self._config.issuer:
            raise OAuthError("invalid_target", "Tokens are for this router alone.")
        if "scope" not in given:
            return client.scopes
        scopes = sorted(set(given["scope"].split(" ")) - {""})
        if not scopes or not set(scopes) <= set(client.scopes):
            raise OAuthError("invalid_scope", "The client may not ask for this scope.")
        return scopes


def require_challenge(given: dict[str, str]) -> None:
    """PKCE with S256, or nothing. Raises OAuthError."""
    if "code_challenge" not in given:
        raise bad_request("The parameter code_challenge is missing.")
    if given.get("code_challenge_method") != "S256":
        raise bad_request("The code_challenge_method must be S256.")
    if CHALLENGE.fullmatch(given["code_challenge"]) is None:
        raise bad_request("The code_challenge must be 43 characters of base64url.")


def _target(client: ClientRow, given: str | None) -> str:
    """Where to answer. Raises NoRedirect."""
    registered = client.redirect_uris
    if given is None:
        if len(registered) != 1:
            raise NoRedirect("redirect")
        return registered[0]
    if not given.isascii() or not redirects.matches(registered, given):
        raise NoRedirect("redirect")
    return given
