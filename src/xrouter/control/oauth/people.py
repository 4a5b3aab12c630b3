"""Who sits before the browser: signed in, or asked to."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Sequence

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from xrouter.control.db.changes import author
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.oauth import ClientRow
from xrouter.control.db.tables.people import OrganizationRow, ProjectRow
from xrouter.control.kit.actor import ANONYMOUS, Actor, SignedIn, actor
from xrouter.control.oauth import ground
from xrouter.control.oauth.config import OAuthConfig
from xrouter.control.oauth.pages import HEADERS, Page
from xrouter.control.oauth.problems import OAuthError, form
from xrouter.control.people import access, cookies
from xrouter.control.people.schemas import SignIn
from xrouter.control.people.sessions import Sessions
from xrouter.control.people.sign_in import SignInService
from xrouter.control.people.ways import Ways
from xrouter.domain.errors import RateLimited, Unauthenticated, XRouterError

SEE_OTHER = 303
"""Never 307 or 308: they would send a password on."""
MAX_PROJECTS = 1000
_OURS = ("same-origin", "none")
_MAX_NEXT = 8000

Origin = Callable[[str], Awaitable[str | None]]
"""Of a query: the origin to which its answer goes."""


class Reception:
    """Lets people in. ways: path of each page that needs somebody, and where its answers go."""

    def __init__(
        self,
        db: Database,
        sessions: Sessions,
        sign_in: SignInService,
        config: OAuthConfig,
        providers: Ways,
    ) -> None:
        self._db = db
        self._sessions = sessions
        self._sign_in = sign_in
        self._providers = providers
        self._cookie = "__Host-xrouter-form" if config.is_secure else "xrouter-form"
        self._secure = config.is_secure
        self.ways: dict[str, Origin] = {}

    async def signed(self, request: Request) -> SignedIn | None:
        """Who is signed in; from now on the one who acts."""
        user = await self._sessions.of(request.headers.raw)
        acts(request, user)
        return user

    async def projects(self, session: AsyncSession, client: ClientRow | None) -> Sequence[str]:
        """In which who is signed in may let a client act, by slug."""
        mine = await access.slugs(session, ground.RIGHT)
        query = (
            select(ProjectRow.slug)
            .join(OrganizationRow, OrganizationRow.id == ProjectRow.organization_id)
            .where(ProjectRow.is_active, OrganizationRow.is_active)
            .order_by(ProjectRow.slug)
            .limit(MAX_PROJECTS)
        )
        if mine is not None:
            query = query.where(ProjectRow.slug.in_(mine))
        if client is not None and client.organization_id is not None:
            query = query.where(ProjectRow.organization_id == client.organization_id)
        return (await session.scalars(query)).all()

    def ask(
        self,
        request: Request,
        next_url: str,
        answers: str | None,
        problem: str | None = None,
        status: int = 200,
    ) -> Response:
        """The page to sign in at; afterwards it goes on at `next_url`."""
        csrf = self._known(request) or secrets.token_urlsafe(32)
        page = Page(request).sign_in(
            next_url=next_url,
            csrf=csrf,
            problem=problem,
            answers=answers,
            status=status,
            providers=self._providers,
        )
        page.set_cookie(
            self._cookie, csrf, path="/", secure=self._secure, httponly=True, samesite="lax"
        )
        return page

    async def sign_in(self, request: Request) -> Response:
        """What that page sends."""
        try:
            given = await form(request)
        except OAuthError:
            return Page(request).failure("expired")
        next_url = given.get("next", "")
        path, _, query = next_url.partition("?")
        if path not in self.ways or len(next_url) > _MAX_NEXT or not _is_text(next_url):
            return Page(request).failure("expired")
        answers = await self.ways[path](query)
        if not is_own(request) or not self._admits(request, given.get("csrf", "")):
            return self.ask(request, next_url, answers, "expired", 403)
        try:
            words = SignIn.model_validate(
                {"email": given.get("email", ""), "password": given.get("password", "")}
            )
            welcomed = await self._sign_in.sign_in(words, request.headers.raw)
        except (ValidationError, Unauthenticated):
            return self.ask(request, next_url, answers, "wrong", 401)
        except RateLimited:
            return self.ask(request, next_url, answers, "wait", 429)
        answer = see_other(next_url)
        cookies.put(answer, request.headers.raw, welcomed.secret)
        return answer

    def _known(self, request: Request) -> str | None:
        return request.cookies.get(self._cookie)

    def _admits(self, request: Request, csrf: str) -> bool:
        known = self._known(request)
        return bool(known) and hmac.compare_digest(
            (known or "").encode("utf-8", "surrogateescape"),
            csrf.encode("utf-8", "surrogateescape"),
        )


async def guarded(work: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
    """A page, also when the database does not serve."""
    try:
        return await work(request)
    except OAuthError as error:
        return Page(request).failure("request", error.description, status=error.status)
    except XRouterError as error:
        return Page(request).failure("away", status=max(error.status, 400))


def is_own(request: Request) -> bool:
    """Whether a form came from a page of ours, as far as the browser tells.

    Our pages send no referrer, so that the header Origin is `null`: the CSRF token decides.
    """
    return request.headers.get("sec-fetch-site", _OURS[0]) in _OURS


def see_other(url: str) -> RedirectResponse:
    """Go there with GET."""
    answer = RedirectResponse("/", SEE_OTHER, HEADERS)
    answer.headers["location"] = url
    return answer


def acts(request: Request, user: SignedIn | None = None) -> None:
    """From now on it is the one who sent this request who acts. user: None for nobody known."""
    name = ANONYMOUS if user is None else f"user:{user.user_id}"
    ip = request.client.host if request.client else None
    actor.set(Actor(name=name, user=user, ip=ip, agent=request.headers.get("user-agent")))
    author.set(name)


def _is_text(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text
