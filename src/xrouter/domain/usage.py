"""One append-only record for each request, answered or failed."""

from __future__ import annotations

from functools import lru_cache
from itertools import count
from random import getrandbits
from time import time_ns

from msgspec import Struct

from xrouter.domain.money import Charge

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [one + two for one in _ALPHABET for two in _ALPHABET]
_PAIR = 1023


_LAST_BITS = 20
_LAST = (1 << _LAST_BITS) - 1


@lru_cache(maxsize=2)
def _second(n: int) -> str:
    """The beginning that the ids of 1024 milliseconds share."""
    return "".join([_PAIRS[n >> at & _PAIR] for at in (30, 20, 10, 0)])


class _Moment:
    """The ids of one millisecond: 60 random bits that they share, and 20 that are counted on."""

    __slots__ = ("head", "ms", "numbers")

    def __init__(self, ms: int) -> None:
        n, pairs = getrandbits(60), _PAIRS
        self.ms = ms
        self.head = (
            f"{_second(ms >> 10)}{pairs[ms & _PAIR]}{pairs[n >> 50]}{pairs[n >> 40 & _PAIR]}"
            f"{pairs[n >> 30 & _PAIR]}{pairs[n >> 20 & _PAIR]}{pairs[n >> 10 & _PAIR]}"
            f"{pairs[n & _PAIR]}"
        )
        self.numbers = count(getrandbits(_LAST_BITS - 1))


_moment = _Moment(0)


def new_id(prefix: str = "") -> str:
    """A ULID: 26 characters, sortable by time, within a process in the order of their making.

    80 random bits; the last 20 are counted on within a millisecond. Not a secret.
    """
    global _moment  # noqa: PLW0603 - whoever comes first in a millisecond makes it
    ms = time_ns() // 1_000_000
    moment = _moment
    if moment.ms != ms:
        _moment = moment = _Moment(ms)
    number = next(moment.numbers)
    if number > _LAST:
        _moment = moment = _Moment(ms)
        number = next(moment.numbers)
    return f"{prefix}{moment.head}{_PAIRS[number >> 10]}{_PAIRS[number & _PAIR]}"


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
