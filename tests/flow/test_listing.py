"""The list of models: what cannot answer now is not in it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.catalog import endpoint, model, snapshot

from xrouter.domain.catalog import Version
from xrouter.domain.identity import Principal
from xrouter.domain.routes import Route, RouteTarget
from xrouter.domain.snapshot import Snapshot
from xrouter.flow.listing import available, shown

ANYBODY = Principal(key_id="k", name="n")
LAB = Principal(key_id="k", name="n", groups=("lab",))


def route(name: str, *targets: str, endpoint: str | None = None, **more: Any) -> Route:
    made = tuple(RouteTarget(model=each, endpoint=endpoint) for each in targets)
    return Route(name=name, targets=made, **more)


def catalog(*routes: Route) -> Snapshot:
    """`a` has an endpoint, `b` none that is enabled, `c` is a provider that is disabled."""
    retired = Version(label="1", upstream="u", status="retired")
    made = snapshot(
        model("a/x"),
        model("a/lab", access_group="lab"),
        model("a/off", is_available=False),
        model("a/retired", retired, is_available=False),
        model("b/x"),
        model("c/x", is_available=False),
        endpoints=(endpoint(1, "a"),),
        routes={each.model_id: each for each in routes},
    )
    made.endpoints["b"] = ()
    return made


def names(found: Snapshot, who: Principal = ANYBODY) -> list[str]:
    return [each.model_id for each in available(found, who)]


def test_models_that_cannot_answer_are_left_out() -> None:
    assert names(catalog()) == ["a/x"]
    assert names(catalog(), LAB) == ["a/x", "a/lab"]


@pytest.mark.parametrize(
    "targets",
    [("b/x",), ("c/x",), ("a/off", "a/retired"), ("a/none",), ("a/x:none",), ("a/lab",), ()],
)
def test_so_are_routes_that_lead_nowhere(targets: tuple[str, ...]) -> None:
    found = catalog(route("r", *targets))
    assert names(found) == ["a/x"]
    assert not shown("route/r", found, ANYBODY).is_available


def test_a_route_to_an_endpoint_that_is_not_there_leads_nowhere() -> None:
    assert names(catalog(route("r", "a/x", endpoint="e9"))) == ["a/x"]
    assert names(catalog(route("r", "a/x", endpoint="e1"))) == ["route/r", "a/x"]
    assert names(catalog(route("r", "a/x", is_enabled=False))) == ["a/x"]


def test_a_route_through_another_one_is_listed() -> None:
    inner = route("inner", "b/x", "a/x")
    assert names(catalog(route("outer", "route/inner"), inner)) == [
        "route/outer", "route/inner", "a/x"
    ]  # fmt: skip
    assert names(catalog(route("outer", "route/outer"))) == ["a/x"]


def test_a_route_is_listed_for_those_who_may_use_a_target() -> None:
    found = catalog(route("r", "a/lab", "b/x"))
    assert names(found, LAB) == ["route/r", "a/x", "a/lab"]
    assert names(found) == ["a/x"]
