"""What goes with a provider or a model, and who would miss it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import names, objects, repository
from xrouter.control.catalog.names import MODEL, PROVIDER, User
from xrouter.control.db import changes
from xrouter.control.db.changes import DELETE
from xrouter.control.db.tables.catalog import ModelRow, ProviderRow
from xrouter.control.db.tables.routing import PriceRow, RouteRow, RouteTargetRow
from xrouter.domain.errors import Conflict
from xrouter.domain.routes import CHAIN, ROUTE

_NAMED = 5
_PART = 1000
_Who = tuple[str, str]


async def of_provider(session: AsyncSession, row: ProviderRow) -> None:
    """Write down that a provider goes, with its models and their prices. Raises Conflict."""
    await repository.lock_releases(session, ModelRow.provider == row.name)
    models = await repository.models(session, provider=row.name, lock=True)
    await repository.lock_endpoints(session, row.name)
    await repository.lock(session)
    gone = {model.model_id for model in models}
    themselves = {(MODEL, name) for name in gone} | {(PROVIDER, row.name)}
    await _refuse_models(session, gone, f"The provider '{row.name}'", themselves)
    for model in models:
        await _note_model(session, model)
    before = objects.provider(row)
    await changes.record(session, DELETE, PROVIDER, row.name, before=before, after=None)


async def of_model(session: AsyncSession, row: ModelRow) -> None:
    """Write down that a model goes, with its prices. Raises Conflict."""
    await repository.lock(session)
    name = row.model_id
    await _refuse_models(session, {name}, f"The model '{name}'", {(MODEL, name)})
    await _note_model(session, row)


async def of_words(session: AsyncSession, model: str, words: Collection[str]) -> None:
    """Refuse to let labels or channels of a model go that somebody names. Raises Conflict."""
    gone = {f"{model}:{word}" for word in words if word not in CHAIN}
    if gone:
        await repository.lock(session)
        gone -= await _whole(session, gone)
        users = await names.users(session)
        _refuse(users, gone, f"A version of '{model}'", {(MODEL, model)})


async def of_endpoint(session: AsyncSession, provider: str, name: str) -> None:
    """Refuse to let an endpoint go that a route names. Raises Conflict."""
    query = (
        select(RouteRow.name)
        .join(RouteTargetRow, RouteTargetRow.route_id == RouteRow.id)
        .where(
            RouteTargetRow.endpoint == name,
            RouteTargetRow.model.startswith(provider + "/", autoescape=True),
        )
        .distinct()
    )
    await repository.lock_endpoints(session, provider)
    await repository.lock(session)
    found = [ROUTE + route for route in await session.scalars(query)]
    _refuse_if(found, f"The endpoint '{provider}/{name}'")


async def of_names(session: AsyncSession, route: str, gone: Collection[str]) -> None:
    """Refuse to let names of a route go that somebody else uses. Raises Conflict."""
    if gone:
        themselves = (names.ROUTE_KIND, route)
        users = [u for u in await names.users(session) if (u.kind, u.name) != themselves]
        used = [f"'{name}'" for name in sorted(gone) if any(name in u.names for u in users)]
        what = f"The {'name' if len(used) == 1 else 'names'} {' and '.join(used)}"
        _refuse(users, gone, what, ())


async def _note_model(session: AsyncSession, row: ModelRow) -> None:
    name = row.model_id
    priced = (await session.scalars(select(PriceRow).where(PriceRow.llm_model_id == row.id))).all()
    if priced:
        before = objects.prices(name, priced)
        await changes.record(session, DELETE, "prices", name, before=before, after=None)
    before = objects.model(row)
    await changes.record(session, DELETE, MODEL, name, before=before, after=None)


async def _refuse_models(
    session: AsyncSession, gone: Collection[str], what: str, themselves: Collection[_Who]
) -> None:
    """A longer id may mean another model than what looks like a version of one that goes."""
    users = await names.users(session)
    used = {name for user in users for name in user.names}
    versions = {name for name in used if name.rpartition(":")[0] in gone} - set(gone)
    missed = {*gone, *(versions - await _whole(session, versions))}
    _refuse(users, missed, what, themselves)


async def _whole(session: AsyncSession, wanted: Collection[str]) -> set[str]:
    """Those of the names that mean a model or a route as they stand."""
    found = set(wanted) & (await names.routes(session)).keys()
    ordered = sorted(wanted)
    for start in range(0, len(ordered), _PART):
        part = ordered[start : start + _PART]
        query = select(ModelRow.model_id).where(ModelRow.model_id.in_(part))
        found |= set(await session.scalars(query))
    return found


def _refuse(
    users: Iterable[User], missed: Collection[str], what: str, themselves: Collection[_Who]
) -> None:
    others = (user for user in users if (user.kind, user.name) not in themselves)
    _refuse_if([str(user) for user in others if not user.names.isdisjoint(missed)], what)


def _refuse_if(users: Sequence[str], what: str) -> None:
    if users:
        more = f" and {len(users) - _NAMED} more" if len(users) > _NAMED else ""
        shown = ", ".join(sorted(users)[:_NAMED]) + more
        raise Conflict(
            f"{what} cannot go: these lead there: {shown}.",
            code="in_use",
            hint="Change them first, or delete them: /control/v1/routes, /control/v1/models.",
        )
