"""What a simulated provider is made of.

A simulator gets a request and gives a response as plain data; the server turns it into bytes and
applies the faults that were asked for, so that no simulator knows about faults.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from msgspec import Struct


class SandboxRequest(Struct):
    """An HTTP request. `path` is without the simulator's prefix; header names are lower-case.

    origin: scheme, host and port as the client sees us.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    origin: str

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return msgspec.json.decode(self.body)


class SandboxResponse(Struct):
    """A response: `body`, or `frames` for a streamed one, each sent as its own chunk.

    stream_pause: seconds between frames. delay: seconds before the headers.
    on_close: called by the server exactly once when the response is over or the client has left,
    with the number of frames that were sent (1 for a plain body that was sent, 0 if it was not):
    this is when slots are given back and streams are charged.
    """

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b""
    frames: list[bytes] | None = None
    stream_pause: float = 0.0
    delay: float = 0.0
    on_close: Callable[[int], None] | None = None


class Charge(Struct):
    """A line of the sandbox's own bill, written for each successful call.

    tokens_in includes cached; tokens_out includes reasoning. key: who was charged.
    """

    provider: str
    model: str
    operation: str
    tokens_in: int
    tokens_out: int
    streamed: bool = False
    key: str = ""


class Simulator(ABC):
    """One provider. `name` is its prefix in the sandbox's URL: http://host:port/<name>/...

    stream_type: content type of its streams, for faults that start one. call_headers: headers of
    its answers that name the call, the best first.
    """

    name: ClassVar[str]
    call_headers: ClassVar[tuple[str, ...]] = ("x-request-id",)
    stream_type: ClassVar[str] = "text/event-stream"

    environment: ClassVar[dict[str, str]] = {}
    """The environment variables that point a client at it; "{origin}" is the sandbox's address."""

    def __init__(self, bill: list[Charge]) -> None:
        self.bill = bill

    @abstractmethod
    async def handle(self, request: SandboxRequest) -> SandboxResponse:
        """Answer as the real service does, errors included."""

    @abstractmethod
    def failure(self, status: int, message: str | None = None) -> SandboxResponse:
        """The provider's own error answer of this status (401, 429, 500 ...), for faults."""

    @abstractmethod
    def error_frame(self) -> bytes:
        """The provider's own error in the middle of a stream, for faults."""


def json_response(
    value: Any, status: int = 200, headers: dict[str, str] | None = None
) -> SandboxResponse:
    """A JSON answer."""
    merged = {"content-type": "application/json"} | (headers or {})
    return SandboxResponse(status=status, headers=merged, body=msgspec.json.encode(value))


def count_tokens(text: str) -> int:
    """The sandbox's own tokenizer: a word or a mark is a token, long words are cut in fours."""
    total = 0
    for word in text.split():
        total += max(1, (len(word) + 3) // 4)
    return total
