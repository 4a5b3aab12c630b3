"""The API of clients, grants and signing keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from xrouter.control.kit.access import Access, open_to
from xrouter.control.kit.etag import IfMatch, tagged
from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Deleted, Id, Page, PageQuery
from xrouter.control.oauth.key_service import SigningKeyService
from xrouter.control.oauth.schemas import (
    ClientIn,
    ClientOut,
    ClientPatch,
    GrantOut,
    NewClientOut,
    SigningKeyOut,
    SigningKeysOut,
)
from xrouter.control.oauth.service import ClientService, GrantService

router = APIRouter(prefix="/oauth", tags=["oauth"])

Clients = Annotated[ClientService, room(ClientService)]
Granted = Annotated[GrantService, room(GrantService)]
Keys = Annotated[SigningKeyService, room(SigningKeyService)]


@router.get("/clients")
@open_to(Access.PERSON)
async def list_clients(clients: Clients, query: Annotated[PageQuery, Query()]) -> Page[ClientOut]:
    """List applications, the newest first."""
    return await clients.page(query)


@router.post("/clients", status_code=201)
@open_to(Access.PERSON)
async def create_client(given: ClientIn, clients: Clients, response: Response) -> NewClientOut:
    """Register an application. Its secret is shown in this answer and never again."""
    return tagged(response, await clients.create(given))


@router.get("/clients/{client_id}")
@open_to(Access.PERSON)
async def get_client(client_id: Id, clients: Clients, response: Response) -> ClientOut:
    """Show one application."""
    return tagged(response, await clients.get(client_id))


@router.patch("/clients/{client_id}")
@open_to(Access.PERSON)
async def change_client(
    client_id: Id,
    patch: ClientPatch,
    clients: Clients,
    response: Response,
    if_match: IfMatch = None,
) -> ClientOut:
    """Change an application; switched off, or with fewer scopes, all its grants end."""
    return tagged(response, await clients.change(client_id, patch, if_match))


@router.post("/clients/{client_id}/secret")
@open_to(Access.PERSON)
async def renew_secret(client_id: Id, clients: Clients, response: Response) -> NewClientOut:
    """Give an application a new secret; the old one ends now."""
    return tagged(response, await clients.renew(client_id))


@router.get("/grants")
@open_to(Access.PERSON)
async def list_grants(grants: Granted, query: Annotated[PageQuery, Query()]) -> Page[GrantOut]:
    """List what you have allowed to applications, the newest first."""
    return await grants.page(query)


@router.post("/grants/{grant_id}/revoke")
@open_to(Access.PERSON)
async def revoke_grant(grant_id: Id, grants: Granted) -> GrantOut:
    """End what you have allowed to an application, with all its tokens."""
    return await grants.revoke(grant_id)


@router.get("/keys")
async def list_signing_keys(keys: Keys) -> SigningKeysOut:
    """List the keys that sign access tokens."""
    return await keys.every()


@router.post("/keys", status_code=201)
async def rotate_signing_key(keys: Keys) -> SigningKeyOut:
    """Make the next signing key ahead of its time; it signs a day later."""
    return await keys.rotate()


@router.delete("/keys/{kid}")
async def forget_signing_key(kid: Id, keys: Keys) -> Deleted:
    """Take a signing key away that has leaked: every token that it signed ends now."""
    return await keys.forget(kid)
