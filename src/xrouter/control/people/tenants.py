"""Organisations and their projects: made, listed, changed, switched off.

Neither is ever deleted: a slug that keys, usage and charges carry must not become another's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import ChargeRow, ClosedMonthRow
from xrouter.control.db.tables.people import MembershipRow, OrganizationRow, ProjectRow
from xrouter.control.kit import etag
from xrouter.control.kit.actor import actor
from xrouter.control.kit.schemas import Page
from xrouter.control.people import access
from xrouter.control.people.schemas import (
    OrganizationIn,
    OrganizationOut,
    OrganizationPatch,
    ProjectIn,
    ProjectOut,
    ProjectPatch,
)
from xrouter.domain.errors import Conflict, Forbidden

_OPERATORS = ("margin", "vat", "groups", "is_active")
_ORGANIZATION = ("slug", "name", "time_zone", "margin", "vat", "groups", "details", "is_active")
_PROJECT = ("slug", "name", "is_active")

Row = TypeVar("Row", OrganizationRow, ProjectRow)


class TenantService:
    """Every method is one transaction. changed: called after each that wrote something.

    if_match: the header of a write that goes only where the caller has seen (`kit.etag`).
    """

    def __init__(self, db: Database, changed: Callable[[], None]) -> None:
        self._db = db
        self._changed = changed

    async def organizations(self, *, after: str | None, limit: int) -> Page[OrganizationOut]:
        """Those that who asks has a part in, all for operators; by slug, behind `after`."""
        query = select(OrganizationRow).order_by(OrganizationRow.slug)
        who = actor.get()
        if not who.is_operator:
            mine = select(MembershipRow.organization_id)
            mine = mine.where(MembershipRow.user_id == who.person().row_id)
            query = query.where(OrganizationRow.id.in_(mine), OrganizationRow.is_active)
        if after is not None:
            query = query.where(OrganizationRow.slug > after)
        async with self._db.read() as session:
            rows, following = await _page(session, query, limit)
        return Page(data=[_organization(row) for row in rows], next=following)

    async def create_organization(self, given: OrganizationIn) -> OrganizationOut:
        """Make one; who asks becomes no member of it. Raises Conflict."""
        async with self._db.write() as session:
            query = select(OrganizationRow.id).where(OrganizationRow.slug == given.slug)
            if await session.scalar(query) is not None:
                raise _taken("organization", given.slug)
            row = OrganizationRow(**given.model_dump(), is_active=True)
            session.add(row)
            await session.flush()
            await _record(session, row, "organization.create", row.slug, given.model_dump())
        self._changed()
        return _organization(row)

    async def organization(self, slug: str) -> OrganizationOut:
        """One. Raises NotFound."""
        async with self._db.read() as session:
            row = await access.organization(session, slug, "organization.read")
        return _organization(row)

    async def change_organization(
        self, slug: str, patch: OrganizationPatch, if_match: str | None = None
    ) -> OrganizationOut:
        """Change one. Raises NotFound, Forbidden, PreconditionFailed, Conflict."""
        new = patch.sent()
        async with self._db.write() as session:
            row = await access.organization(session, slug, "organization.change", lock=True)
            if not actor.get().is_operator:
                _refuse_operators_own(new)
            etag.require(if_match, _document(row))
            if new.get("time_zone", row.time_zone) != row.time_zone:
                await _require_no_bills(session, slug)
            detail = _change(row, new)
            await _record(session, row, "organization.change", slug, detail)
        self._changed()
        return _organization(row)

    async def projects(
        self, organization: str | None, *, after: str | None, limit: int
    ) -> Page[ProjectOut]:
        """Those that who asks may read, by slug, behind `after`. Raises NotFound.

        organization: its slug; None for all.
        """
        query = select(ProjectRow).order_by(ProjectRow.slug)
        if after is not None:
            query = query.where(ProjectRow.slug > after)
        async with self._db.read() as session:
            if organization is not None:
                owner = await access.organization(session, organization, "organization.read")
                query = query.where(ProjectRow.organization_id == owner.id)
            mine = await access.slugs(session, "project.read")
            if mine is not None:
                query = query.where(ProjectRow.slug.in_(mine))
            rows, following = await _page(session, query, limit)
            owners = await _owners(session, rows)
        return Page(
            data=[_project(row, owners[row.organization_id]) for row in rows], next=following
        )

    async def create_project(self, organization: str, given: ProjectIn) -> ProjectOut:
        """Make one. Raises NotFound, Forbidden, Conflict."""
        async with self._db.write() as session:
            owner = await access.organization(session, organization, "project.create", lock=True)
            query = select(ProjectRow.id).where(ProjectRow.slug == given.slug)
            if await session.scalar(query) is not None:
                raise _taken("project", given.slug)
            row = ProjectRow(**given.model_dump(), organization_id=owner.id, is_active=True)
            session.add(row)
            await session.flush()
            await _record(session, row, "project.create", owner.slug, given.model_dump())
        self._changed()
        return _project(row, owner.slug)

    async def project(self, slug: str) -> ProjectOut:
        """One. Raises NotFound."""
        async with self._db.read() as session:
            row = await access.project(session, slug, "project.read")
            return _project(row, (await _owners(session, [row]))[row.organization_id])

    async def change_project(
        self, slug: str, patch: ProjectPatch, if_match: str | None = None
    ) -> ProjectOut:
        """Change one. Raises NotFound, Forbidden, PreconditionFailed."""
        async with self._db.write() as session:
            row = await access.project(session, slug, "project.change", lock=True)
            etag.require(if_match, _document(row))
            owner = (await _owners(session, [row]))[row.organization_id]
            await _record(session, row, "project.change", owner, _change(row, patch.sent()))
        self._changed()
        return _project(row, owner)


def _refuse_operators_own(new: dict[str, Any]) -> None:
    for name in _OPERATORS:
        if name in new:
            raise Forbidden(f"'{name}' is for operators of this router to change.", param=name)


async def _require_no_bills(session: AsyncSession, slug: str) -> None:
    """What was charged is of a month of the time zone that there was. Raises Conflict."""
    charged = select(ChargeRow.event_id).where(ChargeRow.organization == slug, ChargeRow.total > 0)
    closed = select(ClosedMonthRow.month).where(ClosedMonthRow.organization == slug)
    for query in (closed, charged):
        if await session.scalar(query.limit(1)) is not None:
            raise Conflict(
                f"The months of '{slug}' are counted in its time zone, and it was charged already.",
                param="time_zone",
                code="time_zone_in_use",
                hint="Make another organisation for another time zone.",
            )


def _change(row: OrganizationRow | ProjectRow, new: dict[str, Any]) -> dict[str, Any]:
    """Set the fields; what they were and are."""
    before = {name: getattr(row, name) for name in new}
    for name, value in new.items():
        setattr(row, name, value)
    return {"before": before, "after": new}


def _document(row: OrganizationRow | ProjectRow) -> dict[str, Any]:
    """What a tag is of."""
    names = _ORGANIZATION if isinstance(row, OrganizationRow) else _PROJECT
    return {name: getattr(row, name) for name in names}


def _organization(row: OrganizationRow) -> OrganizationOut:
    return OrganizationOut(
        **_document(row), created_at=row.created_at, etag=etag.etag(_document(row))
    )


async def _record(
    session: AsyncSession,
    row: OrganizationRow | ProjectRow,
    action: str,
    organization: str,
    detail: dict[str, Any],
) -> None:
    kind = action.partition(".")[0]
    await audit.record(
        session,
        action=action,
        object=f"{kind}:{row.slug}",
        organization=organization,
        detail=detail,
    )


async def _page(
    session: AsyncSession, query: Select[Row], limit: int
) -> tuple[Sequence[Row], str | None]:
    """The rows, and behind which slug the next ones are."""
    found = (await session.scalars(query.limit(limit + 1))).all()
    return found[:limit], found[limit - 1].slug if len(found) > limit else None


async def _owners(session: AsyncSession, rows: Sequence[ProjectRow]) -> dict[int, str]:
    """The slugs of the projects' organisations, by row."""
    wanted = {row.organization_id for row in rows}
    query = select(OrganizationRow.id, OrganizationRow.slug).where(OrganizationRow.id.in_(wanted))
    found = (await session.execute(query)).all()
    return {row.id: row.slug for row in found}


def _project(row: ProjectRow, organization: str) -> ProjectOut:
    return ProjectOut(
        slug=row.slug,
        organization=organization,
        name=row.name,
        is_active=row.is_active,
        created_at=row.created_at,
        etag=etag.etag(_document(row)),
    )


def _taken(kind: str, slug: str) -> Conflict:
    return Conflict(f"The {kind} '{slug}' exists already, or did.", param="slug")
