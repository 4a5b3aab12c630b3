"""The catalog's API: providers, endpoints, models, adapters."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from xrouter.control.catalog.adapters import Adapters
from xrouter.control.catalog.models import ModelService
from xrouter.control.catalog.schemas import (
    AdapterOut,
    EndpointIn,
    EndpointOut,
    EndpointPatch,
    ModelIn,
    ModelOut,
    ModelPatch,
    ModelQuery,
    ProviderIn,
    ProviderOut,
    ProviderPatch,
    SyncIn,
    SyncOut,
)
from xrouter.control.catalog.service import ProviderService
from xrouter.control.catalog.sync import SyncService
from xrouter.control.kit.etag import IfMatch, tagged
from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Deleted, Id, Page, PageQuery

router = APIRouter(tags=["catalog"])

Providers = Annotated[ProviderService, room(ProviderService)]
Models = Annotated[ModelService, room(ModelService)]
Sync = Annotated[SyncService, room(SyncService)]
Supported = Annotated[Adapters, room(Adapters)]


@router.get("/adapters")
async def list_adapters(adapters: Supported) -> Page[AdapterOut]:
    """List the supported adapter classes."""
    return Page(
        data=[
            AdapterOut(
                adapter_class=path, provider=kind.provider, models=len(kind.supported_models())
            )
            for path, kind in sorted(adapters.classes.items())
        ]
    )


@router.get("/providers")
async def list_providers(
    providers: Providers, query: Annotated[PageQuery, Query()]
) -> Page[ProviderOut]:
    """List providers by name, with their endpoints."""
    return await providers.page(query)


@router.post("/providers", status_code=201)
async def create_provider(
    given: ProviderIn, providers: Providers, response: Response
) -> ProviderOut:
    """Register a provider with its primary endpoint."""
    return tagged(response, await providers.create(given))


@router.get("/providers/{provider}")
async def get_provider(provider: Id, providers: Providers, response: Response) -> ProviderOut:
    """Show a provider."""
    return tagged(response, await providers.get(provider))


@router.patch("/providers/{provider}")
async def update_provider(
    provider: Id,
    patch: ProviderPatch,
    providers: Providers,
    response: Response,
    *,
    if_match: IfMatch = None,
) -> ProviderOut:
    """Change a provider, or switch it off and on."""
    return tagged(response, await providers.update(provider, patch, if_match))


@router.delete("/providers/{provider}")
async def delete_provider(provider: Id, providers: Providers, if_match: IfMatch = None) -> Deleted:
    """Delete a provider with its endpoints and models."""
    await providers.delete(provider, if_match)
    return Deleted(id=provider)


@router.post("/providers/{provider}/endpoints", status_code=201)
async def create_endpoint(
    provider: Id, given: EndpointIn, providers: Providers, response: Response
) -> EndpointOut:
    """Add a standby endpoint to a provider."""
    return tagged(response, await providers.add_endpoint(provider, given))


@router.get("/providers/{provider}/endpoints/{endpoint}")
async def get_endpoint(
    provider: Id, endpoint: Id, providers: Providers, response: Response
) -> EndpointOut:
    """Show an endpoint."""
    return tagged(response, await providers.endpoint(provider, endpoint))


@router.patch("/providers/{provider}/endpoints/{endpoint}")
async def update_endpoint(
    provider: Id,
    endpoint: Id,
    patch: EndpointPatch,
    providers: Providers,
    response: Response,
    *,
    if_match: IfMatch = None,
) -> EndpointOut:
    """Change an endpoint; give it a new credential."""
    changed = await providers.update_endpoint(provider, endpoint, patch, if_match)
    return tagged(response, changed)


@router.delete("/providers/{provider}/endpoints/{endpoint}")
async def delete_endpoint(
    provider: Id, endpoint: Id, providers: Providers, if_match: IfMatch = None
) -> Deleted:
    """Delete an endpoint."""
    await providers.delete_endpoint(provider, endpoint, if_match)
    return Deleted(id=endpoint)


@router.get("/models")
async def list_models(models: Models, query: Annotated[ModelQuery, Query()]) -> Page[ModelOut]:
    """List models by id, also those that are switched off."""
    return await models.page(query)


@router.post("/models", status_code=201)
async def create_model(given: ModelIn, models: Models, response: Response) -> ModelOut:
    """Add a model by hand."""
    return tagged(response, await models.create(given))


@router.post("/models/sync")
async def sync_models(sync: Sync, given: SyncIn | None = None) -> SyncOut:
    """Fill the list of models from the adapters and, if asked to, from the providers."""
    return await sync.sync(given or SyncIn())


@router.get("/models/{model_id:path}")
async def get_model(model_id: Id, models: Models, response: Response) -> ModelOut:
    """Show a model."""
    return tagged(response, await models.get(model_id))


@router.patch("/models/{model_id:path}")
async def update_model(
    model_id: Id,
    patch: ModelPatch,
    models: Models,
    response: Response,
    *,
    if_match: IfMatch = None,
) -> ModelOut:
    """Change a model, or switch it off and on."""
    return tagged(response, await models.update(model_id, patch, if_match))


@router.delete("/models/{model_id:path}")
async def delete_model(model_id: Id, models: Models, if_match: IfMatch = None) -> Deleted:
    """Delete a model."""
    await models.delete(model_id, if_match)
    return Deleted(id=model_id)
