"""Whether a route makes sense, before it is written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import names, policies
from xrouter.control.catalog.names import Known
from xrouter.control.catalog.policies import Strategies
from xrouter.control.registry.schemas import RouteDoc, TargetDoc
from xrouter.control.routing import repository
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.routes import DEEPEST, ROUTE


async def check(session: AsyncSession, route: RouteDoc, strategies: Strategies) -> None:
    """Look at a route in the catalog as it is. Raises InvalidRequest with the first problem."""
    own = {ROUTE + route.name, *route.aliases}
    led = [target.model for target in route.targets]
    known = await names.known(session, {*own, *led})
    _check_names(route, known)
    await _check_targets(session, route.targets, known, own)
    ways = [way for way in await repository.ways(session) if way[0] != route.name]
    _check_circles(route, ways, {**known.routes, **dict.fromkeys(own, route.name)})
    await policies.check(session, route.policy, strategies)


def _check_names(route: RouteDoc, known: Known) -> None:
    if ROUTE + route.name in known.models:
        raise _wrong("name", f"there is a model '{ROUTE}{route.name}'")
    for number, alias in enumerate(route.aliases):
        place = f"aliases[{number}]"
        if alias.startswith(ROUTE):
            raise _wrong(place, f"only names of routes begin with '{ROUTE}'")
        if alias in route.aliases[:number]:
            raise _wrong(place, f"'{alias}' is there twice")
        if alias in known.models:
            raise _wrong(place, f"'{alias}' is a model", "Take a name that means nothing yet.")
        owner = known.routes.get(alias, route.name)
        if owner != route.name:
            raise _wrong(
                place, f"'{alias}' means the route '{owner}'", "Take a name that means nothing yet."
            )


async def _check_targets(
    session: AsyncSession, targets: Sequence[TargetDoc], known: Known, own: Collection[str]
) -> None:
    placed = [target.model for target in targets if target.endpoint is not None]
    bases = {name.rpartition(":")[0] for name in placed}
    found = await repository.endpoints(session, {*placed, *bases}) if placed else {}
    for number, target in enumerate(targets):
        place = f"targets[{number}]"
        if target.model not in own and not known.has(target.model):
            raise _wrong(
                f"{place}.model",
                f"there is no '{target.model}'",
                "It must be a model, with or without ':channel' or ':label', or a route.",
            )
        if target.endpoint is None:
            continue
        if target.model in own or target.model in known.routes:
            raise _wrong(f"{place}.endpoint", "a route has no endpoints")
        there = found.get(target.model) or found.get(target.model.rpartition(":")[0], set())
        if target.endpoint not in there:
            raise _wrong(
                f"{place}.endpoint",
                f"the provider has no endpoint '{target.endpoint}'",
                f"It has: {', '.join(sorted(there)) or 'none'}.",
            )


def _check_circles(
    route: RouteDoc, ways: Iterable[tuple[str, str]], routes: dict[str, str]
) -> None:
    """No route may lead to itself, nor routes too deep into each other."""
    down: dict[str, set[str]] = {}
    up: dict[str, set[str]] = {}
    mine = ((route.name, target.model) for target in route.targets)
    for outer, name in (*ways, *mine):
        inner = routes.get(name)
        if inner is not None:
            down.setdefault(outer, set()).add(inner)
            up.setdefault(inner, set()).add(outer)
    for number, target in enumerate(route.targets):
        first = routes.get(target.model)
        if first is not None and any(route.name in level for level in _levels(first, down)):
            raise _wrong(
                f"targets[{number}].model", f"'{target.model}' leads back to '{ROUTE}{route.name}'"
            )
    if len(_levels(route.name, down)) + len(_levels(route.name, up)) - 1 > DEEPEST:
        raise _wrong("targets", f"more than {DEEPEST} routes would lead into each other")


def _levels(start: str, ways: dict[str, set[str]]) -> list[set[str]]:
    """What can be reached in no step, in one, in two ...; no further than is allowed."""
    levels = [{start}]
    while len(levels) <= DEEPEST:
        following = {inner for outer in levels[-1] for inner in ways.get(outer, ())}
        if not following:
            break
        levels.append(following)
    return levels


def _wrong(place: str, what: str, hint: str | None = None) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid value for '{place}': {what}.", param=place, code="invalid_value", hint=hint
    )
