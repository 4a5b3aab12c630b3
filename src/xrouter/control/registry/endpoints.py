"""The registry's API: changes and the way back, export and import."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Page
from xrouter.control.registry.history import HistoryService
from xrouter.control.registry.schemas import (
    ChangeOut,
    ChangeQuery,
    DryRunQuery,
    ExportQuery,
    ImportQuery,
    OutcomeOut,
    RegistryDoc,
    RestoreIn,
)
from xrouter.control.registry.service import RegistryService

router = APIRouter(tags=["registry"])

Registry = Annotated[RegistryService, room(RegistryService)]
History = Annotated[HistoryService, room(HistoryService)]
_YAML_BODY = {"required": True, "content": {"application/yaml": {}, "application/json": {}}}
Revision = Annotated[int, Path(ge=0, le=2**62)]


@router.get("/changes")
async def list_changes(history: History, query: Annotated[ChangeQuery, Query()]) -> Page[ChangeOut]:
    """List the changes of the catalog, the newest first, each with what differs."""
    return await history.page(query)


@router.post("/revisions/{revision}/restore")
async def restore_revision(
    revision: Revision, history: History, given: RestoreIn | None = None
) -> OutcomeOut:
    """Undo all that came after a revision; with `dry_run` only tell what that would change."""
    return await history.restore(revision, dry_run=given is not None and given.dry_run)


@router.get("/registry")
async def export_registry(
    registry: Registry, query: Annotated[ExportQuery, Query()]
) -> dict[str, Any]:
    """Give the whole catalog as one document, which can be imported here or elsewhere."""
    return await registry.export(sealed=query.secrets == "sealed")


@router.put("/registry")
async def import_registry(
    given: RegistryDoc, registry: Registry, query: Annotated[ImportQuery, Query()]
) -> OutcomeOut:
    """Make the catalog what a document says; with `dry_run` only tell what that would change."""
    return await registry.put(given, dry_run=query.dry_run, prune=query.prune)


@router.post("/registry/litellm", openapi_extra={"requestBody": _YAML_BODY})
async def import_litellm(
    request: Request, registry: Registry, query: Annotated[DryRunQuery, Query()]
) -> OutcomeOut:
    """Take over the configuration of a LiteLLM proxy, YAML or JSON as it stands in the file.

    Variables that it names are looked up in its `environment_variables`, never in the server's
    environment: what is not there is told in the warnings.
    """
    return await registry.take(await request.body(), dry_run=query.dry_run)
