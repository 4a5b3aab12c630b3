"""The API of routes, prices and rates."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from xrouter.control.kit.etag import IfMatch, tagged
from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Deleted, Id, Page, PageQuery
from xrouter.control.routing import bank
from xrouter.control.routing.catalogue import Catalogue
from xrouter.control.routing.prices import PriceService
from xrouter.control.routing.schemas import (
    ImportedOut,
    PriceIn,
    PriceOut,
    PriceQuery,
    PricesImport,
    RateOut,
    RatesFile,
    RatesIn,
    RouteIn,
    RouteOut,
    RoutePatch,
)
from xrouter.control.routing.service import RouteService

router = APIRouter(tags=["routing"])

Routes = Annotated[RouteService, room(RouteService)]
Prices = Annotated[PriceService, room(PriceService)]
Lists = Annotated[Catalogue, room(Catalogue)]
PriceId = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("/routes")
async def list_routes(routes: Routes, query: Annotated[PageQuery, Query()]) -> Page[RouteOut]:
    """List routes by name."""
    return await routes.page(query)


@router.post("/routes", status_code=201)
async def create_route(given: RouteIn, routes: Routes, response: Response) -> RouteOut:
    """Make a virtual model over targets."""
    return tagged(response, await routes.create(given))


@router.get("/routes/{route:path}")
async def get_route(route: Id, routes: Routes, response: Response) -> RouteOut:
    """Show a route."""
    return tagged(response, await routes.get(route))


@router.patch("/routes/{route:path}")
async def update_route(
    route: Id, patch: RoutePatch, routes: Routes, response: Response, if_match: IfMatch = None
) -> RouteOut:
    """Change a route, or switch it off and on."""
    return tagged(response, await routes.update(route, patch, if_match))


@router.delete("/routes/{route:path}")
async def delete_route(route: Id, routes: Routes, if_match: IfMatch = None) -> Deleted:
    """Delete a route that nobody refers to."""
    await routes.delete(route, if_match)
    return Deleted(id=route)


@router.get("/prices")
async def list_prices(prices: Prices, query: Annotated[PriceQuery, Query()]) -> Page[PriceOut]:
    """List prices, those that held, hold and will hold."""
    return await prices.page(query)


@router.post("/prices", status_code=201)
async def create_price(given: PriceIn, prices: Prices) -> PriceOut:
    """Let a price hold from a moment on; the same moment's price is replaced."""
    return await prices.add(given)


@router.post("/prices/import")
async def import_prices(given: PricesImport, catalogue: Lists) -> ImportedOut:
    """Take over prices that ship with us or that live lists have named, where there is none."""
    return await catalogue.take(given)


@router.delete("/prices/{price}")
async def delete_price(price: PriceId, prices: Prices) -> Deleted:
    """Delete a price that has not begun."""
    await prices.delete(price)
    return Deleted(id=str(price))


@router.get("/rates")
async def list_rates(prices: Prices) -> Page[RateOut]:
    """List the latest exchange rates."""
    return await prices.rates()


@router.put("/rates")
async def put_rates(given: RatesIn, prices: Prices) -> Page[RateOut]:
    """Take exchange rates over."""
    return await prices.put_rates(given)


@router.post("/rates/import")
async def import_rates(given: RatesFile, prices: Prices) -> Page[RateOut]:
    """Take over the rates of a file as the Bank of Russia publishes it."""
    return await prices.put_rates(bank.read(given.xml, given.currency))
