"""Shapes of the API of clients, grants and signing keys."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from xrouter.control.kit.etag import TaggedOut
from xrouter.control.kit.schemas import In, Moment, Name, Out, Title, unset
from xrouter.control.oauth import redirects
from xrouter.domain.tokens import TOKEN_SCOPES

GrantType = Literal["authorization_code", "refresh_token", "client_credentials"]
Redirect = Annotated[
    str, StringConstraints(max_length=redirects.MAX_URI), AfterValidator(redirects.check)
]
Redirects = Annotated[list[Redirect], Field(max_length=20)]


def _scope(text: str) -> str:
    if text not in TOKEN_SCOPES:
        raise ValueError(f"must be one of {', '.join(TOKEN_SCOPES)}")
    return text


Scopes = Annotated[
    list[Annotated[str, AfterValidator(_scope)]],
    Field(min_length=1, max_length=len(TOKEN_SCOPES)),
]


class ClientIn(In):
    """An application. is_public: one that can keep no secret, such as a program on a desktop.

    project: whose the client is, and for which client credentials act; needed for all but
    operators. is_first_party: needs no consent; operators alone may say so.
    """

    name: Title
    is_public: bool = False
    redirect_uris: Redirects = Field(default=[])
    grant_types: list[GrantType] = Field(default=["authorization_code", "refresh_token"])
    scopes: Scopes = Field(default=["chat", "embeddings", "models"])
    project: Name | None = None
    is_first_party: bool = False


class ClientPatch(In):
    """What to change; lists as a whole."""

    name: Title = unset()
    redirect_uris: Redirects = unset()
    grant_types: list[GrantType] = unset()
    scopes: Scopes = unset()
    is_first_party: bool = unset()
    is_active: bool = unset()


class ClientOut(TaggedOut):
    """What may be known of a client."""

    client_id: str
    name: str
    is_public: bool
    redirect_uris: list[str]
    grant_types: list[str]
    scopes: list[str]
    project: str | None
    is_first_party: bool
    is_active: bool
    created_at: Moment


class NewClientOut(ClientOut):
    """client_secret: shown this once and stored nowhere; None for a public client."""

    client_secret: str | None


class GrantOut(Out):
    """What a user allowed an application."""

    grant_id: str
    client_id: str
    client_name: str
    project: str
    scopes: list[str]
    created_at: Moment
    expires_at: Moment
    revoked_at: Moment | None


class SigningKeyOut(Out):
    """A key that signs access tokens; None in retired_at for one that does or will."""

    kid: str
    algorithm: str
    created_at: Moment
    signs_from: Moment
    retired_at: Moment | None


class SigningKeysOut(Out):
    """All of them, in the order in which they sign."""

    data: list[SigningKeyOut]
