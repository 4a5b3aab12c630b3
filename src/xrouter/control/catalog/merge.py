"""What a sync makes of a model's row. Pure: no database, no network.

The operator's word stands: of a row that exists, name, switch, context length and everything else
an operator can edit are left alone, and so are versions the operator wrote. Only the versions that
came from a list follow the list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from xrouter.control.db.tables.catalog import ModelRow, VersionRow
from xrouter.domain.abilities import Abilities
from xrouter.domain.catalog import ModelDescription, Version

OPERATOR = "operator"
SHIPPED = "shipped"
LIVE = "live"
"""Also the field of `listed` with what only the live list says."""
RETIRED = "retired"
_NAME = re.compile(r"[!-~]{1,200}")
_MAX_INT = 2**31 - 1
_FEATURES = "features"


class Listed(Struct, frozen=True):
    """A model of a list, and which list that is. live: what the live list says of one of ours."""

    about: ModelDescription
    origin: str
    live: ModelDescription | None = None


def union(
    shipped: Iterable[ModelDescription], live: Iterable[ModelDescription]
) -> dict[str, Listed]:
    """Both lists by name. Where both have a model, ours says more and the live one fills gaps."""
    found = {about.name: Listed(about, LIVE) for about in live if _NAME.fullmatch(about.name)}
    for about in shipped:
        known = found.get(about.name)
        found[about.name] = Listed(about, SHIPPED, None if known is None else known.about)
    return found


def fresh(provider: str, adapter_class: str, listed: Listed) -> ModelRow:
    """The row of a model that has none."""
    about, live = listed.about, listed.live
    context = about.context_length or (None if live is None else live.context_length)
    return ModelRow(
        model_id=f"{provider}/{about.name}",
        provider=provider,
        adapter_class=adapter_class,
        display_name=about.display_name or about.name,
        kind=about.kind,
        context_length=_small(context),
        listed=_said(listed, {}),
        origin=listed.origin,
        versions=[
            _version(version, version.channel, position, listed.origin)
            for position, version in enumerate(_distinct(about))
        ],
    )


def refresh(row: ModelRow, listed: Listed) -> bool:
    """Let the row's listed versions follow the list; whether anything changed."""
    changed = row.vanished_at is not None
    row.vanished_at = None
    said = _said(listed, _heard(row))
    if row.listed != said:
        row.listed = said
        changed = True
    if row.origin == SHIPPED and listed.origin == LIVE:  # ours has let go of it
        row.origin = LIVE
        changed = True
    mine = [version for version in row.versions if version.origin == OPERATOR]
    first = max((version.position + 1 for version in mine), default=0)
    taken = {version.channel for version in mine}
    known = {version.label: version for version in row.versions}
    for position, version in enumerate(_distinct(listed.about), start=first):
        channel = None if version.channel in taken else version.channel
        old = known.pop(version.label, None)
        if old is None:
            row.versions.append(_version(version, channel, position, listed.origin))
            changed = True
        elif old.origin != OPERATOR:
            changed |= _follow(old, version, channel, position)
    for gone in known.values():
        if gone.origin != OPERATOR:
            changed |= _retire(gone)
    return changed


def said_of(about: ModelDescription) -> dict[str, Any]:
    """What a list says of a model beside its name, as it is stored."""
    said: dict[str, Any] = msgspec.to_builtins(about.abilities)
    if about.prices:
        said["prices"] = dict(about.prices)
    return said


def _said(listed: Listed, heard: dict[str, Any]) -> dict[str, Any]:
    """What both lists say. Where ours is silent the live one fills the gap, now or from before.

    heard: what the live list said when it was read. It stays beside what both say, so that a sync
    without that list does not take it away.
    """
    ours = said_of(listed.about)
    if listed.origin == LIVE:
        return ours
    theirs = heard if listed.live is None else said_of(listed.live)
    both = {**theirs, **ours}
    features = {**theirs.get(_FEATURES, {}), **ours.get(_FEATURES, {})}
    if features:
        both[_FEATURES] = features
    return both if both == ours else {**both, LIVE: theirs}


def _heard(row: ModelRow) -> dict[str, Any]:
    """What the live list said of a row; any writer may have written it."""
    said: Any = row.listed
    if not isinstance(said, dict):
        return {}
    heard = said.get(LIVE, said if row.origin == LIVE else {})
    try:
        told: dict[str, Any] = msgspec.to_builtins(msgspec.convert(heard, Abilities))
    except msgspec.ValidationError:
        return {}
    prices = heard.get("prices")
    return told | ({"prices": prices} if isinstance(prices, dict) else {})


def vanish(row: ModelRow, now: datetime) -> bool:
    """Mark a row that its list does not have any more; whether it was not marked before."""
    if row.vanished_at is not None:
        return False
    row.vanished_at = now
    return True


def _distinct(about: ModelDescription) -> list[Version]:
    """The versions with each label once, the first of them."""
    return list({version.label: version for version in reversed(about.versions)}.values())[::-1]


def _version(version: Version, channel: str | None, position: int, origin: str) -> VersionRow:
    return VersionRow(
        label=version.label,
        upstream=version.upstream,
        channel=channel,
        position=position,
        status=version.status,
        successor=version.successor,
        origin=origin,
    )


def _follow(row: VersionRow, version: Version, channel: str | None, position: int) -> bool:
    """A version that its list has again is served again; one that it calls retired is not."""
    back = row.status == RETIRED and version.status != RETIRED
    status = version.status if back or version.status == RETIRED else row.status
    new = (version.upstream, channel, position, status)
    if (row.upstream, row.channel, row.position, row.status) == new:
        return False
    row.upstream, row.channel, row.position, row.status = new
    return True


def _retire(row: VersionRow) -> bool:
    if row.status == RETIRED and row.channel is None:
        return False
    row.status, row.channel = RETIRED, None
    return True


def _small(tokens: int | None) -> int | None:
    return tokens if tokens is not None and 0 < tokens <= _MAX_INT else None
