"""Shapes of projects' own credentials. Secrets go in and never come out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints

from xrouter.control.kit.etag import TaggedOut
from xrouter.control.kit.schemas import In, Moment

Secretive = Annotated[SecretStr, Field(min_length=1, max_length=65536)]
FieldName = Annotated[str, StringConstraints(max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]


class CredentialIn(In):
    """With which a project asks a provider on its own account.

    credential: secrets by name, as the provider's endpoint has them; null keeps what there is.
    is_only: never ask this provider on the router's account, not even when the credential is
    refused. is_enabled: false for the router's account again, without forgetting the secret.
    """

    credential: Annotated[dict[FieldName, Secretive], Field(min_length=1, max_length=16)] | None = (
        None
    )
    is_only: bool = False
    is_enabled: bool = True


class CredentialOut(TaggedOut):
    """A credential. fields: names of its secrets, null if they cannot be opened.

    last4: the end of the longest one, "" where that would tell too much.
    """

    project: str
    provider: str
    fields: list[str] | None
    last4: str
    is_only: bool
    is_enabled: bool
    created_at: Moment
    updated_at: Moment
