"""Whether a route makes sense, before it is written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import names, policies
from xrouter.control.catalog.names import Known, User
from xrouter.control.catalog.policies import Holder, Strategies
from xrouter.control.registry.schemas import RouteDoc, TargetDoc
from xrouter.control.routing import repository
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.routes import DEEPEST, ROUTE

_Ways = dict[str, set[str]]
"""To which routes the targets of each lead."""


async def check(session: AsyncSession, route: RouteDoc, strategies: Strategies) -> None:
    """Look at a route in the catalog as it is. Raises InvalidRequest with the first problem."""
    own = {ROUTE + route.name, *route.aliases}
    led = [target.model for target in route.targets]
    known = await names.known(session, {*own, *led})
    _check_names(route, known)
    await _check_targets(session, route.targets, known, own)
    ways = [way for way in await repository.ways(session) if way[0] != route.name]
    routes = {**known.routes, **dict.fromkeys(own, route.name)}
    down = _check_circles(route, ways, routes)
    await policies.check(session, route.policy, strategies, holder=_holder(led, known))
    for place, name in names.places(route.policy):
        if _leads(routes.get(name), route.name, down):
            raise _wrong(place, f"'{name}' leads back to '{ROUTE}{route.name}'")
    for user in await names.users(session):
        if user.kind == names.ROUTE_KIND and user.name != route.name:
            _check_user(user, route.name, routes, down)


def _holder(led: Sequence[str], known: Known) -> Holder:
    """Of what kinds a route is, where it leads to models alone."""
    kinds = [known.kind(name) for name in led]
    found = frozenset(kind for kind in kinds if kind is not None)
    return Holder(kinds=frozenset() if None in kinds else found)


def _check_user(user: User, route: str, routes: dict[str, str], down: _Ways) -> None:
    """Another route must not be led back to itself through this one, from its policy."""
    if not _leads(route, user.name, down):
        return
    for name in sorted(user.chained):
        if _leads(routes.get(name), route, down):
            what = f"'{user}' falls back to '{name}', which would lead back to it"
            raise _wrong("targets", what)


def _leads(start: str | None, end: str, down: _Ways) -> bool:
    """Whether targets lead from one route to the other, or they are one."""
    return start is not None and any(end in level for level in _levels(start, down))


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
) -> _Ways:
    """No route may lead to itself, nor routes too deep into each other. Returns all ways down."""
    down: _Ways = {}
    up: _Ways = {}
    mine = ((route.name, target.model) for target in route.targets)
    for outer, name in (*ways, *mine):
        inner = routes.get(name)
        if inner is not None:
            down.setdefault(outer, set()).add(inner)
            up.setdefault(inner, set()).add(outer)
    for number, target in enumerate(route.targets):
        if _leads(routes.get(target.model), route.name, down):
            raise _wrong(
                f"targets[{number}].model", f"'{target.model}' leads back to '{ROUTE}{route.name}'"
            )
    if len(_levels(route.name, down)) + len(_levels(route.name, up)) - 1 > DEEPEST:
        raise _wrong("targets", f"more than {DEEPEST} routes would lead into each other")
    return down


def _levels(start: str, ways: _Ways) -> list[set[str]]:
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
