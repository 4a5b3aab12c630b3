"""Shapes of `POST /explain`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from xrouter.control.kit.schemas import In, Out

Name = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class ExplainIn(In):
    """What to explain. request: the rest of a chat request, as a client would send it.

    key_id: with the rights of which key, None for a key without access groups. headers: those of
    the request that matter for routing (`x-xrouter-countries`, ...).
    """

    model: Name
    request: dict[str, Any] | None = None
    key_id: str | None = None
    headers: dict[str, str] = Field(default={}, max_length=100)


class TargetOut(Out):
    """The fields of `domain.explained.ExplainedTarget`; price: rubles as text, null if unknown."""

    place: int | None
    why: str | None
    model: str
    version: str
    upstream: str
    provider: str
    endpoint: str
    country: str | None
    tier: int
    weight: int
    state: str
    breaker: str
    running: int
    latency_ms: float | None
    price: str | None


class ExplainOut(Out):
    """The fields of `domain.explained.Explained`."""

    asked: str
    revision: int
    route: str | None
    strategy: str | None
    reason: str | None
    max_attempts: int | None
    cached_s: float | None
    targets: list[TargetOut]
    overflow: list[str]
    refusal: list[str]
    error: dict[str, str | None] | None
