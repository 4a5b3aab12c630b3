"""The usage API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from xrouter.control.billing.exports import ALSO_CSV, encoded, media_type
from xrouter.control.kit.access import Access, open_to
from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Page
from xrouter.control.usage import exports
from xrouter.control.usage.schemas import EventOut, EventQuery, SummaryOut, SummaryQuery
from xrouter.control.usage.service import UsageService

router = APIRouter(tags=["usage"])

Usage = Annotated[UsageService, room(UsageService)]


@router.get("/usage")
@open_to(Access.PERSON)
async def list_usage(usage: Usage, query: Annotated[EventQuery, Query()]) -> Page[EventOut]:
    """List usage events, the newest first. Times: ISO 8601 with a zone, or unix seconds."""
    return await usage.page(query)


@router.get("/usage/summary", response_model=SummaryOut, responses=ALSO_CSV)
@open_to(Access.PERSON)
async def sum_usage(usage: Usage, query: Annotated[SummaryQuery, Query()]) -> SummaryOut | Response:
    """Sum requests, errors, tokens and money by up to five dimensions; as CSV with `format=csv`."""
    found = await usage.summary(query)
    if query.format == "json":
        return found
    headers = {"content-disposition": 'attachment; filename="usage.csv"'}
    if found.next is not None:
        headers["x-xrouter-next"] = str(found.next)
    data = encoded(exports.summary(found), "utf-8")
    return Response(data, media_type=media_type("utf-8"), headers=headers)
