"""The catalog as one caller sees it: models that answer now, and routes as models."""

from __future__ import annotations

from xrouter.domain.catalog import Model, Version
from xrouter.domain.identity import Principal
from xrouter.domain.routes import Route
from xrouter.domain.snapshot import Snapshot
from xrouter.flow.resolve import find, unknown

OWNER = "xrouter"
"""The provider of routes, as lists show it."""


def available(snapshot: Snapshot, principal: Principal) -> list[Model]:
    """What answers now: routes first, then models by id."""
    groups, provided = principal.groups, snapshot.endpoints
    routes = {route.name: route for route in snapshot.routes.values()}
    found = [_as_model(route, snapshot) for route in routes.values() if _may(route, groups)]
    models = [
        model
        for model in snapshot.models.values()
        if model.is_available and provided.get(model.provider) and _may(model, groups)
    ]
    return [model for model in found if model.is_available] + models


def shown(name: str, snapshot: Snapshot, principal: Principal) -> Model:
    """One model or route, also a switched-off one. Raises ModelNotFound."""
    route = snapshot.routes.get(name)
    thing = route if route is not None and name not in snapshot.models else None
    if thing is not None:
        if not _may(thing, principal.groups):
            raise unknown(name, snapshot)
        return _as_model(thing, snapshot)
    model = find(name, snapshot).model
    if not _may(model, principal.groups):
        raise unknown(name, snapshot)
    return model


def _may(thing: Model | Route, groups: tuple[str, ...]) -> bool:
    return thing.access_group is None or thing.access_group in groups


def _as_model(route: Route, snapshot: Snapshot) -> Model:
    """What is common to its targets; the first of them for what cannot be common."""
    found = [snapshot.models.get(target.model.partition(":")[0]) for target in route.targets]
    models = [model for model in found if model is not None]
    lengths = [model.context_length for model in models if model.context_length is not None]
    return Model(
        model_id=route.model_id,
        provider=OWNER,
        adapter_class="",
        display_name=route.display_name or route.name,
        kind=models[0].kind if models else "chat",
        context_length=max(lengths, default=None),
        is_available=route.is_enabled and any(model.is_available for model in models),
        versions=(Version(label="route", upstream=route.name),),
    )
