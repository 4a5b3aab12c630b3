"""The catalog as one caller sees it: models that answer now, and routes as models."""

from __future__ import annotations

from xrouter.domain.catalog import Model, Version
from xrouter.domain.errors import XRouterError
from xrouter.domain.identity import Principal
from xrouter.domain.routes import Route
from xrouter.domain.snapshot import Snapshot
from xrouter.flow.resolve import Choice, find, hidden, is_listed, unknown

OWNER = "xrouter"
"""The provider of routes, as lists show it."""


def available(snapshot: Snapshot, principal: Principal) -> list[Model]:
    """What answers now: routes first, then models by id."""
    provided, bounds = snapshot.endpoints, principal.bounds
    routes = {route.name: route for route in snapshot.routes.values()}
    found = [_as_model(r, snapshot, principal) for r in routes.values() if _may(r, principal)]
    models = [
        model
        for model in snapshot.models.values()
        if model.is_available and provided.get(model.provider) and _may(model, principal)
        if bounds is None or bounds.admits(model)
    ]
    return [model for model in found if model.is_available] + models


def shown(name: str, snapshot: Snapshot, principal: Principal) -> Model:
    """One model or route, also a switched-off one. Raises ModelNotFound."""
    route = snapshot.routes.get(name)
    thing = route if route is not None and name not in snapshot.models else None
    bounds = principal.bounds
    listed = bounds is None or is_listed(name, bounds, snapshot)
    if thing is not None:
        if not _may(thing, principal):
            raise unknown(name, snapshot)
        if not listed and not _open(thing, snapshot, principal):
            raise hidden(name)
        return _as_model(thing, snapshot, principal)
    if not listed:
        raise hidden(name)
    model = find(name, snapshot).model
    if not _may(model, principal):
        raise unknown(name, snapshot)
    return model


def _may(thing: Model | Route, principal: Principal) -> bool:
    return thing.access_group is None or thing.access_group in principal.groups


def _open(route: Route, snapshot: Snapshot, principal: Principal) -> list[Choice]:
    """Where the route leads this caller: a list that names the route opens all of it."""
    bounds = principal.bounds
    found = [
        c for c in choices_of(route, snapshot) if _may(c.model, principal) and _passes(c, principal)
    ]
    if bounds is None or is_listed(route.model_id, bounds, snapshot):
        return found
    return [choice for choice in found if bounds.admits(choice.model)]


def _passes(choice: Choice, principal: Principal) -> bool:
    """Whether the routes on the way to it are there for the caller."""
    return choice.guards is None or choice.guards.groups.issubset(principal.groups)


def _as_model(route: Route, snapshot: Snapshot, principal: Principal) -> Model:
    """What is common to its targets; the first of them for what cannot be common."""
    choices = _open(route, snapshot, principal)
    models = [choice.model for choice in choices]
    lengths = [model.context_length for model in models if model.context_length is not None]
    return Model(
        model_id=route.model_id,
        provider=OWNER,
        adapter_class="",
        display_name=route.display_name or route.name,
        kind=models[0].kind if models else "chat",
        context_length=max(lengths, default=None),
        is_available=route.is_enabled and any(_answers(c, snapshot) for c in choices),
        versions=(Version(label="route", upstream=route.name),),
    )


def choices_of(route: Route, snapshot: Snapshot) -> tuple[Choice, ...]:
    """What the route leads to, through other routes too."""
    try:
        return find(route.model_id, snapshot).choices
    except XRouterError:
        return ()


def _answers(choice: Choice, snapshot: Snapshot) -> bool:
    """Whether there is an endpoint that can be asked for it."""
    endpoints = snapshot.endpoints.get(choice.model.provider, ())
    named = choice.endpoint
    return choice.model.is_available and any(named in (None, each.name) for each in endpoints)
