"""What a release does to the versions of a model. Pure: rows in memory, no database.

A version that a release has touched is the operator's from then on: a sync leaves it alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from xrouter.control.db.tables.catalog import ModelRow, VersionRow

LATEST = "latest"
DEPRECATED = "deprecated"
ACTIVE = "active"
RETIRED = "retired"
OPERATOR = "operator"

Places = dict[str, dict[str, Any]]
"""By label: channel, status, retires_at (ISO 8601), successor, position."""


def version_of(model: ModelRow, label: str) -> VersionRow | None:
    """The version of this label."""
    return next((v for v in model.versions if v.label == label), None)


def holder(model: ModelRow, channel: str) -> VersionRow | None:
    """The version that a channel leads to."""
    return next((v for v in model.versions if v.channel == channel), None)


def places(model: ModelRow) -> Places:
    """Where the versions stand, so that they can be put back there."""
    return {
        v.label: {
            "channel": v.channel,
            "status": v.status,
            "retires_at": None if v.retires_at is None else v.retires_at.isoformat(),
            "successor": v.successor,
            "position": v.position,
        }
        for v in model.versions
    }


def promote(model: ModelRow, new: VersionRow, channel: str, retire_at: datetime | None) -> None:
    """Let the channel lead to the version, in the place of the one that it leads to now."""
    old = holder(model, channel)
    ordered = [v for v in model.versions if v is not new]
    if old is not None:
        ordered.insert(ordered.index(old), new)
    elif channel == LATEST:
        ordered.insert(0, new)
    else:
        ordered = list(model.versions)
    if old is not None and channel == LATEST:
        _deprecate(model, old, retire_at)
    elif old is not None:
        old.channel, old.origin = None, OPERATOR
    new.channel, new.status, new.origin = channel, ACTIVE, OPERATOR
    new.retires_at = new.successor = None
    for position, version in enumerate(ordered):
        version.position = position


def _deprecate(model: ModelRow, old: VersionRow, retire_at: datetime | None) -> None:
    for version in model.versions:
        if version.channel == DEPRECATED:
            version.channel, version.origin = None, OPERATOR
    old.channel, old.status, old.origin = DEPRECATED, DEPRECATED, OPERATOR
    old.retires_at = retire_at or old.retires_at
    old.successor = f"{model.model_id}:{LATEST}"


def swap_back(model: ModelRow, new: VersionRow, old: VersionRow | None, was: Places) -> None:
    """Undo a promotion: `new` gives its channel back to `old`. was: what it moved, if known.

    A channel that another version was given since stays with that one.
    """
    channel, new.channel, new.origin = new.channel, None, OPERATOR
    if old is not None:
        old.channel, old.status, old.origin = channel, ACTIVE, OPERATOR
        old.retires_at = old.successor = None
    for label, place in was.items():
        version = version_of(model, label)
        if version is not None:
            _put(model, version, place)


def _put(model: ModelRow, version: VersionRow, place: dict[str, Any]) -> None:
    channel, until = place["channel"], place["retires_at"]
    taken = holder(model, channel) if channel is not None else None
    if taken is None or taken is version:
        version.channel = channel
    version.status = place["status"]
    version.retires_at = None if until is None else datetime.fromisoformat(until)
    version.successor = place["successor"]
    version.position = place["position"]


def may_retire(model: ModelRow, version: VersionRow) -> bool:
    """Whether another active version is left."""
    return any(v is not version and v.status == ACTIVE for v in model.versions)


def retire(version: VersionRow) -> None:
    """Serve it no more."""
    version.status, version.channel, version.origin = RETIRED, None, OPERATOR
