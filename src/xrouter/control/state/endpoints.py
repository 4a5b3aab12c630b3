"""The state's API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter

from xrouter.control.kit.rooms import room
from xrouter.control.state.schemas import StateOut
from xrouter.control.state.service import StateService

router = APIRouter(tags=["state"])

State = Annotated[StateService, room(StateService)]


@router.get("/state")
async def get_state(state: State) -> StateOut:
    """Show the revision, the versions of what runs, and how much there is."""
    return await state.get()
