"""A client of the simulated llama.cpp server that asks it over raw HTTP."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

ROOT = "/llamacpp"
CHAT = "/v1/chat/completions"
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    },
}
CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
BARE_TOOL = {"type": "function", "function": {"name": "ping"}}
USER = {"role": "user", "content": "hi"}


def asked(text: str = "привет 👋", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]} | more


async def ask(http: aiohttp.ClientSession, path: str, body: Any, status: int = 200) -> Any:
    async with http.post(ROOT + path, json=body) as reply:
        assert reply.status == status, await reply.text()
        assert reply.headers["server"] == "llama.cpp"
        return await reply.json()


async def get(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(ROOT + path) as reply:
        assert reply.status == 200
        return await reply.json()


async def frames(http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> list[str]:
    async with http.post(ROOT + path, json=body | {"stream": True}) as reply:
        assert reply.status == 200, await reply.text()
        assert reply.content_type == "text/event-stream"
        *all_frames, nothing = (await reply.text()).split("\n\n")
        assert nothing == ""
        return all_frames


def parsed(all_frames: list[str]) -> list[dict[str, Any]]:
    return [
        json.loads(frame.removeprefix("data: "))
        for frame in all_frames
        if frame.startswith("data: {")
    ]
