"""Routes: virtual models over targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import objects, removal
from xrouter.control.catalog import repository as catalog
from xrouter.control.catalog.objects import Document
from xrouter.control.catalog.policies import Strategies
from xrouter.control.db import changes
from xrouter.control.db.changes import CREATE, DELETE, UPDATE
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.routing import RouteRow, RouteTargetRow
from xrouter.control.kit import etag
from xrouter.control.kit.schemas import Page, PageQuery
from xrouter.control.registry.schemas import RouteDoc, TargetDoc
from xrouter.control.routing import repository
from xrouter.control.routing.check import check
from xrouter.control.routing.schemas import RouteIn, RouteOut, RoutePatch
from xrouter.domain.errors import Conflict
from xrouter.domain.routes import ROUTE

KIND = "route"


class RouteService:
    """Every method is one transaction. changed: called after each that wrote something.

    Routes are named with or without `route/`. if_match: the header of a write that goes only where
    the caller has seen (`kit.etag`).
    """

    def __init__(
        self, db: Database, changed: Callable[[], None], strategies: Strategies | None = None
    ) -> None:
        self._db = db
        self._changed = changed
        self._strategies = strategies or {}

    async def page(self, query: PageQuery) -> Page[RouteOut]:
        """Routes by name, behind the name `after`."""
        async with self._db.read() as session:
            found = await repository.routes(session, after=query.after, limit=query.limit + 1)
            data = [_out(row) for row in found[: query.limit]]
        return Page(data=data, next=data[-1].name if len(found) > query.limit else None)

    async def get(self, name: str) -> RouteOut:
        """One route. Raises NotFound."""
        async with self._db.read() as session:
            return _out(await repository.route(session, name))

    async def create(self, given: RouteIn) -> RouteOut:
        """Make a route. Raises Conflict, InvalidRequest."""
        fields = given.model_dump(exclude={"targets", "display_name"})
        shown = given.display_name or given.name
        row = RouteRow(**fields, display_name=shown, targets=_rows(given.targets))
        try:
            async with self._db.write() as session:
                await catalog.lock(session)
                session.add(row)
                await session.flush()
                await check(session, given, self._strategies)
                await _note(session, CREATE, row, None)
        except IntegrityError:
            raise Conflict(
                f"The route '{given.name}' exists already.",
                param="name",
                hint=f"PATCH /control/v1/routes/{given.name} changes it.",
            ) from None
        self._changed()
        return await self.get(given.name)

    async def update(self, name: str, patch: RoutePatch, if_match: str | None = None) -> RouteOut:
        """Change a route.

        Raises NotFound, InvalidRequest, PreconditionFailed, and Conflict when somebody refers to an
        alias that would be gone.
        """
        new = patch.sent()
        targets = new.pop("targets", None)
        async with self._db.write() as session:
            row = await repository.route(session, name, lock=True)
            before = objects.route(row)
            etag.require(if_match, before)
            await catalog.lock(session)
            gone = set(row.aliases) - set(new.get("aliases", row.aliases))
            await removal.of_names(session, row.name, gone)
            for field, value in new.items():
                setattr(row, field, value)
            if targets is not None and _documents(targets) != before["targets"]:
                row.targets.clear()
                await session.flush()
                row.targets.extend(_rows(targets))
            await session.flush()
            await check(session, RouteDoc.model_validate(objects.route(row)), self._strategies)
            await _note(session, UPDATE, row, before)
        self._changed()
        return await self.get(name)

    async def delete(self, name: str, if_match: str | None = None) -> None:
        """Delete a route.

        Raises NotFound, PreconditionFailed, and Conflict when somebody refers to it.
        """
        async with self._db.write() as session:
            row = await repository.route(session, name, lock=True)
            before = objects.route(row)
            etag.require(if_match, before)
            await catalog.lock(session)
            await removal.of_names(session, row.name, {ROUTE + row.name, *row.aliases})
            await session.delete(row)
            await changes.record(session, DELETE, KIND, row.name, before=before, after=None)
        self._changed()


async def _note(session: AsyncSession, action: str, row: RouteRow, before: Document | None) -> None:
    """Write down what became of a route."""
    after = objects.route(row)
    await changes.record(session, action, KIND, row.name, before=before, after=after)


def _documents(targets: Iterable[TargetDoc]) -> list[Document]:
    return [target.model_dump() for target in targets]


def _rows(targets: Iterable[TargetDoc]) -> list[RouteTargetRow]:
    documents = enumerate(_documents(targets))
    return [RouteTargetRow(**document, position=position) for position, document in documents]


def _out(row: RouteRow) -> RouteOut:
    more = {"model": ROUTE + row.name, "etag": etag.etag(objects.route(row))}
    return RouteOut.model_validate(row.__dict__ | more)
