"""Open-loop load: so many requests a second whatever comes of them, and what came of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
from msgspec import Struct
from tests.e2e.harness import Server

Script = Callable[[float], Coroutine[Any, Any, None]]
"""What happens besides; it is told when the load began (`time.monotonic()`)."""


class Seen(Struct):
    """One request. at: seconds since the load began when it was sent; took: seconds.

    status: 0 when there was no answer. whole: it came to its proper end.
    """

    at: float
    took: float
    status: int
    whole: bool
    endpoint: str
    version: str
    reason: str


class Load:
    """Requests to one model, every second one streamed."""

    def __init__(self, server: Server, model: str, per_second: float, *, keys: list[str]) -> None:
        self._url = server.url + "/v1/chat/completions"
        self._model = model
        self._every = 1 / per_second
        self._keys = keys
        self.seen: list[Seen] = []

    def run(self, seconds: float, script: Script) -> list[Seen]:
        """Send for so long, with the script beside it."""
        return asyncio.run(self._run(seconds, script))

    async def _run(self, seconds: float, script: Script) -> list[Seen]:
        began = time.monotonic()
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            group.create_task(script(began))
            number = 0
            while (now := time.monotonic() - began) < seconds:
                group.create_task(self._one(session, began, number))
                number += 1
                await asyncio.sleep(max(0.0, number * self._every - now))
        return sorted(self.seen, key=lambda each: each.at)

    async def _one(self, session: aiohttp.ClientSession, began: float, number: int) -> None:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": f"Request {number}"}],
            "stream": number % 2 == 0,
        }
        headers = {"authorization": f"Bearer {self._keys[number % len(self._keys)]}"}
        sent = time.monotonic()
        status, text, told = 0, b"", {}
        try:
            async with session.post(self._url, json=body, headers=headers) as reply:
                status, told = reply.status, dict(reply.headers)
                text = await reply.read()
        except (aiohttp.ClientError, TimeoutError):
            pass
        ended = text.rstrip().endswith(b"[DONE]") if body["stream"] else b'"finish_reason"' in text
        self.seen.append(
            Seen(
                sent - began,
                time.monotonic() - sent,
                status,
                ended and b'"error"' not in text,
                told.get("x-xrouter-endpoint", ""),
                told.get("x-xrouter-version", ""),
                told.get("x-xrouter-route", ""),
            )
        )
