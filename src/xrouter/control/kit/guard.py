"""Before anything else sees a request: who asks, whether the route is theirs, how large it is.

Who sends a header Authorization asks by it alone; a cookie counts for who sends none. A request by
cookie that may change something needs the session's CSRF token, as the header `x-csrf-token` or as
the field `csrf` of a form, and must come from a page of our own.

An answer that goes on and on is for who may still have it: a session that has ended, or a right
that was taken away, ends it.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Iterable
from typing import Any, Protocol
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xrouter.control.db.changes import author
from xrouter.control.kit import errors, origin
from xrouter.control.kit.access import Access, Doors
from xrouter.control.kit.actor import ADMIN, ANONYMOUS, Actor, SignedIn, actor
from xrouter.domain.errors import (
    ClientGone,
    Forbidden,
    InternalError,
    PayloadTooLarge,
    RequestTimeout,
    Unauthenticated,
    XRouterError,
)
from xrouter.domain.secret import Secret
from xrouter.domain.usage import new_id
from xrouter.telemetry.logs import log
from xrouter.telemetry.veil import veiled

MAX_BODY = 4 << 20
BODY_S = 30.0
RECHECK_S = 2.0
"""Between two looks at who gets an answer that goes on."""

_HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM = b"application/x-www-form-urlencoded"
_FIELDS = 100
"""Of a form, at most."""

_Headers = dict[bytes, bytes]


class Visitors(Protocol):
    """Who is signed in."""

    async def of(
        self, headers: Iterable[tuple[bytes, bytes]], *, touch: bool = True
    ) -> SignedIn | None:
        """By the cookie of a request. touch: whether that counts as using the session."""


class Guard:
    """ASGI middleware. Every way out of it, a defect's too, is in the envelope of errors.

    doors: what is open to others than operators. visitors: None where only the admin token counts.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        admin_token: Secret,
        doors: Doors | None = None,
        visitors: Visitors | None = None,
        body_s: float = BODY_S,
    ) -> None:
        if not admin_token:
            raise ValueError("The control API needs an admin token.")
        self._app = app
        self._token = admin_token.reveal().encode()
        self._doors = doors or Doors()
        self._visitors = visitors
        self._body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then let the application answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            headers: _Headers = dict(scope["headers"])
            who = await self._admit(scope, headers)
            body = await self._body(receive)
            if who.user is not None and scope["method"] not in _SAFE:
                _require_token(who.user, headers, body)
            actor.set(who)
            author.set(who.name)
            work = self._app(scope, _Replay(body, receive), answer)
            await (work if who.user is None else self._watched(work, scope, headers, answer))
        except XRouterError as error:
            await errors.response(error)(scope, receive, answer)
        except Exception:
            log.exception(
                "control_defect", request_id=answer.request_id, path=veiled(scope["path"])
            )
            if answer.started:
                raise
            ours = InternalError("An internal error occurred; the log knows more.")
            await errors.response(ours)(scope, receive, answer)

    async def _watched(
        self, work: Awaitable[None], scope: Scope, headers: _Headers, answer: _Answer
    ) -> None:
        """Let the application answer; end what it sends when who gets it may not have it."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=RECHECK_S))[0]:
                if answer.started and not await self._is_welcome(scope, headers):
                    await answer.end()
                    return
            await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _is_welcome(self, scope: Scope, headers: _Headers) -> bool:
        """Whether who was let in would be now; without the database, as before."""
        try:
            await self._admit(scope, headers, touch=False)
        except (Unauthenticated, Forbidden):
            return False
        except XRouterError:
            return True
        return True

    async def _admit(self, scope: Scope, headers: _Headers, *, touch: bool = True) -> Actor:
        """Who asks. Raises Unauthenticated, and Forbidden for a route that is not theirs."""
        access = self._doors.access(scope["method"], scope["path"])
        ip = (scope.get("client") or (None,))[0]
        agent = headers.get(b"user-agent", b"").decode("latin-1") or None
        given = headers.get(b"authorization")
        if access is Access.PUBLIC:
            return Actor(name=ANONYMOUS, ip=ip, agent=agent)
        if access is Access.GUEST:
            origin.require_own(headers)
            return Actor(name=ANONYMOUS, ip=ip, agent=agent)
        user = None
        if given is None and self._visitors is not None:
            user = await self._visitors.of(scope["headers"], touch=touch)
        if user is None:
            self._require_admin(given, ip)
            return Actor(name=ADMIN, ip=ip, agent=agent)
        if scope["method"] not in _SAFE:
            origin.require_own(headers)
        if access is Access.OPERATOR and not user.is_operator:
            raise Forbidden("This is for operators of this router.", hint="Ask one of them.")
        return Actor(name=f"user:{user.user_id}", user=user, ip=ip, agent=agent)

    def _require_admin(self, given: bytes | None, ip: str | None) -> None:
        scheme, _, token = (given or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise Unauthenticated(
                "The control API needs the admin token, or a session.",
                hint="Send it as 'Authorization: Bearer <admin token>', or sign in.",
            )
        if not hmac.compare_digest(token.strip(), self._token):
            log.warning("admin_token_refused", ip=ip)
            raise Unauthenticated(
                "This is not the admin token.",
                hint="API keys of users do not open the control API.",
            )

    async def _body(self, receive: Receive) -> bytes:
        parts = bytearray()
        try:
            async with asyncio.timeout(self._body_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone("The caller left.")
                    parts += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(parts) > MAX_BODY:
                        raise PayloadTooLarge(f"The body has more than {MAX_BODY} bytes.")
        except TimeoutError:
            raise RequestTimeout("The body did not arrive in time.") from None
        return bytes(parts)


def _require_token(user: SignedIn, headers: _Headers, body: bytes) -> None:
    """What a page of another site cannot know. Raises Forbidden."""
    token = headers.get(b"x-csrf-token", b"").decode("latin-1")
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if not token and kind == _FORM:
        token = _field(body)
    if not user.admits(token):
        raise Forbidden(
            "The CSRF token of the session is missing or wrong.",
            code="csrf_token",
            hint="GET /control/v1/auth/me shows it; send it as the header x-csrf-token.",
        )


def _field(body: bytes) -> str:
    """The field `csrf` of a form, empty without one."""
    try:
        fields = parse_qs(body.decode("latin-1"), max_num_fields=_FIELDS)
    except ValueError:
        return ""
    values = fields.get("csrf", [])
    return values[0] if len(values) == 1 else ""


class _Replay:
    """Gives the body once, then what the server says."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Answer:
    """Adds the headers that every answer has."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.request_id = new_id("req_")
        self.started = False
        self._ended = False

    async def end(self) -> None:
        """Nothing more comes, whatever the application still sends."""
        if not self._ended:
            self._ended = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def __call__(self, message: Message) -> None:
        if self._ended:
            return
        if message["type"] == "http.response.start":
            self.started = True
            headers: list[Any] = list(message.get("headers", []))
            named = {name.lower() for name, _ in headers}
            headers += [(name, value) for name, value in _HEADERS if name not in named]
            headers.append((b"x-request-id", self.request_id.encode()))
            if message["status"] == Unauthenticated.status and b"www-authenticate" not in named:
                headers.append((b"www-authenticate", b"Bearer"))
            message = {**message, "headers": headers}
        else:
            self._ended = not message.get("more_body", False)
        await self._send(message)
