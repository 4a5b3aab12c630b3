"""Why a request would go where it would go."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter

from xrouter.control.explain.schemas import ExplainIn, ExplainOut
from xrouter.control.explain.service import ExplainService
from xrouter.control.kit.rooms import room

router = APIRouter(tags=["routing"])

Service = Annotated[ExplainService, room(ExplainService)]


@router.post("/explain")
async def explain(given: ExplainIn, service: Service) -> ExplainOut:
    """Show the plan for a request without sending it, with what the targets were left out for."""
    return ExplainOut(**service.explain(given))
