"""The keys' API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from xrouter.control.identity.schemas import (
    KeyIn,
    KeyOut,
    KeyPatch,
    KeyQuery,
    LeakIn,
    NewKeyOut,
    RevokedOut,
    RotationIn,
)
from xrouter.control.identity.service import KeyService
from xrouter.control.kit.access import Access, open_to
from xrouter.control.kit.etag import IfMatch, tagged
from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Id, Page

router = APIRouter(tags=["identity"])

Keys = Annotated[KeyService, room(KeyService)]


@router.get("/keys")
@open_to(Access.PERSON)
async def list_keys(keys: Keys, query: Annotated[KeyQuery, Query()]) -> Page[KeyOut]:
    """List API keys, the newest first, also revoked ones."""
    return await keys.page(query)


@router.post("/keys", status_code=201)
@open_to(Access.PERSON)
async def create_key(given: KeyIn, keys: Keys, response: Response) -> NewKeyOut:
    """Make an API key. It is shown in this answer and never again."""
    return tagged(response, await keys.create(given))


@router.post("/keys/revoke-all")
@open_to(Access.PERSON)
async def revoke_all_keys(given: LeakIn, keys: Keys) -> RevokedOut:
    """Revoke all API keys of a project at once: something has leaked."""
    return await keys.revoke_all(given)


@router.get("/keys/{key_id}")
@open_to(Access.PERSON)
async def get_key(key_id: Id, keys: Keys, response: Response) -> KeyOut:
    """Show one API key, also a revoked one."""
    return tagged(response, await keys.get(key_id))


@router.patch("/keys/{key_id}")
@open_to(Access.PERSON)
async def change_key(
    key_id: Id, patch: KeyPatch, keys: Keys, response: Response, if_match: IfMatch = None
) -> KeyOut:
    """Change what an API key is called, whose it is, and what it may do."""
    return tagged(response, await keys.update(key_id, patch, if_match))


@router.post("/keys/{key_id}/revoke")
@open_to(Access.PERSON)
async def revoke_key(key_id: Id, keys: Keys, response: Response) -> KeyOut:
    """Revoke an API key; again is the same as once."""
    return tagged(response, await keys.revoke(key_id))


@router.post("/keys/{key_id}/rotate")
@open_to(Access.PERSON)
async def rotate_key(
    key_id: Id, given: RotationIn, keys: Keys, response: Response, if_match: IfMatch = None
) -> NewKeyOut:
    """Give an API key a fresh secret, shown in this answer and never again.

    The one that it replaces stays good for `grace_seconds`.
    """
    return tagged(response, await keys.rotate(key_id, given, if_match))
