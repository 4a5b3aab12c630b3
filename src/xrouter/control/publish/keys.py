"""From a row to what the data plane knows of a key. There may be very many of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Select, Text, cast, select

from xrouter.control.db.tables.identity import KeyRow
from xrouter.domain.bounds import Bounds, compact
from xrouter.domain.identity import KeyRecord, Principal

GOOD: Select[*tuple[Any, ...]] = select(
    KeyRow.id,
    KeyRow.mac,
    KeyRow.pepper_id,
    KeyRow.key_id,
    KeyRow.name,
    KeyRow.project,
    KeyRow.rpm,
    KeyRow.expires_at,
    KeyRow.previous_mac,
    KeyRow.previous_until,
    cast(KeyRow.groups, Text),
    cast(KeyRow.scopes, Text),
    cast(KeyRow.models, Text),
    cast(KeyRow.ip_ranges, Text),
).where(KeyRow.revoked_at.is_(None))
"""Keys that are not revoked. Lists are JSON as it is kept: nearly all of them are empty."""
_NONE = "[]"

_texts = msgspec.json.Decoder(tuple[str, ...]).decode


def records(row: Sequence[Any]) -> tuple[KeyRecord, ...]:
    """Of the key, and of the secret that it had before the last rotation.

    row: as `GOOD` reads it. Raises ValueError: what cannot be read must not open anything.
    """
    number, mac, _, key_id, name, project, rpm, expires_at, old, until, groups, *held = row
    principal = Principal(
        key_id=key_id,
        name=name,
        project=project,
        rpm=rpm,
        groups=() if groups == _NONE else _texts(groups),
        bounds=None if held == [_NONE, _NONE, _NONE] else _bounds(*held),
    )
    ends_at = _seconds(expires_at)
    record = KeyRecord(mac=mac, principal=principal, expires_at=ends_at, row=number)
    if old is None:
        return (record,)
    grace = _seconds(until) or 0.0
    last = grace if ends_at is None else min(grace, ends_at)
    replaced = KeyRecord(
        mac=old, principal=principal, expires_at=last, is_replaced=True, row=number
    )
    return record, replaced


def _bounds(scopes: str, models: str, ranges: str) -> Bounds | None:
    """None where all of them turn out to be empty."""
    bounds = Bounds(
        scopes=_texts(scopes),
        models=frozenset(_texts(models)),
        networks=tuple(map(compact, _texts(ranges))),
    )
    return bounds if bounds != Bounds() else None


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
