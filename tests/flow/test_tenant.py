"""What callers name counts within their project alone."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs
from tests.flow import harness
from tests.flow.harness import PRINCIPAL, Rig

MODEL = "gigachat/GigaChat-2-Max"


async def session(rig: Rig, **fields: Any) -> str:
    assert (await rig.chat(MODEL, **fields)).error is None
    found: str = rig.asked(rig.first)[-1]["headers"]["x-session-id"]
    return found


@pytest.mark.parametrize(
    "named", [{"prompt_cache_key": "chat-1"}, {"metadata": {"session_id": "chat-1"}}, {}]
)
async def test_no_two_projects_share_a_session(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, named: dict[str, Any]
) -> None:
    mine = await session(rig, **named)
    assert await session(rig, **named) == mine
    monkeypatch.setattr(harness, "PRINCIPAL", structs.replace(PRINCIPAL, project="theirs"))
    theirs = await session(rig, **named)
    assert theirs != mine
    claimed = await session(rig, **named, **{"xrouter.tenant": PRINCIPAL.project})
    assert claimed == theirs, "a caller cannot say whose it is"
