"""One append-only record for each request, answered or failed."""

from __future__ import annotations

import os
import time

from msgspec import Struct

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id(prefix: str = "") -> str:
    """A ULID: 26 characters, sortable by time (milliseconds), 80 random bits."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    return prefix + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


class UsageEvent(Struct, kw_only=True, omit_defaults=True):
    """What one request was and what it used.

    event_id: unique; the database ignores a second one. Times are unix seconds (`at`) and
    milliseconds (`*_ms`). status: HTTP status as the caller saw it, 499 when the caller left.
    attempts: upstream calls made. outcome: "ok", "error" or "cancelled".
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
