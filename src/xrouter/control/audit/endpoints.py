"""The audit log's API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from xrouter.control.audit.schemas import AuditQuery, ChainOut, EventsOut
from xrouter.control.audit.service import AuditService
from xrouter.control.kit.access import Access, open_to
from xrouter.control.kit.rooms import room

router = APIRouter(tags=["audit"])

Audit = Annotated[AuditService, room(AuditService)]


@router.get("/audit")
@open_to(Access.PERSON)
async def list_events(audit: Audit, query: Annotated[AuditQuery, Query()]) -> EventsOut:
    """List security events and changes, the newest first."""
    return await audit.page(query)


@router.get("/audit/verify")
async def verify_chain(audit: Audit) -> ChainOut:
    """Check that no event was changed or taken out."""
    return await audit.verify()
