"""The health API."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from xrouter.control.health.events import EventStream
from xrouter.control.health.schemas import (
    EndpointHealth,
    IncidentPage,
    IncidentQuery,
    UptimeOut,
    UptimeQuery,
)
from xrouter.control.health.service import HealthService
from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Page

router = APIRouter(tags=["health"])

Health = Annotated[HealthService, room(HealthService)]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events `state`, `incident` and `lost`",
        "content": {"text/event-stream": {}},
    }
}


@router.get("/health")
async def list_health(health: Health) -> Page[EndpointHealth]:
    """List how the endpoints are."""
    return await health.all()


@router.get("/health/incidents")
async def list_incidents(health: Health, query: Annotated[IncidentQuery, Query()]) -> IncidentPage:
    """List incidents, the newest first."""
    return await health.incidents(query)


@router.get("/health/uptime")
async def get_uptime(health: Health, query: Annotated[UptimeQuery, Query()]) -> UptimeOut:
    """Show the share of attempts that were answered, and of minutes in which nearly all were."""
    return await health.uptime(query)


@router.get("/health/events", response_model=None, responses=_STREAM)
async def follow_events(health: Health) -> EventStream:
    """Follow changes of states and incidents as they happen."""
    return EventStream(health.events)
