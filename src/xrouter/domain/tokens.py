"""Access tokens: what must be known to check one without asking anybody."""

from __future__ import annotations

from msgspec import Struct

from xrouter.domain.bounds import SCOPES
from xrouter.domain.errors import Unauthenticated

ALGORITHMS = ("ES256", "RS256")
"""With which tokens are signed, and with none else."""

TOKEN_TYPE = "at+jwt"  # noqa: S105 - RFC 9068
ACCOUNT = "account"
"""The scope of who may see what was used and what is left."""
TOKEN_SCOPES: tuple[str, ...] = (*SCOPES, ACCOUNT)


class TokenKey(Struct, frozen=True):
    """A public key. public: a JWK, as JSON."""

    algorithm: str
    public: str


class Trust(Struct, frozen=True, kw_only=True):
    """Which access tokens are good. issuer: empty where none is.

    keys: by `kid`. revoked: ids of grants and of single tokens that are good no more, as long as
    they would be without that.
    """

    issuer: str = ""
    keys: dict[str, TokenKey] = {}
    revoked: frozenset[str] = frozenset()


class AccessToken(Struct, frozen=True, kw_only=True):
    """What a token says. expires_at: unix seconds."""

    token_id: str
    grant_id: str
    client_id: str
    subject: str
    project: str
    scopes: tuple[str, ...]
    kid: str
    issued_at: float
    expires_at: float


class InvalidToken(Unauthenticated):
    """401: an access token that is not ours, broken, expired or revoked."""

    default_code = "invalid_token"
