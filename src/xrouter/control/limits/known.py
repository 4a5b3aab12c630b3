"""Whether what a limit names is there: a limit of what is not counts nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog.models import DEFAULT_LABEL
from xrouter.control.db.tables.billing import LimitRow
from xrouter.control.db.tables.catalog import ModelRow, VersionRow
from xrouter.control.db.tables.identity import KeyRow
from xrouter.control.db.tables.people import OrganizationRow, ProjectRow
from xrouter.domain.limits import ALL

_PART = 500


async def missing(session: AsyncSession, rows: Sequence[LimitRow]) -> list[list[str]]:
    """Of each limit the subject and the model that are not there. End users always are."""
    named = [_named(row) for row in rows]
    wanted = {subject for each in named for subject in each}
    found = await _found(session, wanted)
    return [[subject for subject in each if subject not in found] for each in named]


def _named(row: LimitRow) -> list[str]:
    """Subjects that must be there."""
    kind, _, name = row.subject.partition(":")
    named = [] if name == ALL or kind == "user" else [row.subject]
    if row.model is not None:
        named.append(f"model:{row.model}")
    return named


async def _found(session: AsyncSession, wanted: Iterable[str]) -> set[str]:
    names: dict[str, list[str]] = {}
    for subject in wanted:
        kind, _, name = subject.partition(":")
        names.setdefault(kind, []).append(name)
    columns = {
        "key": KeyRow.key_id,
        "project": ProjectRow.slug,
        "organization": OrganizationRow.slug,
        "model": ModelRow.model_id,
    }
    found: set[str] = set()
    for kind, some in names.items():
        for start in range(0, len(some), _PART):
            part = some[start : start + _PART]
            if kind == "version":
                found |= await _versions(session, part)
            elif (column := columns.get(kind)) is not None:
                query = select(column).where(column.in_(part))
                found |= {f"{kind}:{name}" for name in await session.scalars(query)}
    return found


async def _versions(session: AsyncSession, names: Iterable[str]) -> set[str]:
    """`version:<model>:<label>`. A model without versions has one, of the usual label."""
    pairs = [tuple(name.rpartition(":")[::2]) for name in names]
    query = (
        select(ModelRow.model_id, VersionRow.label)
        .join(VersionRow, VersionRow.llm_model_id == ModelRow.id)
        .where(tuple_(ModelRow.model_id, VersionRow.label).in_(pairs))
    )
    bare = select(ModelRow.model_id).where(
        ModelRow.model_id.in_([model for model, label in pairs if label == DEFAULT_LABEL]),
        ~select(VersionRow.id).where(VersionRow.llm_model_id == ModelRow.id).exists(),
    )
    found = [(model, label) for model, label in await session.execute(query)]
    found += [(model, DEFAULT_LABEL) for model in await session.scalars(bare)]
    return {f"version:{model}:{label}" for model, label in found}
