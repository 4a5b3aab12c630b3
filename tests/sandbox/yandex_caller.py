"""A client of the simulated Yandex Cloud that asks it directly."""

from __future__ import annotations

import json
from typing import Any

from xrouter.sandbox.kit import Charge, SandboxRequest, SandboxResponse
from xrouter.sandbox.yandex.models import FOLDER
from xrouter.sandbox.yandex.simulator import YandexSimulator

KEY = "AQVN-sandbox-1"


class Caller:
    """`now` is the simulator's clock."""

    def __init__(self) -> None:
        self.bill: list[Charge] = []
        self.now = 1_800_000_000.0
        self.simulator = YandexSimulator(self.bill, lambda: self.now)

    async def send(
        self, method: str, path: str, body: bytes = b"", **headers: str | None
    ) -> SandboxResponse:
        named = {
            name.replace("_", "-"): value for name, value in headers.items() if value is not None
        }
        request = SandboxRequest(method, path, {}, named, body, "http://here")
        return await self.simulator.handle(request)

    async def native(
        self, path: str, body: Any = None, method: str = "POST", **headers: str | None
    ) -> SandboxResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.send(method, path, raw, **{"authorization": f"Api-Key {KEY}"} | headers)

    async def compatible(
        self, method: str, path: str, body: Any = None, **headers: str | None
    ) -> SandboxResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.send(method, path, raw, **{"authorization": f"Bearer {KEY}"} | headers)

    async def iam(self, body: Any) -> SandboxResponse:
        return await self.send("POST", "/iam/v1/tokens", json.dumps(body).encode())


def uri(name: str, scheme: str = "gpt") -> str:
    return f"{scheme}://{FOLDER}/{name}"


def asked(
    text: str = "Hello there", model: str = "yandexgpt/latest", **more: Any
) -> dict[str, Any]:
    return {"modelUri": uri(model), "messages": [{"role": "user", "text": text}]} | more


def close(response: SandboxResponse) -> list[bytes]:
    """The frames, all of them sent; the slot is given back."""
    frames = response.frames or []
    assert response.on_close is not None
    response.on_close(len(frames) if frames else 1)
    return frames
