"""What the flow needs from outside; `stores` and `edge` make it real, `app` joins them.

A class that implements a port names it as its base, so that "go to implementation" works.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from xrouter.domain.answer import ChatAnswer, ChatDelta, Usage
from xrouter.domain.catalog import Model
from xrouter.domain.chat import ChatRequest
from xrouter.domain.choices import Choices
from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from xrouter.domain.errors import XRouterError
from xrouter.domain.explained import Explained
from xrouter.domain.feedback import Feedback
from xrouter.domain.identity import Principal
from xrouter.domain.images import ImagesAnswer, ImagesRequest
from xrouter.domain.limits import Meter, Window
from xrouter.domain.raw import RawRequest
from xrouter.domain.snapshot import Snapshot
from xrouter.domain.usage import UsageEvent

SERVER_SHUTDOWN = "server_shutdown"
"""The message with which a request's task is cancelled when the server leaves."""


class SnapshotSource(ABC):
    """Holds the current snapshot. Reading never waits."""

    @property
    @abstractmethod
    def current(self) -> Snapshot:
        """The newest snapshot, `snapshot.EMPTY` before the first one."""


class KeyBook(ABC):
    """Knows API keys."""

    @abstractmethod
    def find(self, key: str, snapshot: Snapshot) -> Principal:
        """The owner of the key. Raises Unauthenticated, or NotReady when it cannot be known."""


class Allowance(Struct, frozen=True):
    """The state of a limit after a request: for the x-ratelimit headers.

    limit and remaining: requests, or tokens, in the window; reset_s: seconds until all is free.
    """

    limit: int
    remaining: int
    reset_s: float
    meter: Literal["requests", "tokens"] = "requests"


class Want(Struct, frozen=True):
    """How much of one limit a request may need.

    counter: what is counted, and for whom; the same in each process. limit, amount: in units of
    the meter. An amount of 0 is granted as long as anything is left. model, version: it counts
    only what these answer, None for all.
    """

    counter: str
    meter: Meter
    window: Window
    limit: int
    amount: int
    time_zone: str
    model: str | None = None
    version: str | None = None


class Level(Struct, frozen=True):
    """How a limit stands. reset_s: seconds until all of it is free again, infinite for never."""

    remaining: int
    reset_s: float


class Hold:
    """What was granted for `wants`, until it is settled or released."""

    __slots__ = ("wants",)

    def __init__(self, wants: Sequence[Want]) -> None:
        self.wants = wants


class Verdict(Struct, frozen=True):
    """hold: None when it was refused. levels: of each want, after what was granted.

    refused: the place of the want that stood in the way. wait_s: seconds after which it would not,
    infinite for never. opened: the ways of the choices that are.
    """

    hold: Hold | None
    levels: Sequence[Level]
    refused: int = -1
    wait_s: float = 0.0
    opened: tuple[int, ...] = ()


class Spent(Struct, frozen=True):
    """What was used of a window before this process began. at: a moment within it, unix seconds."""

    counter: str
    window: Window
    time_zone: str
    amount: int
    at: float


class Meters(ABC):
    """Counts what requests use against limits. Never raises."""

    @abstractmethod
    async def take(
        self, wants: Sequence[Want], lease_s: float, choices: Choices | None = None
    ) -> Verdict:
        """Grant all of it or nothing; with choices what is common and what open ways need, if any
        is. Of rates and places only the first way holds any. Free again at the end of the lease.
        """

    @abstractmethod
    def settle(self, hold: Hold, actual: Sequence[int]) -> None:
        """What was really used of each want, also after the lease. Once; never waits."""

    @abstractmethod
    def release(self, hold: Hold) -> None:
        """Nothing was used. Never waits."""

    @abstractmethod
    async def look(self, wants: Sequence[Want]) -> Sequence[Level]:
        """How limits stand; nothing is taken."""

    @abstractmethod
    def seed(self, spent: Iterable[Spent]) -> None:
        """Begin with what was used before: once, at the start. Never waits."""


class Journal(ABC):
    """The local append-only file of usage events."""

    @abstractmethod
    def append(self, event: UsageEvent) -> bytes:
        """Put the event into the file, and return it as JSON; never waits for fsync."""


class Notice(Struct, frozen=True):
    """That a version is deprecated: since when, until when (unix seconds), what to use instead."""

    since: float | None
    until: float | None
    successor: str | None


class Served(Struct, frozen=True):
    """Who answered: for the x-xrouter headers and the `model` field.

    route: that was asked for, None for a model. reason: why this target and no other.
    cached: an answer that was kept from an earlier request.
    """

    model: str
    version: str
    provider: str
    endpoint: str
    attempts: int
    dropped: tuple[str, ...] = ()
    upstream_request_id: str | None = None
    route: str | None = None
    reason: str = ""
    notice: Notice | None = None
    cached: bool = False


class AnswerStore(ABC):
    """Keeps answers for a while. May forget any of them at any time; never raises."""

    @abstractmethod
    async def get(self, key: bytes) -> bytes | None:
        """What was kept under the key, None when it is not there any more."""

    @abstractmethod
    async def put(self, key: bytes, value: bytes, ttl: float) -> None:
        """Keep the value for `ttl` seconds."""


class SharedLanes(ABC):
    """Places of accounts that several processes share. Never raises: where they cannot be shared
    at the moment, each process is left to its own limit.
    """

    @abstractmethod
    async def take(self, key: Hashable, width: int) -> str:
        """Wait in turn, with all processes, for one of `width` places. Returns who. key: names
        the account, the same in each process. Bound it by cancelling: then there is no place.
        """

    @abstractmethod
    def give(self, holder: str, then: Callable[[], None]) -> None:
        """Give a place back in the background; `then` is called when that is over."""


class ChangeSignal(ABC):
    """Tells other processes that the catalog has changed. Only a help: it may be lost."""

    @property
    @abstractmethod
    def live(self) -> bool:
        """Whether changes are heard of at the moment."""

    @abstractmethod
    def tell(self) -> None:
        """We have changed it. Never waits."""

    @abstractmethod
    def listen(self, changed: Callable[[], None]) -> None:
        """From now on call it when others have, or may have: once, at the start."""


class Reply(ABC):
    """The way back to one caller. Made by the door, driven by the flow.

    Exactly one of `refuse`, `answer`, `embeddings`, `images`, `count`; or `start`, `deltas`...,
    then `end` or `fail`; or `open_raw`, `pass_on`..., then `close_raw` or `break_raw`.
    Every method may wait for a slow caller, and is cancelled when the caller leaves.
    """

    @property
    @abstractmethod
    def started(self) -> bool:
        """Whether a status line has already been sent."""

    @abstractmethod
    def allow(self, allowance: Allowance) -> None:
        """Remember the limit's state for the headers."""

    @abstractmethod
    def asked(self, served: Served) -> None:
        """Remember who was asked last, for the headers of an error."""

    @abstractmethod
    async def start(self, served: Served) -> None:
        """Open the stream: status 200 and headers."""

    @abstractmethod
    async def deltas(self, deltas: list[ChatDelta]) -> None:
        """Pass pieces on at once."""

    @abstractmethod
    async def end(self, usage: Usage | None) -> None:
        """Finish the stream properly."""

    @abstractmethod
    async def fail(self, error: XRouterError) -> None:
        """Tell the caller that the open stream broke: an error frame, then the end."""

    @abstractmethod
    async def refuse(self, error: XRouterError) -> None:
        """Answer with the error's status and body; nothing was sent before."""

    @abstractmethod
    async def answer(self, answer: ChatAnswer, served: Served) -> None:
        """Send a whole chat answer."""

    @abstractmethod
    async def embeddings(self, answer: EmbeddingsAnswer, served: Served) -> None:
        """Send vectors."""

    @abstractmethod
    async def images(self, answer: ImagesAnswer, served: Served) -> None:
        """Send pictures."""

    @abstractmethod
    async def count(self, count: TokenCount, served: Served) -> None:
        """Send a number of tokens."""

    @abstractmethod
    async def open_raw(self, served: Served, content_type: str) -> None:
        """Begin to pass on an answer as it comes: status 200 and headers."""

    @abstractmethod
    async def pass_on(self, data: bytes) -> None:
        """Pass on a piece of it."""

    @abstractmethod
    async def close_raw(self) -> None:
        """It has come to its end."""

    @abstractmethod
    async def break_raw(self) -> None:
        """It broke off: the connection to the caller is cut, so that no one takes it for whole."""


class CallInfo(Struct, frozen=True):
    """One request at the door. received_at: monotonic seconds. headers: by lower-case name."""

    request_id: str
    received_at: float
    operation: str
    client: str | None = None
    headers: Mapping[bytes, bytes] = {}


class Deferred(Struct, frozen=True):
    """A request that a provider will answer later. reference: the provider's name for it. dropped:
    parameters without effect. The others: what `Flow.collect` needs, also in another process.
    """

    reference: str
    model: str
    version: str
    provider: str
    endpoint: str
    principal: Principal
    started_at: float
    dropped: tuple[str, ...] = ()


class Explainer(ABC):
    """Tells where a request would go. Implemented by the flow, asked by the control plane."""

    @abstractmethod
    def explain(
        self, name: str, body: bytes, key_id: str | None, headers: Mapping[str, str]
    ) -> Explained:
        """The plan for a model or route. Never raises XRouterError: it is told.

        body: the JSON of a chat request, b"" when only the name is known. key_id: of whom, None
        for nobody in particular. headers: of the request.
        """


class Flow(ABC):
    """What happens to a request behind the door. Implemented by the pipeline.

    credential: the key as the caller sent it, None when there was none.
    """

    @abstractmethod
    async def chat(
        self, request: ChatRequest, credential: str | None, call: CallInfo, reply: Reply
    ) -> None:
        """Answer a chat request through `reply`; errors of ours are told there too."""

    @abstractmethod
    async def embeddings(
        self, request: EmbeddingsRequest, credential: str | None, call: CallInfo, reply: Reply
    ) -> None:
        """Answer an embeddings request through `reply`."""

    @abstractmethod
    async def images(
        self, request: ImagesRequest, credential: str | None, call: CallInfo, reply: Reply
    ) -> None:
        """Answer a request for pictures through `reply`."""

    @abstractmethod
    async def count(
        self, request: CountRequest, credential: str | None, call: CallInfo, reply: Reply
    ) -> None:
        """Answer a request to count tokens through `reply`. Costs nothing."""

    @abstractmethod
    async def raw(
        self, request: RawRequest, credential: str | None, call: CallInfo, reply: Reply
    ) -> None:
        """Pass a request on, and its answer back through `reply`."""

    @abstractmethod
    async def defer(
        self, request: ChatRequest, credential: str | None, call: CallInfo
    ) -> Deferred | None:
        """Leave it with a provider, cheaper; None where none answers later. Raises XRouterError."""

    @abstractmethod
    async def collect(self, deferred: Deferred, call: CallInfo, reply: Reply) -> None:
        """Wait for a deferred answer, settle it and tell it through `reply`."""

    @abstractmethod
    def rate(self, feedback: Feedback, credential: str | None) -> None:
        """Take in what a caller thinks of an answer. Raises Unauthenticated, ModelNotFound."""

    @abstractmethod
    def models(self, credential: str | None) -> list[Model]:
        """The models that answer now. Raises Unauthenticated or NotReady."""

    @abstractmethod
    def model(self, credential: str | None, model_id: str) -> Model:
        """One model, also a switched-off one. Raises ModelNotFound."""
