"""Before anything else sees a request: the admin token, and the bounds of its body."""

from __future__ import annotations

import asyncio
import hmac
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xrouter.control.db.changes import author
from xrouter.control.kit import errors
from xrouter.domain.errors import (
    ClientGone,
    InternalError,
    PayloadTooLarge,
    RequestTimeout,
    Unauthenticated,
    XRouterError,
)
from xrouter.domain.secret import Secret
from xrouter.domain.usage import new_id
from xrouter.telemetry.logs import log

MAX_BODY = 4 << 20
BODY_S = 30.0
ADMIN = "admin"
"""The author of changes by whoever holds the admin token."""

_HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Guard:
    """ASGI middleware. Every way out of it, a defect's too, is in the envelope of errors."""

    def __init__(self, app: ASGIApp, *, admin_token: Secret, body_s: float = BODY_S) -> None:
        if not admin_token:
            raise ValueError("The control API needs an admin token.")
        self._app = app
        self._token = admin_token.reveal().encode()
        self._body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then let the application answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            self._admit(scope)
            body = await self._body(receive)
            author.set(ADMIN)
            await self._app(scope, _Replay(body, receive), answer)
        except XRouterError as error:
            await errors.response(error)(scope, receive, answer)
        except Exception:
            log.exception("control_defect", request_id=answer.request_id, path=scope["path"])
            if answer.started:
                raise
            ours = InternalError("An internal error occurred; the log knows more.")
            await errors.response(ours)(scope, receive, answer)

    def _admit(self, scope: Scope) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, token = given.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise Unauthenticated(
                "The control API needs the admin token.",
                hint="Send it as 'Authorization: Bearer <admin token>'.",
            )
        if not hmac.compare_digest(token.strip(), self._token):
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

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers: list[Any] = list(message.get("headers", []))
            headers += [*_HEADERS, (b"x-request-id", self.request_id.encode())]
            if message["status"] == Unauthenticated.status:
                headers.append((b"www-authenticate", b"Bearer"))
            message = {**message, "headers": headers}
        await self._send(message)
