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
RETIRED = "retired"
_NAME = re.compile(r"[!-~]{1,200}")
_MAX_INT = 2**31 - 1


class Listed(Struct, frozen=True):
    """A model of a list, and which list that is."""

    about: ModelDescription
    origin: str


def union(
    shipped: Iterable[ModelDescription], live: Iterable[ModelDescription]
) -> dict[str, Listed]:
    """Both lists by name. Where both have a model, ours says more and the live one fills gaps."""
    found = {about.name: Listed(about, LIVE) for about in live if _NAME.fullmatch(about.name)}
    for about in shipped:
        known = found.get(about.name)
        whole = about if known is None else _completed(about, known.about)
        found[about.name] = Listed(whole, SHIPPED)
    return found


def fresh(provider: str, adapter_class: str, listed: Listed) -> ModelRow:
    """The row of a model that has none."""
    about = listed.about
    return ModelRow(
        model_id=f"{provider}/{about.name}",
        provider=provider,
        adapter_class=adapter_class,
        display_name=about.display_name or about.name,
        kind=about.kind,
        context_length=_small(about.context_length),
        listed=said_of(about),
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
    said = said_of(listed.about)
    if row.listed != said:
        row.listed = said
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


def _completed(about: ModelDescription, live: ModelDescription) -> ModelDescription:
    """Ours, with what only the live list tells."""
    ours, theirs = about.abilities, live.abilities
    return msgspec.structs.replace(
        about,
        context_length=about.context_length or live.context_length,
        abilities=Abilities(
            features={**theirs.features, **ours.features},
            max_output=ours.max_output or theirs.max_output,
        ),
        prices=about.prices or live.prices,
    )


def _small(tokens: int | None) -> int | None:
    return tokens if tokens is not None and 0 < tokens <= _MAX_INT else None
