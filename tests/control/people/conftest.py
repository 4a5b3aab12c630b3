"""People as browsers see the control API: a cookie, a CSRF token, an origin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest
from tests.control.conftest import ADMIN, Api

from xrouter.control.server import Services, create_app
from xrouter.domain.secret import Secret

ORIGIN = "https://control.test"
PASSWORD = "correct horse battery"
COOKIE = "__Host-xrouter"


class Browser(Api):
    """One person's. `me` and the CSRF token are of the last answer that told them."""

    me: Any = None
    csrf: str = ""

    @property
    def cookie(self) -> str | None:
        return self.http.cookies.get(COOKIE)

    @property
    def user_id(self) -> str:
        return str(self.me["user"]["user_id"])

    def knows(self, me: Any) -> None:
        self.me, self.csrf = me, me["csrf"]
        self.http.headers["x-csrf-token"] = self.csrf

    async def ask_nothing(self, method: str, path: str, **more: Any) -> None:
        """A request that is answered without a body."""
        reply = await self.http.request(method, "/control/v1" + path, **more)
        assert reply.status_code == 204, reply.text

    async def enter(self, path: str, *, status: int = 201, **body: Any) -> Any:
        """A way in that signs in."""
        me = await self.ask("POST", path, status=status, json={"password": PASSWORD, **body})
        self.knows(me)
        return me

    async def sign_in(self, email: str, password: str = PASSWORD) -> Any:
        return await self.enter("/auth/sign-in", status=200, email=email, password=password)


NewBrowser = Callable[[], Browser]
Invited = Callable[..., Awaitable[Browser]]


@pytest.fixture
async def app(services: Services) -> Any:
    return create_app(services, admin_token=Secret(ADMIN))


@pytest.fixture
async def browser(app: Any) -> AsyncIterator[NewBrowser]:
    """A new browser of nobody's."""
    opened: list[httpx2.AsyncClient] = []

    def new() -> Browser:
        transport = httpx2.ASGITransport(app=app, client=("203.0.113.5", 1234))
        client = httpx2.AsyncClient(
            transport=transport, base_url=ORIGIN, headers={"origin": ORIGIN}
        )
        opened.append(client)
        return Browser(client)

    yield new
    for client in opened:
        await client.aclose()


@pytest.fixture
async def admin(browser: NewBrowser) -> Api:
    """Whoever holds the admin token, at the same application."""
    found = browser()
    found.http.headers["authorization"] = f"Bearer {ADMIN}"
    return found


@pytest.fixture
async def operator(browser: NewBrowser, admin: Api) -> Browser:
    """The first operator, owner of the organisation `default`."""
    link = await admin.ask("POST", "/auth/setup-link", status=201)
    first = browser()
    await first.enter("/auth/setup", secret=link["secret"], email="op@a.test", name="Op")
    return first


@pytest.fixture
async def invited(browser: NewBrowser, operator: Browser) -> Invited:
    """A new person with a role in an organisation."""

    async def invite(
        email: str, role: str, organization: str = "default", project: str | None = None
    ) -> Browser:
        given = {"email": email, "role": role, "project": project}
        path = f"/organizations/{organization}/invites"
        link = await operator.ask("POST", path, json=given, status=201)
        person = browser()
        await person.enter("/auth/accept", secret=link["secret"], name=email)
        return person

    return invite
