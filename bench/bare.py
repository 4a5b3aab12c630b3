"""The bare Python proxy that everything is compared with: uvicorn in front, aiohttp behind, the
JSON decoded and encoded on both ways, and nothing else.

    python -m bench.bare PORT UPSTREAM_URL
"""

from __future__ import annotations

import sys
from typing import Any

import aiohttp
import msgspec
import uvicorn

JSON = [(b"content-type", b"application/json")]
STREAM = [(b"content-type", b"text/event-stream")]


class Bare:
    def __init__(self, upstream: str) -> None:
        self.url = upstream + "/v1/chat/completions"
        self.session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if self.session is None:
            self.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
            )
        body = b""
        more = True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        if not body:
            await self.send(send, JSON, b"{}")
            return
        request = msgspec.json.decode(body)
        headers = {"content-type": "application/json"}
        async with self.session.post(
            self.url, data=msgspec.json.encode(request), headers=headers
        ) as answer:
            if request.get("stream"):
                await self.stream(send, answer)
            else:
                whole = msgspec.json.decode(await answer.read())
                await self.send(send, JSON, msgspec.json.encode(whole))

    async def stream(self, send: Any, answer: aiohttp.ClientResponse) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": STREAM})
        async for data in answer.content.iter_any():
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def send(self, send: Any, headers: Any, body: bytes) -> None:
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(
        Bare(sys.argv[2]),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        lifespan="off",
    )
