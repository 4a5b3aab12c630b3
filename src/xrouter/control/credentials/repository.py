"""Queries of projects' own credentials."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.identity import CredentialRow
from xrouter.control.db.tables.people import OrganizationRow, ProjectRow
from xrouter.domain.errors import NotFound


async def credentials(session: AsyncSession, project: str) -> Sequence[CredentialRow]:
    """Those of a project, by provider."""
    query = select(CredentialRow).where(CredentialRow.project == project)
    return (await session.scalars(query.order_by(CredentialRow.provider))).all()


async def find(session: AsyncSession, project: str, provider: str) -> CredentialRow | None:
    """That of a project for a provider."""
    query = select(CredentialRow).where(
        CredentialRow.project == project, CredentialRow.provider == provider
    )
    return await session.scalar(query)


async def credential(session: AsyncSession, project: str, provider: str) -> CredentialRow:
    """That of a project for a provider. Raises NotFound."""
    found = await find(session, project, provider)
    if found is None:
        raise NotFound(
            f"The project '{project}' has no credential of its own for '{provider}'.",
            param="provider",
            code="credential_not_found",
            hint=f"PUT /control/v1/projects/{project}/credentials/{provider} makes one.",
        )
    return found


async def organization(session: AsyncSession, row: ProjectRow) -> str:
    """The slug of the project's organisation."""
    query = select(OrganizationRow.slug).where(OrganizationRow.id == row.organization_id)
    return (await session.scalars(query)).one()
