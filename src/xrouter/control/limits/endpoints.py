"""The API of limits."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from xrouter.control.kit.access import Access, open_to
from xrouter.control.kit.etag import IfMatch, tagged
from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Deleted, Page
from xrouter.control.limits.schemas import (
    LimitIn,
    LimitOut,
    LimitPatch,
    LimitQuery,
    LimitState,
    StateQuery,
)
from xrouter.control.limits.service import LimitService

router = APIRouter(tags=["limits"])

Limits = Annotated[LimitService, room(LimitService)]
LimitId = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("/limits")
@open_to(Access.PERSON)
async def list_limits(limits: Limits, query: Annotated[LimitQuery, Query()]) -> Page[LimitOut]:
    """List limits, all or those of a subject."""
    return await limits.page(query)


@router.post("/limits", status_code=201)
@open_to(Access.PERSON)
async def create_limit(given: LimitIn, limits: Limits, response: Response) -> LimitOut:
    """Make a limit of a rate, a quota, a budget, or of calls at a time."""
    return tagged(response, await limits.create(given))


@router.get("/limits/{limit}")
@open_to(Access.PERSON)
async def get_limit(limit: LimitId, limits: Limits, response: Response) -> LimitOut:
    """Show a limit."""
    return tagged(response, await limits.get(limit))


@router.patch("/limits/{limit}")
@open_to(Access.PERSON)
async def update_limit(
    limit: LimitId,
    patch: LimitPatch,
    limits: Limits,
    response: Response,
    if_match: IfMatch = None,
) -> LimitOut:
    """Change a limit, or switch it off and on."""
    return tagged(response, await limits.update(limit, patch, if_match))


@router.delete("/limits/{limit}")
@open_to(Access.PERSON)
async def delete_limit(limit: LimitId, limits: Limits, if_match: IfMatch = None) -> Deleted:
    """Delete a limit."""
    await limits.delete(limit, if_match)
    return Deleted(id=str(limit))


@router.get("/limits/{limit}/state")
@open_to(Access.PERSON)
async def get_limit_state(
    limit: LimitId, limits: Limits, query: Annotated[StateQuery, Query()]
) -> LimitState:
    """Show how much of a limit is used."""
    return await limits.state(limit, query)
