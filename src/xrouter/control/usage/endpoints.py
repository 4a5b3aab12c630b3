"""The usage API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Page
from xrouter.control.usage.schemas import EventOut, EventQuery, SummaryOut, SummaryQuery
from xrouter.control.usage.service import UsageService

router = APIRouter(tags=["usage"])

Usage = Annotated[UsageService, room(UsageService)]


@router.get("/usage")
async def list_usage(usage: Usage, query: Annotated[EventQuery, Query()]) -> Page[EventOut]:
    """List usage events, the newest first. Times: ISO 8601 with a zone, or unix seconds."""
    return await usage.page(query)


@router.get("/usage/summary")
async def sum_usage(usage: Usage, query: Annotated[SummaryQuery, Query()]) -> SummaryOut:
    """Sum requests, errors and tokens by model, key, provider or day."""
    return await usage.summary(query)
