"""The releases' API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Page
from xrouter.control.releases.schemas import (
    BuildOut,
    BuildQuery,
    DriftOut,
    ReleaseIn,
    ReleaseOut,
    ReleaseQuery,
    RollbackIn,
)
from xrouter.control.releases.service import ReleaseService

router = APIRouter(tags=["releases"])

Releases = Annotated[ReleaseService, room(ReleaseService)]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("/releases")
async def list_releases(
    releases: Releases, query: Annotated[ReleaseQuery, Query()]
) -> Page[ReleaseOut]:
    """List releases, the newest first."""
    return await releases.page(query)


@router.post("/releases", status_code=201)
async def create_release(given: ReleaseIn, releases: Releases, response: Response) -> ReleaseOut:
    """Plan a release; with `dry_run` only tell, with status 200, what it would change."""
    if given.dry_run:
        response.status_code = 200
        return await releases.preview(given)
    return await releases.create(given)


@router.get("/releases/{release_id}")
async def get_release(release_id: Number, releases: Releases) -> ReleaseOut:
    """Show a release and what it will change."""
    return await releases.get(release_id)


@router.post("/releases/{release_id}/cancel")
async def cancel_release(release_id: Number, releases: Releases) -> ReleaseOut:
    """Let a planned release, or one in its canary, go no further."""
    return await releases.cancel(release_id)


@router.post("/releases/{release_id}/rollback")
async def roll_back_release(
    release_id: Number, releases: Releases, given: RollbackIn | None = None
) -> ReleaseOut:
    """Take the canary away, or let the channel lead to the version before."""
    return await releases.roll_back(release_id, None if given is None else given.reason)


@router.get("/builds")
async def list_builds(releases: Releases, query: Annotated[BuildQuery, Query()]) -> Page[BuildOut]:
    """List the builds that have answered, as the providers named them."""
    return await releases.builds(query)


@router.get("/drift")
async def list_drift(releases: Releases, query: Annotated[BuildQuery, Query()]) -> Page[DriftOut]:
    """List builds that appeared behind a name that had another, the newest first."""
    return await releases.drifts(query)
