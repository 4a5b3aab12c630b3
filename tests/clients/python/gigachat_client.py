"""How GigaChat's own client is told to speak with the sandbox."""

from __future__ import annotations

import base64
from typing import Any

from pydantic import BaseModel

MAX, ULTRA = "GigaChat-2-Max", "GigaChat-3-Ultra"
CALL_TIMEOUT_S = 20.0
SPECIFICATION = {
    "name": "get_weather",
    "description": "Tells the weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "City"}},
        "required": ["city"],
    },
}


class Town(BaseModel):
    """What is to be answered."""

    name: str
    people: int


def settings(origin: str, *, old: bool = False, key: str = "b2b-sdk:sandbox") -> dict[str, Any]:
    """What a user tells the client. old: the host of before."""
    kind = key.partition("-")[0]
    return {
        "base_url": f"{origin}/gigachat{'/api/v1' if old else '/v1'}",
        "auth_url": f"{origin}/gigachat/api/v2/oauth",
        "credentials": base64.b64encode(key.encode()).decode(),
        "scope": f"GIGACHAT_API_{kind.upper()}",
        "model": MAX,
        "timeout": CALL_TIMEOUT_S,
    }
