"""The keys' API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from xrouter.control.identity.schemas import KeyIn, KeyOut, NewKeyOut
from xrouter.control.identity.service import KeyService
from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Id, Page, PageQuery

router = APIRouter(tags=["identity"])

Keys = Annotated[KeyService, room(KeyService)]


@router.get("/keys")
async def list_keys(keys: Keys, query: Annotated[PageQuery, Query()]) -> Page[KeyOut]:
    """List API keys, the newest first, also revoked ones."""
    return await keys.page(after=query.after, limit=query.limit)


@router.post("/keys", status_code=201)
async def create_key(given: KeyIn, keys: Keys) -> NewKeyOut:
    """Make an API key. It is shown in this answer and never again."""
    return await keys.create(given)


@router.post("/keys/{key_id}/revoke")
async def revoke_key(key_id: Id, keys: Keys) -> KeyOut:
    """Revoke an API key; again is the same as once."""
    return await keys.revoke(key_id)
