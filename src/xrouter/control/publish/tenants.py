"""Whose projects are, and how much everybody may."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import ValidationError
from sqlalchemy import Row

from xrouter.domain.limits import Limit, Tenant
from xrouter.domain.windows import check

Skip = Callable[[str, str], None]
"""Told the reason and the name of each row that is left out."""


def limits(rows: Iterable[Row[Any]], skip: Skip) -> dict[str, tuple[Limit, ...]]:
    """By subject. Rows may be written by anybody: what makes no sense is left out.

    The columns stand in the order of the fields of Limit, behind the id.
    """
    found: dict[str, list[Limit]] = defaultdict(list)
    for row in rows:
        number, told = row[0], row[1:]
        try:
            limit = msgspec.convert(dict(zip(Limit.__struct_fields__, told, strict=True)), Limit)
            check(limit)
        except (ValidationError, ValueError) as error:
            skip(f"limit of no sense: {error}", str(number))
            continue
        found[limit.subject].append(limit)
    return {subject: tuple(each) for subject, each in found.items()}


def tenants(rows: Iterable[Row[Any]]) -> dict[str, Tenant]:
    """By project."""
    return {
        row.project: Tenant(
            project=row.project,
            organization=row.organization,
            time_zone=row.time_zone,
            margin=row.margin,
            vat=row.vat,
            is_active=row.is_active and row.organization_is_active,
            groups=_texts(row.groups),
        )
        for row in rows
    }


def _texts(told: Any) -> tuple[str, ...]:
    """Rows may be written by anybody: what is no list of texts opens nothing."""
    try:
        return msgspec.convert(told, tuple[str, ...])
    except ValidationError:
        return ()
