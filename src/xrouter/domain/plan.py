"""Where a request may go."""

from __future__ import annotations

from msgspec import Struct

from xrouter.domain.catalog import Endpoint, Model, Version


class Target(Struct, frozen=True):
    """One (endpoint, model, version) that could answer."""

    endpoint: Endpoint
    model: Model
    version: Version


class Plan(Struct, frozen=True):
    """The ordered targets for one request, at least one, and why they stand in this order."""

    targets: tuple[Target, ...]
    reason: str
