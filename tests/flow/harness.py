"""A real pipeline between a recording reply and sandboxes: only the door is missing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import msgspec
import pytest
from msgspec import structs
from typing_extensions import override

from xrouter.domain.answer import ChatAnswer, ChatDelta, Usage
from xrouter.domain.catalog import Endpoint, Model, Timeouts, Version
from xrouter.domain.counting import TokenCount
from xrouter.domain.embeddings import EmbeddingsAnswer
from xrouter.domain.errors import Unauthenticated, XRouterError
from xrouter.domain.identity import Principal
from xrouter.domain.images import ImagesAnswer
from xrouter.domain.ports import Allowance, CallInfo, Journal, KeyBook, Reply, Served
from xrouter.domain.raw import RawRequest
from xrouter.domain.routes import Policy
from xrouter.domain.secret import Secret
from xrouter.domain.snapshot import Snapshot
from xrouter.domain.usage import UsageEvent
from xrouter.edge.dialects.openai.chat import read_chat
from xrouter.edge.dialects.openai.embeddings import read_embeddings
from xrouter.edge.dialects.openai.images import read_images
from xrouter.edge.dialects.openai.tokens import read_count
from xrouter.flow.board import Board
from xrouter.flow.cache import AnswerCache
from xrouter.flow.dispatch import Dispatcher
from xrouter.flow.limits.keeper import Keeper
from xrouter.flow.pipeline import Gear, Pipeline
from xrouter.flow.route import Router
from xrouter.flow.savings import Savings
from xrouter.flow.settle import Settler
from xrouter.flow.upstreams import Upstreams
from xrouter.providers import factory
from xrouter.providers.base import BaseAPIAdapter
from xrouter.sandbox.application import Sandbox
from xrouter.sandbox.delivery import Connection
from xrouter.sandbox.server import running
from xrouter.stores.memory.answers import MemoryAnswers
from xrouter.stores.memory.meters import MemoryMeters
from xrouter.stores.memory.snapshots import MemorySnapshots
from xrouter.telemetry.access import AccessLog
from xrouter.telemetry.logs import console_writer
from xrouter.telemetry.metrics import Meters
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook

PATIENCE = 60.0
"""Seconds that bound a wait for something that must come."""

LOOK_S = 0.05
"""What one look takes at most: while the machine stands still, nobody is late."""

SILENCE_S = 5.0
"""A limit of silence that a slow machine keeps: see `leaping`."""

TURNS = 200
"""Of the loop, after which everybody has seen all that was sent."""

Leap = Callable[..., None]

PATIENT = Timeouts(connect=60.0)
"""The usual ones; a slow machine may connect."""

KEY = "the key"
PRINCIPAL = Principal(key_id="key-1", name="test", project="tests")

_ADAPTERS = {name: known.adapter_class for name, known in factory.providers().items()}
_ENDPOINTS: dict[str, dict[str, Any]] = {
    "gigachat": {
        "base_url": "{url}/gigachat/api/v1",
        "credential": {"credentials": Secret("YjJiLWRlbW86c2FuZGJveA==")},
        "options": {"scope": "GIGACHAT_API_B2B", "auth_url": "{url}/gigachat/api/v2/oauth"},
    },
    "yandex": {
        "base_url": "{url}/yandex",
        "credential": {"api_key": Secret("AQVN-sandbox")},
        "options": {"folder_id": "b1gsandbox0000000000"},
    },
    "openai": {"base_url": "{url}/openai/v1", "credential": {"api_key": Secret("sk-sandbox")}},
    "llamacpp": {"base_url": "{url}/llamacpp"},
}
_MODELS: tuple[tuple[str, str, str], ...] = (
    ("gigachat/GigaChat-2-Max", "chat", "GigaChat-2-Max"),
    ("gigachat/Embeddings", "embeddings", "Embeddings"),
    ("yandex/yandexgpt", "chat", "yandexgpt/latest"),
    ("yandex/yandexgpt-lite", "chat", "yandexgpt-lite/latest"),
    ("yandex/gpt-oss-20b", "chat", "gpt-oss-20b/latest"),
    ("yandex/text-search-doc", "embeddings", "text-search-doc/latest"),
    ("openai/gpt-4o-mini", "chat", "gpt-4o-mini"),
    ("openai/o4-mini", "chat", "o4-mini"),
    ("openai/text-embedding-3-small", "embeddings", "text-embedding-3-small"),
    ("llamacpp/qwen3-8b", "chat", "qwen3-8b"),
)
MODELS = {
    model_id: Model(
        model_id=model_id,
        provider=model_id.partition("/")[0],
        adapter_class=_ADAPTERS[model_id.partition("/")[0]],
        display_name=model_id,
        kind=kind,  # type: ignore[arg-type] # a table of texts
        versions=(Version(label="1", upstream=upstream, channel="latest"),),
    )
    for model_id, kind, upstream in _MODELS
}


def endpoint(provider: str, url: str, number: int, timeouts: Timeouts, **changes: Any) -> Endpoint:
    """An endpoint of a simulated provider at `url`; number 1 is tried first."""
    given = _ENDPOINTS[provider] | changes
    options = {k: v.replace("{url}", url) for k, v in given.get("options", {}).items()}
    return Endpoint(
        id=10 * list(_ENDPOINTS).index(provider) + number,
        provider=provider,
        name=f"at-{number}",
        adapter_class=_ADAPTERS[provider],
        base_url=given["base_url"].replace("{url}", url),
        credential=given.get("credential", {}),
        options=options,
        priority=number,
        timeouts=timeouts,
    )


class Recorder(Reply):
    """Keeps what it is told. `hold_at`: the method in which it waits for ever."""

    def __init__(self, hold_at: str | None = None) -> None:
        self.calls: list[str] = []
        self.held = asyncio.Event()
        self.text = ""
        self.reasoning = ""
        self.finish: str | None = None
        self.served: Served | None = None
        self.error: XRouterError | None = None
        self.last_asked: Served | None = None
        self.usage: Usage | None = None
        self.whole: ChatAnswer | None = None
        self.vectors: list[list[float]] = []
        self.pictures: ImagesAnswer | None = None
        self.counted: TokenCount | None = None
        self.content_type = ""
        self.raw = b""
        self.allowance: Allowance | None = None
        self.allowances: dict[str, Allowance] = {}
        self.events_at_end = -1
        self.journal: list[UsageEvent] = []
        self._hold_at = hold_at

    @property
    @override
    def started(self) -> bool:
        return "start" in self.calls

    @override
    def allow(self, allowance: Allowance) -> None:
        self.allowances[allowance.meter] = allowance
        if allowance.meter == "requests":
            self.allowance = allowance

    @override
    def asked(self, served: Served) -> None:
        self.last_asked = served

    @override
    async def start(self, served: Served) -> None:
        self.served = served
        await self._note("start")

    @override
    async def deltas(self, deltas: list[ChatDelta]) -> None:
        assert deltas, "nothing was to be sent"
        for delta in deltas:
            self.text += delta.text or ""
            self.reasoning += delta.reasoning or ""
            self.finish = delta.finish_reason or self.finish
        if self.calls[-1] != "deltas":
            await self._note("deltas")

    @override
    async def end(self, usage: Usage | None) -> None:
        self.usage = usage
        await self._last("end")

    @override
    async def fail(self, error: XRouterError) -> None:
        self.error = error
        await self._last("fail")

    @override
    async def refuse(self, error: XRouterError) -> None:
        self.error = error
        await self._last("refuse")

    @override
    async def answer(self, answer: ChatAnswer, served: Served) -> None:
        self.whole, self.served = answer, served
        self.text = answer.choices[0].message.content or ""
        self.finish = answer.choices[0].finish_reason
        self.usage = answer.usage
        await self._last("answer")

    @override
    async def embeddings(self, answer: EmbeddingsAnswer, served: Served) -> None:
        self.vectors, self.served, self.usage = answer.vectors, served, answer.usage
        await self._last("embeddings")

    @override
    async def images(self, answer: ImagesAnswer, served: Served) -> None:
        self.pictures, self.served, self.usage = answer, served, answer.usage
        await self._last("images")

    @override
    async def count(self, count: TokenCount, served: Served) -> None:
        self.counted, self.served = count, served
        await self._last("count")

    @override
    async def open_raw(self, served: Served, content_type: str) -> None:
        self.served, self.content_type = served, content_type
        await self._note("start")

    @override
    async def pass_on(self, data: bytes) -> None:
        self.raw += data

    @override
    async def close_raw(self) -> None:
        await self._last("close_raw")

    @override
    async def break_raw(self) -> None:
        await self._last("break_raw")

    async def _last(self, name: str) -> None:
        """The law: the event is in the journal before the last byte is out."""
        self.events_at_end = len(self.journal)
        await self._note(name)

    async def _note(self, name: str) -> None:
        self.calls.append(name)
        if name == self._hold_at:
            self.held.set()
            await asyncio.Event().wait()


class ListJournal(Journal):
    def __init__(self) -> None:
        self.events: list[UsageEvent] = []

    @override
    def append(self, event: UsageEvent) -> bytes:
        self.events.append(event)
        return msgspec.json.encode(event)


class OneKey(KeyBook):
    @override
    def find(self, key: str, snapshot: Snapshot) -> Principal:
        if key != KEY:
            raise Unauthenticated("Incorrect API key provided.")
        return PRINCIPAL


class Rig:
    """Two sandboxes, each provider's primary endpoint at the first, the standby at the second."""

    def __init__(self, first: Sandbox, second: Sandbox, urls: tuple[str, str]) -> None:
        self.first = first
        self.second = second
        self.urls = urls
        self.journal = ListJournal()
        self.client = Client()
        self.tokens = TokenBook()
        self.snapshots = MemorySnapshots()
        self.board = Board()
        self.meters = Meters()
        self.build: Callable[[Endpoint], BaseAPIAdapter] = factory.build
        upstreams = Upstreams(self._made, self.client, self.tokens)
        access = AccessLog(console_writer(), enabled=False)
        savings = Savings(self.snapshots, self.meters)
        self.limits = MemoryMeters()
        limits = Keeper(self.limits, self.meters)
        self.pipeline = Pipeline(
            Gear(
                self.snapshots,
                OneKey(),
                limits,
                Router(self.board),
                Dispatcher(upstreams, self.meters, self.board),
                Settler(self.journal, self.meters, access, savings, self.snapshots, limits=limits),
                AnswerCache(MemoryAnswers(), self.meters, savings),
            )
        )
        self.use()

    def _made(self, endpoint: Endpoint) -> BaseAPIAdapter:
        return self.build(endpoint)

    def use(
        self,
        timeouts: Timeouts | None = None,
        *,
        standby: bool = True,
        policy: Policy | None = None,
        **changes: Any,
    ) -> None:
        """Put both endpoints of each provider into the snapshot, or the first alone.

        timeouts: of the first; the standby has time. policy: of all models.
        """
        made: dict[str, tuple[Endpoint, ...]] = {}
        for provider in _ENDPOINTS:
            more = changes.get(provider, {})
            pair = (
                endpoint(provider, self.urls[0], 1, timeouts or PATIENT, **more),
                endpoint(provider, self.urls[1], 2, PATIENT, **more),
            )
            made[provider] = pair if standby else pair[:1]
        self.endpoints(made, policy)

    def endpoints(
        self, made: dict[str, tuple[Endpoint, ...]], policy: Policy | None = None
    ) -> None:
        models = MODELS
        if policy is not None:
            models = {name: structs.replace(m, policy=policy) for name, m in MODELS.items()}
        self.snapshots.replace(
            Snapshot(revision=1, built_at=time.time(), models=models, endpoints=made, keys={})
        )

    def fault(self, kind: str, *, where: Sandbox | None = None, **fields: Any) -> None:
        """Let the first sandbox fail at its chats from now on; `times` to limit it."""
        fault = {"kind": kind, "times": None, "match": {"path": "ompletion"}} | fields
        (where or self.first).faults.add(msgspec.json.encode(fault))

    async def chat(
        self,
        model: str,
        text: str = "Hello there",
        *,
        reply: Recorder | None = None,
        headers: Mapping[bytes, bytes] | None = None,
        **fields: Any,
    ) -> Recorder:
        """One chat request; `stream` and others among the fields."""
        body = {"model": model, "messages": [{"role": "user", "content": text}]} | fields
        reply = reply or Recorder()
        reply.journal = self.journal.events
        await self.pipeline.chat(
            read_chat(msgspec.json.encode(body)), KEY, self.call("chat", headers), reply
        )
        return reply

    async def draw(self, model: str, prompt: str = "A hedgehog", **fields: Any) -> Recorder:
        body = msgspec.json.encode({"model": model, "prompt": prompt} | fields)
        reply = Recorder()
        reply.journal = self.journal.events
        await self.pipeline.images(read_images(body), KEY, self.call("images"), reply)
        return reply

    async def count(self, model: str, **fields: Any) -> Recorder:
        reply = Recorder()
        reply.journal = self.journal.events
        body = msgspec.json.encode({"model": model} | fields)
        await self.pipeline.count(read_count(body), KEY, self.call("count"), reply)
        return reply

    async def pass_on(self, model: str, operation: str, body: Any) -> Recorder:
        reply = Recorder()
        reply.journal = self.journal.events
        request = RawRequest(
            model=model,
            operation=operation,
            content_type="application/json",
            body=msgspec.json.encode({"model": model} | body),
        )
        await self.pipeline.raw(request, KEY, self.call(operation), reply)
        return reply

    async def embed(
        self, model: str, texts: list[str], *, reply: Recorder | None = None, **fields: Any
    ) -> Recorder:
        body = {"model": model, "input": texts} | fields
        reply = reply or Recorder()
        reply.journal = self.journal.events
        request = read_embeddings(msgspec.json.encode(body))
        await self.pipeline.embeddings(request, KEY, self.call("embeddings"), reply)
        return reply

    @staticmethod
    def call(operation: str, headers: Mapping[bytes, bytes] | None = None) -> CallInfo:
        return CallInfo("req_test", time.monotonic(), operation, headers=headers or {})

    @property
    def event(self) -> UsageEvent:
        """The only event there is."""
        assert len(self.journal.events) == 1, self.journal.events
        return self.journal.events[0]

    def asked(self, where: Sandbox, path: str = "ompletion") -> list[dict[str, Any]]:
        """What a sandbox has seen of chats, or of another path."""
        return [each for each in where.seen.report() if path in each["path"]]

    async def close(self) -> None:
        await self.tokens.close()
        await self.client.close()


@asynccontextmanager
async def open_rig() -> AsyncIterator[Rig]:
    """A rig; at the end no task of it may be left."""
    async with AsyncExitStack() as stack:
        sandboxes = (Sandbox(), Sandbox())
        first = await stack.enter_async_context(running(app=sandboxes[0]))
        second = await stack.enter_async_context(running(app=sandboxes[1]))
        rig = Rig(*sandboxes, (first, second))
        stack.push_async_callback(rig.close)
        yield rig
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()}, "no task is left")


@contextmanager
def leaping() -> Iterator[Leap]:
    """Where a provider hangs, the clock leaps over SILENCE_S: limits may be long, waits are not.

    Gives what makes it leap at another time, too.
    """
    loop, pause = asyncio.get_running_loop(), Connection.pause
    now, leapt = loop.time, 0.0

    def leap(seconds: float = SILENCE_S) -> None:
        nonlocal leapt
        leapt += seconds

    async def hang(connection: Connection, seconds: float | None) -> bool:
        if seconds is None:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            leap()
        return await pause(connection, seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", lambda: now() + leapt)
        patch.setattr(Connection, "pause", hang)
        yield leap


async def until(true: Callable[[], bool], what: str) -> float:
    """Wait for a condition; how long it took on a machine that looks as often as it should."""
    took, ends_at = 0.0, time.monotonic() + PATIENCE
    while not true():
        began = time.monotonic()
        assert began < ends_at, f"never came true: {what}"
        await asyncio.sleep(0.005)
        took += min(LOOK_S, time.monotonic() - began)
    return took
