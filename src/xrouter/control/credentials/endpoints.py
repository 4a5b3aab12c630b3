"""The API of projects' own credentials for providers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response

from xrouter.control.credentials.schemas import CredentialIn, CredentialOut
from xrouter.control.credentials.service import CredentialService
from xrouter.control.kit.access import Access, open_to
from xrouter.control.kit.etag import IfMatch, tagged
from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Deleted, Name, Page

router = APIRouter(prefix="/projects/{slug}/credentials", tags=["credentials"])

Credentials = Annotated[CredentialService, room(CredentialService)]


@router.get("")
@open_to(Access.PERSON)
async def list_credentials(slug: Name, credentials: Credentials) -> Page[CredentialOut]:
    """List a project's own credentials for providers, without the secrets."""
    return await credentials.page(slug)


@router.get("/{provider}")
@open_to(Access.PERSON)
async def get_credential(
    slug: Name, provider: Name, credentials: Credentials, response: Response
) -> CredentialOut:
    """Show one, without the secrets."""
    return tagged(response, await credentials.get(slug, provider))


@router.put("/{provider}")
@open_to(Access.PERSON)
async def set_credential(
    slug: Name,
    provider: Name,
    given: CredentialIn,
    credentials: Credentials,
    response: Response,
    *,
    if_match: IfMatch = None,
) -> CredentialOut:
    """Let a project ask a provider on its own account."""
    return tagged(response, await credentials.put(slug, provider, given, if_match))


@router.delete("/{provider}")
@open_to(Access.PERSON)
async def delete_credential(
    slug: Name, provider: Name, credentials: Credentials, if_match: IfMatch = None
) -> Deleted:
    """Forget a credential: the project asks on the router's account again."""
    await credentials.delete(slug, provider, if_match)
    return Deleted(id=provider)
