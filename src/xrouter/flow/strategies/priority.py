"""The endpoint with the smallest priority first; the others stand by in order."""

from __future__ import annotations

from xrouter.domain.plan import Target

REASON = "priority"


def order(targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """The targets by priority; equal ones keep their order."""
    if len(targets) == 1:
        return targets
    return tuple(sorted(targets, key=lambda target: target.endpoint.priority))
