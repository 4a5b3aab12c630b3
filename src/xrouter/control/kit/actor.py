"""Who asks the control API; set by the guard for the length of a request."""

from __future__ import annotations

import hmac
from contextvars import ContextVar

from msgspec import Struct

from xrouter.control.db.changes import SYSTEM
from xrouter.domain.errors import Forbidden
from xrouter.domain.secret import Secret

ADMIN = "admin"
"""Whoever holds the admin token."""
ANONYMOUS = "anonymous"


class SignedIn(Struct, frozen=True, kw_only=True):
    """A user with a session that is good now. Rights are as of this request.

    row_id: of `users`. user_id: public. session_id: of `sessions`. csrf: what forms must bring.
    """

    row_id: int
    user_id: str
    email: str
    name: str
    language: str
    is_operator: bool
    session_id: int
    csrf: Secret

    def admits(self, token: str | None) -> bool:
        """Whether this is the session's CSRF token; compared in constant time."""
        given = (token or "").encode("utf-8", "surrogatepass")
        return hmac.compare_digest(given, self.csrf.reveal().encode())


class Actor(Struct, frozen=True, kw_only=True):
    """Who asks, and from where.

    name: `user:<id>`, `key:<id>`, `client:<id>`, `admin`, `system` or `anonymous`. user: None for
    all but people with a session.
    """

    name: str
    user: SignedIn | None = None
    ip: str | None = None
    agent: str | None = None

    @property
    def is_operator(self) -> bool:
        """Whether nothing is forbidden: the admin token, an operator, the program itself."""
        if self.user is not None:
            return self.user.is_operator
        return self.name in (ADMIN, SYSTEM)

    def person(self) -> SignedIn:
        """The user. Raises Forbidden for who is none, the admin token too."""
        if self.user is None:
            raise Forbidden(
                "This is for people who are signed in.", hint="The admin token is nobody's."
            )
        return self.user


_PROGRAM = Actor(name=SYSTEM)

actor: ContextVar[Actor] = ContextVar("actor", default=_PROGRAM)
"""Who asks; `db.changes.author` holds the same name."""
