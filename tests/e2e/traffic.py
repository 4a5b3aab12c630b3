"""Traffic as it comes: whole answers and streams, callers who leave, faults, `kill -9`.

Providers: a primary and a spare account each, at sandboxes of their own; a route over two of them.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
from msgspec import Struct, field
from tests.e2e.harness import SandboxProcess, Server, read_stream, until

ROUTE = "route/books"
PRICES: dict[str, tuple[str, str, str, str]] = {
    "gigachat/GigaChat-2-Max": ("RUB", "1234.567891", "987.654321", "0"),
    "yandex/yandexgpt-lite": ("RUB", "200.000001", "400.000003", "0"),
    "openai/gpt-4o-mini": ("USD", "0.150000001", "0.600000007", "0.00003"),
    "llamacpp/qwen3-8b": ("RUB", "0.000001", "0.000003", "0.01"),
}
"""By model: currency, input, output, request."""
DOLLAR = "81.234567891"
MODELS = (*PRICES, ROUTE)
AT_ONCE = 16
_ENDPOINTS: dict[str, dict[str, Any]] = {
    "openai": {"base_url": "OPENAI_BASE_URL", "credential": {"api_key": "sk-sandbox"}},
    "gigachat": {
        "base_url": "GIGACHAT_BASE_URL",
        "credential": {"credentials": "GIGACHAT_CREDENTIALS"},
        "options": {"auth_url": "GIGACHAT_AUTH_URL", "scope": "GIGACHAT_SCOPE"},
    },
}
"""Of the spare accounts; texts that name a variable of a sandbox's environment are its value."""
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "refuse"},
    {"kind": "reset"},
    {"kind": "reset", "after": 3},
    {"kind": "cut", "after": 0},
    {"kind": "cut", "after": 4},
    {"kind": "server_error"},
    {"kind": "html_error"},
    {"kind": "rate_limited"},
    {"kind": "unauthorized_once"},
    {"kind": "error_in_200"},
    {"kind": "early_error_frame", "after": 0},
    {"kind": "early_error_frame", "after": 3},
    {"kind": "malformed_chunk", "after": 2},
    {"kind": "truncated_json", "after": 2},
    {"kind": "slow_headers", "delay_s": 0.05},
)


class Tally(Struct):
    """What the callers know. answered: by request id, the tokens that they were told.

    left: those who did not wait. broken: cut off, by a fault or with the server.
    """

    sent: int = 0
    answered: dict[str, tuple[int, int]] = field(default_factory=dict)
    refused: int = 0
    left: int = 0
    broken: int = 0


class Traffic:
    """Requests to one server; a share of them meets a fault."""

    def __init__(
        self, server: Server, sandboxes: tuple[SandboxProcess, SandboxProcess], seed: int
    ) -> None:
        self.tally = Tally()
        self._server = server
        self._sandboxes = sandboxes
        self._dice = random.Random(seed)

    def wave(self, requests: int, *, killed: bool) -> None:
        """So many requests. killed: the server is, in the middle of them, and started again."""
        asyncio.run(self._wave(requests, killed=killed))

    async def _wave(self, requests: int, *, killed: bool) -> None:
        timeout = aiohttp.ClientTimeout(total=60)
        ahead = iter(range(requests))
        kill_at = self._dice.randrange(requests // 4, requests // 2) if killed else -1
        async with aiohttp.ClientSession(self._server.url, timeout=timeout) as http:
            if killed:
                part = iter(range(kill_at))
                clients = [asyncio.create_task(self._client(http, part)) for _ in range(AT_ONCE)]
                await asyncio.wait(clients, return_when=asyncio.FIRST_COMPLETED)
                self._server.kill()
                await asyncio.gather(*clients)
                ahead = iter(range(requests - kill_at))
                await asyncio.to_thread(self._server.start)
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(self._client(http, ahead))

    async def _client(self, http: aiohttp.ClientSession, ahead: Iterator[int]) -> None:
        for _ in ahead:
            self.tally.sent += 1
            if self._dice.random() < 0.15:
                await self._fault()
            try:
                await self._ask(http, self._body())
            except (aiohttp.ClientError, TimeoutError):
                self.tally.broken += 1

    async def _fault(self) -> None:
        """At the first account, now and then at a spare one; a book that is full takes no more."""
        sandbox = self._sandboxes[self._dice.random() < 0.2]
        fault = {"times": 1, "match": {"path": "ompletion"}} | self._dice.choice(FAULTS)
        await asyncio.to_thread(sandbox.ask, "POST", "/_sandbox/faults", fault)

    def _body(self) -> dict[str, Any]:
        dice = self._dice
        model, stream = dice.choice(MODELS), dice.random() < 0.6
        copies = 2 if model.startswith("gigachat") and dice.random() < 0.1 else 1
        padding = " ".join(["word"] * dice.randrange(1, 200))
        wish = f"[[words:{dice.randrange(1, 60)}]]"
        if stream and dice.random() < 0.2:
            wish += " [[pause:0.01]]"
        return {
            "model": model,
            "messages": [{"role": "user", "content": f"{padding} {wish}"}],
            "user": f"copies-{copies}",
            **({"n": copies} if copies > 1 else {}),
            **({"stream": True, "stream_options": {"include_usage": True}} if stream else {}),
        }

    async def _ask(self, http: aiohttp.ClientSession, body: dict[str, Any]) -> None:
        headers = {"authorization": f"Bearer {self._server.key}"}
        leaves = "n" not in body and self._dice.random() < 0.1
        patience = self._dice.choice((0.0, 0.002, 0.01, 0.05, 0.2))
        async with http.post("/v1/chat/completions", json=body, headers=headers) as reply:
            if leaves:
                await asyncio.sleep(patience)
                self.tally.left += 1
                reply.close()
                return
            data = await reply.read()
            if reply.status != 200:
                self.tally.refused += 1
                return
            usage = _usage(data, streamed="stream" in body)
            if usage is None:
                self.tally.broken += 1
            else:
                self.tally.answered[reply.headers["x-request-id"]] = usage


def _usage(data: bytes, *, streamed: bool) -> tuple[int, int] | None:
    """Tokens in and out that were told; None for a stream that was cut."""
    if not streamed:
        found = json.loads(data)["usage"]
        return found["prompt_tokens"], found["completion_tokens"]
    seen = read_stream(iter(data.splitlines()))
    if not seen.done or seen.usage is None:
        return None
    return seen.usage["prompt_tokens"], seen.usage["completion_tokens"]


def open_books(server: Server, spare: SandboxProcess) -> None:
    """Prices, a rate, spare accounts, a route."""
    dollar = {"currency": "USD", "day": "2026-01-01", "rubles": DOLLAR}
    server.control("PUT", "/rates", {"rates": [dollar]})
    for model, (currency, asked, answered, request) in PRICES.items():
        price = {"model": model, "effective_from": "2026-01-01T00:00:00Z", "source": "a drill"}
        amounts = {"currency": currency, "input": asked, "output": answered, "request": request}
        server.control("POST", "/prices", price | amounts)
    for provider, endpoint in _ENDPOINTS.items():
        made = _filled(endpoint, spare.environment) | {"name": "spare"}
        server.control("POST", f"/providers/{provider}/endpoints", made)
    targets = [{"model": "openai/gpt-4o-mini"}, {"model": "yandex/yandexgpt-lite"}]
    server.control("POST", "/routes", {"name": "books", "targets": targets})
    until(lambda: server.chat(ROUTE, user="copies-1").status == 200, "the route is there")


def _filled(given: dict[str, Any], env: dict[str, str]) -> dict[str, Any]:
    return {
        name: _filled(value, env) if isinstance(value, dict) else env.get(value, value)
        for name, value in given.items()
    }


@contextmanager
def spare_sandbox() -> Iterator[SandboxProcess]:
    """A sandbox besides the usual one."""
    other = SandboxProcess()
    try:
        yield other
    finally:
        other.close()
