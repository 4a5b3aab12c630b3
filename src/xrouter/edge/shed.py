"""Load shedding: what is too much is refused at the door, early and cheaply.

Three things are looked at: the requests being answered, those whose answers are made in the
background among them, the bytes of their bodies, and how late the event loop is. A caller says
with `x-xrouter-priority` how much its request matters; the less, the earlier it is refused. What
was let in once is never cut for another's sake.
"""

from __future__ import annotations

import asyncio
from random import uniform

from msgspec import Struct, structs
from typing_extensions import override

from xrouter.domain.errors import InvalidRequest, OperatorError
from xrouter.edge.asgi import Headers
from xrouter.edge.health import Health, Readiness
from xrouter.edge.limits import DoorLimits
from xrouter.telemetry.logs import log

PRIORITY = b"x-xrouter-priority"
REASONS = ("running", "bytes", "lag")

_PROBE_S = 0.1
_SMOOTHING = 0.3
_CALM_PROBES = 50
_HARDLY_ANY = 100
"""One for so many of `max_running`."""

_PERCENT = 100
_RETRY_S = (1.0, 3.0)
_SHOWN = 40


class Overloaded(OperatorError):
    """503: more has come than this process can answer now."""

    status = 503
    type = "service_unavailable_error"
    default_code = "overloaded"
    fallback = False


class Bounds(Struct, frozen=True):
    """From where on a request of one priority is refused. size: in bytes; lag: in seconds."""

    running: int
    size: int
    lag: float


def _bounds(limits: DoorLimits, percent: int, lag_percent: int) -> Bounds:
    return Bounds(
        max(1, limits.max_running * percent // _PERCENT),
        limits.max_body_bytes_in_flight * percent // _PERCENT,
        limits.max_lag * lag_percent / _PERCENT,
    )


class Shed:
    """The state of the process, and what is let in.

    running: requests let in that are not answered yet. held: bytes of their bodies. lag: how late
    the event loop is, smoothed, in seconds; it alone refuses nobody while hardly any requests run,
    for then it is not their fault. refused: how many requests, by reason. decoding: held by the one
    request whose huge body is being decoded.
    """

    def __init__(self, limits: DoorLimits) -> None:
        self.running = 0
        self.held = 0
        self.lag = 0.0
        self.refused = dict.fromkeys(REASONS, 0)
        self._low = _bounds(limits, 70, 50)
        self._usual = _bounds(limits, 100, 100)
        self._by_name = {
            b"low": self._low,
            b"normal": self._usual,
            b"high": _bounds(limits, 110, 200),
        }
        self._busy = -(-limits.max_running // _HARDLY_ANY)
        self.decoding = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._told = 0
        self._calm = _CALM_PROBES

    def enter(self, headers: Headers) -> Place:
        """Let a request in, or raise Overloaded. Raises InvalidRequest for an unknown priority."""
        bounds = self._usual
        if PRIORITY in headers:
            bounds = self._named(headers[PRIORITY])
        running = self.running
        if running >= bounds.running:
            raise self.refuse("running")
        if self.lag > bounds.lag and running >= self._busy:
            raise self.refuse("lag")
        self.running = running + 1
        return Place(self, bounds)

    def _named(self, priority: bytes) -> Bounds:
        bounds = self._by_name.get(priority)
        if bounds is None:
            raise _unknown(priority)
        return bounds

    def occupy(self, size: int) -> Place:
        """Take up a place for work that was let in before. size: bytes of its body."""
        self.running += 1
        self.held += size
        return Place(self, self._usual, size)

    def refuse(self, reason: str) -> Overloaded:
        """Count a refusal; what the caller is told."""
        self.refused[reason] += 1
        return Overloaded(
            "The server has more requests than it can answer at the moment. Try again soon.",
            retry_after=uniform(*_RETRY_S),  # noqa: S311 - spreads the load, no secret
        )

    def degraded(self) -> tuple[str, ...]:
        """Why some requests are refused now."""
        low = self._low
        signs = (
            self.running >= low.running,
            self.held >= low.size,
            self.lag > low.lag and self.running >= self._busy,
        )
        return tuple(reason for reason, is_so in zip(REASONS, signs, strict=True) if is_so)

    def start(self) -> None:
        """Begin to measure, on the running event loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._probe())

    async def stop(self) -> None:
        """End the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def note(self, lag: float) -> None:
        """A new measurement, in seconds; tells the log when refusing begins and when it is over."""
        self.lag += _SMOOTHING * (lag - self.lag)
        total = sum(self.refused.values())
        if total > self._told:
            if self._calm >= _CALM_PROBES:
                log.error("shedding_began", **self.refused, lag_s=round(self.lag, 3))
            self._told, self._calm = total, 0
        elif self._calm < _CALM_PROBES:
            self._calm += 1
            if self._calm == _CALM_PROBES:
                log.info("shedding_ended", **self.refused)

    async def _probe(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            due = now() + _PROBE_S
            await asyncio.sleep(_PROBE_S)
            self.note(max(0.0, now() - due))


class Place:
    """What one request takes up, until it leaves."""

    __slots__ = ("_bounds", "_shed", "_size")

    def __init__(self, shed: Shed, bounds: Bounds, size: int = 0) -> None:
        self._shed = shed
        self._bounds = bounds
        self._size = size

    def hold(self, size: int) -> None:
        """The body is, or will be, at least so large. Raises Overloaded.

        When no other bodies are held, any is let in.
        """
        before, shed = self._size, self._shed
        if size <= before:
            return
        held = shed.held + size - before
        if held > self._bounds.size and shed.held > before:
            raise shed.refuse("bytes")
        shed.held = held
        self._size = size

    def leave(self) -> None:
        """The request is over."""
        shed = self._shed
        shed.running -= 1
        shed.held -= self._size
        self._size = 0


class _Degraded(Readiness, omit_defaults=True):
    degraded: tuple[str, ...] = ()


class ShedHealth(Health):
    """The process's health, and why some requests are refused. It stays ready meanwhile."""

    def __init__(self, health: Health, shed: Shed) -> None:
        self._health = health
        self._shed = shed

    @override
    def readiness(self) -> Readiness:
        state = self._health.readiness()
        return _Degraded(**structs.asdict(state), degraded=self._shed.degraded())


def _unknown(name: bytes) -> InvalidRequest:
    header = PRIORITY.decode()
    return InvalidRequest(
        f"Invalid value '{name[:_SHOWN].decode('latin-1')}' of the header '{header}'. "
        "Supported values are: 'low', 'normal', 'high'.",
        code="invalid_value",
        param=header,
    )
