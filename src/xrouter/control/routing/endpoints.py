"""The API of routes, prices and rates."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Deleted, Id, Page, PageQuery
from xrouter.control.routing.schemas import (
    PriceIn,
    PriceOut,
    PriceQuery,
    RateOut,
    RatesIn,
    RouteIn,
    RouteOut,
    RoutePatch,
)
from xrouter.control.routing.service import RoutingService

router = APIRouter(tags=["routing"])

Routing = Annotated[RoutingService, room(RoutingService)]


@router.get("/routes")
async def list_routes(routing: Routing, query: Annotated[PageQuery, Query()]) -> Page[RouteOut]:
    """List routes by name."""
    return await routing.routes(query)


@router.post("/routes", status_code=201)
async def create_route(given: RouteIn, routing: Routing) -> RouteOut:
    """Make a virtual model over targets."""
    return await routing.create(given)


@router.get("/routes/{route:path}")
async def get_route(route: Id, routing: Routing) -> RouteOut:
    """Show a route."""
    return await routing.route(route)


@router.patch("/routes/{route:path}")
async def update_route(route: Id, patch: RoutePatch, routing: Routing) -> RouteOut:
    """Change a route, or switch it off and on."""
    return await routing.update(route, patch)


@router.delete("/routes/{route:path}")
async def delete_route(route: Id, routing: Routing) -> Deleted:
    """Delete a route."""
    await routing.delete(route)
    return Deleted(id=route)


@router.get("/prices")
async def list_prices(routing: Routing, query: Annotated[PriceQuery, Query()]) -> Page[PriceOut]:
    """List prices, those that held, hold and will hold."""
    return await routing.prices(query.model)


@router.post("/prices", status_code=201)
async def create_price(given: PriceIn, routing: Routing) -> PriceOut:
    """Let a price hold from a moment on; the same moment's price is replaced."""
    return await routing.add_price(given)


@router.get("/rates")
async def list_rates(routing: Routing) -> Page[RateOut]:
    """List the latest exchange rates."""
    return await routing.rates()


@router.put("/rates")
async def put_rates(given: RatesIn, routing: Routing) -> Page[RateOut]:
    """Take exchange rates over."""
    return await routing.put_rates(given)
