"""The whole catalog as documents."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from xrouter.control.catalog import objects
from xrouter.control.catalog import repository as catalog
from xrouter.control.catalog.objects import Document
from xrouter.control.db.tables.catalog import EndpointRow, ModelRow, ProviderRow
from xrouter.control.db.tables.releases import ReleaseRow
from xrouter.control.db.tables.routing import PriceRow, RouteRow

Key = tuple[str, str]
"""Kind and name of an object."""

KINDS = ("provider", "model", "prices", "route")
"""In the order in which they need each other."""


class Rows(Struct):
    """The catalog's rows by name. prices: by model id."""

    providers: dict[str, ProviderRow]
    models: dict[str, ModelRow]
    prices: dict[str, list[PriceRow]]
    routes: dict[str, RouteRow]

    def documents(self) -> dict[Key, Document]:
        """All objects as documents, in the order of KINDS and names."""
        found: dict[Key, Document] = {}
        found |= {("provider", n): objects.provider(row) for n, row in self.providers.items()}
        found |= {("model", n): objects.model(row) for n, row in self.models.items()}
        found |= {("prices", n): objects.prices(n, rows) for n, rows in self.prices.items()}
        found |= {("route", n): objects.route(row) for n, row in self.routes.items()}
        return found


_ORDER = (
    *(ProviderRow.name, ReleaseRow.id, ModelRow.model_id, EndpointRow.id),
    RouteRow.name,
)


async def lock(session: AsyncSession) -> None:
    """Let all others who write to the catalog wait until this transaction ends.

    Row by row, in the order in which every service takes them, then what rises with each of them.
    """
    for key in _ORDER:
        await session.execute(select(key).order_by(key).with_for_update())
    await catalog.lock(session)


async def load(session: AsyncSession) -> Rows:
    """All of the catalog, as it is in this transaction."""
    providers = await catalog.providers(session)
    models = await catalog.models(session)
    routes = await session.scalars(
        select(RouteRow).options(selectinload(RouteRow.targets)).order_by(RouteRow.name)
    )
    order = (ModelRow.model_id, PriceRow.version, PriceRow.mode, PriceRow.effective_from)
    priced = await session.execute(
        select(ModelRow.model_id, PriceRow)
        .join(PriceRow, PriceRow.llm_model_id == ModelRow.id)
        .order_by(*order, PriceRow.id)
    )
    found: dict[str, list[PriceRow]] = {}
    for model_id, row in priced.all():
        found.setdefault(model_id, []).append(row)
    return Rows(
        {row.name: row for row in providers},
        {row.model_id: row for row in models},
        found,
        {row.name: row for row in routes},
    )
