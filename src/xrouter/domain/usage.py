"""One append-only record for each request, answered or failed."""

from __future__ import annotations

from itertools import count
from random import getrandbits
from time import time_ns

from msgspec import Struct

from xrouter.domain.money import Charge

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [one + two for one in _ALPHABET for two in _ALPHABET]
_PAIR = 1023
_SHARED_BITS, _LAST_BITS = 60, 20
_LAST = (1 << _LAST_BITS) - 1


class _Second:
    """The ids of 1024 milliseconds: 60 bits that they share, and 20 that are counted on."""

    __slots__ = ("at", "head", "numbers", "shared", "tail")

    def __init__(self, at: int, shared: int) -> None:
        self.at, self.shared = at, shared
        self.head = "".join([_PAIRS[at >> bits & _PAIR] for bits in (30, 20, 10, 0)])
        self.tail = "".join([_PAIRS[shared >> bits & _PAIR] for bits in (50, 40, 30, 20, 10, 0)])
        self.numbers = count(getrandbits(_LAST_BITS - 1))


_second = _Second(0, 0)


def new_id(prefix: str = "") -> str:
    """A ULID: 26 characters, sortable by time, within a process in the order of their making.

    Its 80 random bits are those of its second, the last 20 counted on. Not a secret.
    """
    global _second  # noqa: PLW0603 - whoever comes first in a second makes it
    ms, second = time_ns() // 1_000_000, _second
    if second.at != ms >> 10:
        _second = second = _Second(ms >> 10, getrandbits(_SHARED_BITS - 1))
    number = next(second.numbers)
    if number > _LAST:
        _second = second = _Second(ms >> 10, second.shared + 1)
        number = next(second.numbers)
    pairs = _PAIRS
    return (
        f"{prefix}{second.head}{pairs[ms & _PAIR]}{second.tail}"
        f"{pairs[number >> 10]}{pairs[number & _PAIR]}"
    )


class Tried(Struct, frozen=True, omit_defaults=True):
    """One attempt at one target. code: of the error, None for the one that answered.

    ms: milliseconds from sending to the first token, or to the failure.
    """

    provider: str
    endpoint: str
    model: str
    version: str
    code: str | None = None
    ms: float = 0.0


class UsageEvent(Struct, kw_only=True, omit_defaults=True):
    """What one request was and what it used.

    event_id: unique; the database ignores a second one. Times are unix seconds (`at`) and
    milliseconds (`*_ms`). status: HTTP status as the caller saw it, 499 when the caller left.
    attempts: upstream calls made. outcome: "ok", "error" or "cancelled". route: that was asked
    for, None for a model; reason: why this target (`domain.plan.Plan`). cached: answered from the
    cache. build: of the model, as the provider named it. charge: None where nobody may charge.
    end_user: as the caller named theirs. tried: attempts that failed, and the last.
    """

    event_id: str
    request_id: str
    at: float
    operation: str
    key_id: str | None = None
    project: str | None = None
    model_requested: str | None = None
    model_served: str | None = None
    version: str | None = None
    upstream_model: str | None = None
    provider: str | None = None
    endpoint: str | None = None
    attempts: int = 0
    streamed: bool = False
    status: int = 0
    outcome: str = "ok"
    error_code: str | None = None
    finish_reason: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    tokens_reasoning: int = 0
    tokens_estimated: bool = False
    queue_ms: float = 0.0
    first_token_ms: float | None = None
    total_ms: float = 0.0
    upstream_request_id: str | None = None
    route: str | None = None
    reason: str | None = None
    cached: bool = False
    build: str | None = None
    charge: Charge | None = None
    end_user: str | None = None
    tried: tuple[Tried, ...] = ()
