"""How the authorization server is set up, and how long what it gives out lives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.people.ways import Ways
from xrouter.domain.tries import SharedTries
from xrouter.stores.vault import Vault

CODE_LIFE = timedelta(seconds=60)
KEY_CODE_LIFE = timedelta(minutes=10)
"""Of a code that is copied by hand."""
GRANT_LIFE = timedelta(days=30)
"""Of a grant, and of all refresh tokens made of it; longer where access tokens live longer."""
GRACE = timedelta(seconds=10)
"""In which a refresh token that comes twice gets the same successor."""


class OAuthConfig(Struct, frozen=True, kw_only=True):
    """issuer: our public address, without a slash at its end. token_life: of access tokens."""

    issuer: str
    token_life: timedelta = timedelta(days=365)
    algorithm: str = "ES256"

    @property
    def grant_life(self) -> timedelta:
        """From consent to the end of everything made of it."""
        return max(GRANT_LIFE, self.token_life)

    @property
    def is_secure(self) -> bool:
        """Whether browsers come by https."""
        return self.issuer.startswith("https://")


class Means(Struct, frozen=True):
    """What the room works with. changed: called after what the data plane must know.

    now: the time in UTC, for tests. ways: to come in beside the password. tries: that processes
    count together.
    """

    db: Database
    vault: Vault
    config: OAuthConfig
    changed: Callable[[], None]
    now: Callable[[], datetime] = utc_now
    ways: Ways = Ways()
    tries: SharedTries | None = None
