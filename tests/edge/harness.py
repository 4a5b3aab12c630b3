"""A door behind a real server, with a flow that does what the test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from typing_extensions import override

from xrouter.app.accept import entrance
from xrouter.domain.answer import AnswerMessage, ChatAnswer, ChatDelta, Choice, Usage
from xrouter.domain.catalog import Model, Version
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from xrouter.domain.errors import ModelNotFound, Unauthenticated
from xrouter.domain.feedback import Feedback
from xrouter.domain.history import ResponseStore, StoredJob, StoredResponse
from xrouter.domain.identity import Principal
from xrouter.domain.images import ImagesAnswer, ImagesRequest, Picture
from xrouter.domain.ports import CallInfo, Deferred, Flow, KeyBook, Reply, Served, SnapshotSource
from xrouter.domain.raw import RawRequest
from xrouter.domain.snapshot import Snapshot
from xrouter.edge.guard import GuardProtocol
from xrouter.edge.health import Health
from xrouter.edge.limits import DoorLimits, GuardLimits
from xrouter.edge.run import DoorServer, RunOptions
from xrouter.edge.server import Door

PATIENCE = 60.0
"""Bounds a wait for something that must come; never the thing that is tested."""

KEY = "sk-test"
SERVED = Served("acme/one", "2026-01", "acme", "primary", 1)
MODELS = {
    "acme/one": Model(
        model_id="acme/one",
        provider="acme",
        adapter_class="x",
        display_name="One",
        context_length=8000,
        created=1700000000,
        versions=(Version(label="2026-01", upstream="one-1", channel="latest"),),
    ),
    "acme/deep/two:free": Model(
        model_id="acme/deep/two:free",
        provider="acme",
        adapter_class="x",
        display_name="Two",
        versions=(Version(label="1", upstream="two"),),
    ),
}

ChatScript = Callable[[ChatRequest, Reply], Awaitable[None]]


def text_answer(text: str = "Hello") -> ChatAnswer:
    return ChatAnswer([Choice(AnswerMessage(content=text), "stop")], Usage(3, 2))


async def say_hello(request: ChatRequest, reply: Reply) -> None:
    """The ordinary answer, streamed or not."""
    if not request.streaming:
        await reply.answer(text_answer(), SERVED)
        return
    await reply.start(SERVED)
    await reply.deltas([ChatDelta(text="Hel")])
    await reply.deltas([ChatDelta(text="lo"), ChatDelta(finish_reason="stop")])
    await reply.end(Usage(3, 2))


class ScriptedFlow(Flow):
    """Runs `script`; keeps what it was asked and how often it was cancelled."""

    def __init__(self) -> None:
        self.script: ChatScript = say_hello
        self.requests: list[ChatRequest] = []
        self.embedded: list[EmbeddingsRequest] = []
        self.left: Deferred | None = None
        self.collected: list[Deferred] = []
        self.may_collect = asyncio.Event()
        self.drawn: list[ImagesRequest] = []
        self.pictures = ImagesAnswer([Picture(b64_json="aGk=")], Usage(5, 0))
        self.counted: list[CountRequest] = []
        self.tokens = TokenCount((7,))
        self.rated: list[Feedback] = []
        self.passed_on: list[RawRequest] = []
        self.raw_type = "audio/mpeg"
        self.raw_pieces = [b"ID3", b"sound"]
        self.raw_breaks = False
        self.calls: list[CallInfo] = []
        self.credentials: list[str | None] = []
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.reasons: list[str] = []
        self.vectors: list[list[float]] = [[0.5, -1.0]]

    @override
    async def chat(
        self, request: ChatRequest, credential: str | None, call: CallInfo, reply: Reply
    ) -> None:
        self.requests.append(request)
        self.calls.append(call)
        self.credentials.append(credential)
        self.entered.set()
        try:
            await self.script(request, reply)
        except asyncio.CancelledError as error:
            self.reasons.append(str(error))
            self.cancelled.set()
            raise

    @override
    async def embeddings(
        self, request: EmbeddingsRequest, credential: str | None, call: CallInfo, reply: Reply
    ) -> None:
        self.embedded.append(request)
        self.calls.append(call)
        await reply.embeddings(EmbeddingsAnswer(self.vectors, Usage(4, 0)), SERVED)

    @override
    async def images(
        self, request: ImagesRequest, credential: str | None, call: CallInfo, reply: Reply
    ) -> None:
        self.drawn.append(request)
        self.calls.append(call)
        await reply.images(self.pictures, SERVED)

    @override
    async def defer(
        self, request: ChatRequest, credential: str | None, call: CallInfo
    ) -> Deferred | None:
        self._check(credential)
        return self.left

    @override
    async def collect(self, deferred: Deferred, call: CallInfo, reply: Reply) -> None:
        self.collected.append(deferred)
        await self.may_collect.wait()
        await reply.answer(text_answer("Later"), SERVED)

    @override
    async def count(
        self, request: CountRequest, credential: str | None, call: CallInfo, reply: Reply
    ) -> None:
        self.counted.append(request)
        self.calls.append(call)
        await reply.count(self.tokens, SERVED)

    @override
    async def raw(
        self, request: RawRequest, credential: str | None, call: CallInfo, reply: Reply
    ) -> None:
        self.passed_on.append(request)
        self.calls.append(call)
        await reply.open_raw(SERVED, self.raw_type)
        for piece in self.raw_pieces:
            await reply.pass_on(piece)
        await (reply.break_raw() if self.raw_breaks else reply.close_raw())

    @override
    def rate(self, feedback: Feedback, credential: str | None) -> None:
        self._check(credential)
        self.rated.append(feedback)

    @override
    def models(self, credential: str | None) -> list[Model]:
        self._check(credential)
        return list(MODELS.values())

    @override
    def model(self, credential: str | None, model_id: str) -> Model:
        self._check(credential)
        if model_id not in MODELS:
            raise ModelNotFound(f"The model `{model_id}` does not exist.", param="model")
        return MODELS[model_id]

    @staticmethod
    def _check(credential: str | None) -> None:
        if credential != KEY:
            raise Unauthenticated("Incorrect API key provided.")


class OneSnapshot(SnapshotSource):
    def __init__(self, revision: int = 7) -> None:
        self.snapshot = Snapshot(
            revision=revision, built_at=1.7e9, models=MODELS, endpoints={}, keys={}
        )

    @property
    @override
    def current(self) -> Snapshot:
        return self.snapshot


class OneKey(KeyBook):
    @override
    def find(self, key: str, snapshot: Snapshot) -> Principal:
        if key != KEY:
            raise Unauthenticated("Incorrect API key provided.")
        return Principal(key_id="k", name="test")


class KeptResponses(ResponseStore):
    """Keeps them in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, StoredResponse] = {}
        self.jobs: dict[str, StoredJob] = {}
        self.left: list[StoredJob] = []

    @override
    def keep(self, response: StoredResponse) -> None:
        self.kept[response.id] = response

    @override
    async def find(self, response_id: str, project: str) -> StoredResponse | None:
        found = self.kept.get(response_id)
        return found if found is not None and found.project == project else None

    @override
    async def remove(self, response_id: str, project: str) -> bool:
        found = await self.find(response_id, project)
        return found is not None and self.kept.pop(response_id) is found

    @override
    async def begin(self, job: StoredJob) -> None:
        self.jobs[job.id] = job

    @override
    async def finish(self, job_id: str) -> None:
        self.jobs.pop(job_id, None)

    @override
    async def abandoned(self) -> list[StoredJob]:
        left, self.left = self.left, []
        return left


def make_door(flow: Flow, *, limits: DoorLimits | None = None, **more: Any) -> Door:
    """A door that refuses nobody because the machine of the tests is slow, unless limits say so."""
    snapshots = OneSnapshot()
    return Door(
        flow,
        snapshots,
        OneKey(),
        lambda: b"xrouter_up 1\n",
        Health(snapshots),
        responses=more.pop("responses", None) or KeptResponses(),
        limits=limits or DoorLimits(max_lag=60.0),
        **more,
    )


class House:
    """A running server and what stands behind it."""

    def __init__(self, flow: ScriptedFlow, door: Door, server: DoorServer) -> None:
        self.flow = flow
        self.door = door
        self.server = server
        self.running: asyncio.Task[None] | None = None
        self.address = ("", 0)
        self._wires: list[Wire] = []

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)

    async def connect(self, **options: Any) -> Wire:
        reader, writer = await asyncio.open_connection(*self.address, **options)
        self._wires.append(Wire(reader, writer))
        return self._wires[-1]

    @property
    def connections(self) -> list[GuardProtocol]:
        found = self.server.server_state.connections
        return [connection for connection in found if isinstance(connection, GuardProtocol)]

    def close(self) -> None:
        for wire in self._wires:
            wire.reset()

    async def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        wire = await self.connect()
        try:
            await wire.send(request(method, path, body, headers))
            return await wire.answer(method)
        finally:
            wire.close()

    async def chat(self, body: Any, path: str = "/v1/chat/completions") -> Answer:
        return await self.call("POST", path, body)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.01)


class Answer:
    """A response, read to its end. whole: the body was not cut."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes, *, whole: bool) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.whole = whole

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The envelope, checked."""
        assert self.headers["content-type"] == "application/json"
        error: dict[str, Any] = self.json["error"]
        assert {"message", "type", "param", "code"} <= error.keys()
        assert isinstance(error["message"], str)
        assert error["message"]
        return error

    @property
    def frames(self) -> list[str]:
        """The SSE frames, comments too."""
        text = self.body.decode()
        assert text.endswith("\n\n")
        return text[:-2].split("\n\n")

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The JSON of the data frames; the last one must be [DONE]."""
        data = [frame.removeprefix("data: ") for frame in self.frames if frame[0] != ":"]
        assert data[-1] == "[DONE]"
        return [json.loads(piece) for piece in data[:-1]]


class Wire:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(PATIENCE):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        pairs = [line.split(": ", 1) for line in lines]
        return int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}

    async def answer(self, method: str = "GET") -> Answer:
        status, headers = await self.head()
        if method == "HEAD" or status in {100, 204, 304}:
            return Answer(status, headers, b"", whole=True)
        async with asyncio.timeout(PATIENCE):
            if "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
                return Answer(status, headers, body, whole=True)
            body, whole = b"", True
            while whole and (piece := await self.piece()):
                body += piece
                whole = piece != b""
            return Answer(status, headers, body, whole=whole)

    async def piece(self) -> bytes:
        """The next chunk of a chunked body; b"" for the last one."""
        async with asyncio.timeout(PATIENCE):
            size = int(await self.reader.readline(), 16)
            piece = await self.reader.readexactly(size)
            await self.reader.readexactly(2)
            return piece

    async def rest(self) -> bytes:
        """Everything until the peer closes; a reset counts as closed."""
        data = b""
        async with asyncio.timeout(PATIENCE):
            try:
                while piece := await self.reader.read(65536):
                    data += piece
            except ConnectionResetError:
                pass
        return data

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


def request(
    method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> bytes:
    """A well-formed request. body: bytes, or what is to be JSON."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"host": "test", "authorization": f"Bearer {KEY}", **(headers or {})}
    if body is not None:
        fields.setdefault("content-length", str(len(data)))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + data


def chat_body(**more: Any) -> dict[str, Any]:
    return {"model": "acme/one", "messages": [{"role": "user", "content": "Hi"}], **more}


@asynccontextmanager
async def open_house(
    *,
    limits: DoorLimits | None = None,
    guard: GuardLimits | None = None,
    grace: float = 1.0,
    drain_delay: float = 0.0,
    keep_alive: int = 75,
    flow: ScriptedFlow | None = None,
    **more: Any,
) -> AsyncIterator[House]:
    flow = flow or ScriptedFlow()
    door = make_door(flow, limits=limits, **more)
    options = RunOptions(
        port=0,
        grace=grace,
        drain_delay=drain_delay,
        keep_alive=keep_alive,
        guard=guard or GuardLimits(),
    )
    server = DoorServer(door, options, entrance)
    house = House(flow, door, server)
    house.running = asyncio.create_task(server._serve())
    try:
        await house.until(lambda: server.started)
        house.address = server.address
        yield house
    finally:
        server.stop()
        server.stop()
        async with asyncio.timeout(PATIENCE):
            await house.running
        house.close()
        assert door.running == 0
