from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.catalog import endpoint, model, snapshot

from xrouter.domain.abilities import Abilities
from xrouter.domain.catalog import Price, Version
from xrouter.domain.chat import ChatRequest, Message
from xrouter.domain.errors import (
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
    UpstreamDenied,
    UpstreamFailed,
)
from xrouter.domain.identity import Principal
from xrouter.domain.plan import Plan
from xrouter.domain.routes import Canary, Policy, Route, RouteTarget
from xrouter.domain.snapshot import Snapshot
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.route import Router

WHO = Principal(key_id="k1", name="one")
RC = Version(label="5.1", upstream="m-rc", channel="rc")
LATEST = Version(label="5", upstream="m", channel="latest")
OLD = Version(label="4", upstream="m-old", channel="deprecated", status="deprecated")
CHANNELS = model("north/m", LATEST, RC, OLD)
PRIMARY, STANDBY = endpoint(1, "north", 0), endpoint(2, "north", 1)
WEST = endpoint(3, "west", country="US")
RUB = Price(currency="RUB", input=10**9, output=2 * 10**9)


def chat(text: str = "hi", **fields: Any) -> ChatRequest:
    return ChatRequest(model="x", messages=[Message(role="user", content=text)], **fields)


def plan(
    name: str,
    state: Snapshot,
    *,
    board: Board | None = None,
    request: ChatRequest | None = None,
    headers: dict[bytes, bytes] | None = None,
    who: Principal = WHO,
) -> Plan:
    ask = Ask(who, request, headers, state.rates)
    return Router(board or Board()).plan(name, ("chat",), ask, state)


def names(made: Plan) -> list[str]:
    return [f"{t.endpoint.name} {t.version.upstream}" for t in made.targets]


def test_the_standby_stands_behind_the_primary() -> None:
    state = snapshot(model("north/m", LATEST), endpoints=(STANDBY, PRIMARY, WEST))
    made = plan("north/m", state)
    assert [t.endpoint for t in made.targets] == [PRIMARY, STANDBY]
    assert made.reason == "priority"


def test_a_model_without_endpoints_is_unavailable() -> None:
    with pytest.raises(ModelUnavailable, match="no endpoint"):
        plan("north/m", snapshot(CHANNELS))


@pytest.mark.parametrize(
    "name,upstreams",
    [
        ("north/m:rc", ["e1 m-rc", "e2 m-rc", "e1 m", "e2 m", "e1 m-old", "e2 m-old"]),
        ("north/m", ["e1 m", "e2 m", "e1 m-old", "e2 m-old"]),
        ("north/m:deprecated", ["e1 m-old", "e2 m-old"]),
        ("north/m:5.1", ["e1 m-rc", "e2 m-rc"]),
    ],
)
def test_channels_take_each_others_place_and_pinned_versions_none(
    name: str, upstreams: list[str]
) -> None:
    assert names(plan(name, snapshot(CHANNELS, endpoints=(PRIMARY, STANDBY)))) == upstreams


def test_a_policy_sets_which_versions_stand_in() -> None:
    state = snapshot(model("north/m", LATEST, RC, policy=Policy(versions=())), endpoints=(PRIMARY,))
    assert names(plan("north/m:rc", state)) == ["e1 m-rc"]


@pytest.mark.parametrize("missing,found", [("refuse", None), ("next", ["e1 m"])])
def test_a_missing_channel(missing: Any, found: list[str] | None) -> None:
    state = snapshot(model("north/m", LATEST, policy=Policy(missing=missing)), endpoints=(PRIMARY,))
    if found is None:
        with pytest.raises(ModelNotFound, match="no version or channel `rc`"):
            plan("north/m:rc", state)
    else:
        assert names(plan("north/m:rc", state)) == found


def route_over(*targets: RouteTarget, **fields: Any) -> dict[str, Route]:
    made = Route(name="bot", targets=targets, aliases=("auto",), **fields)
    return {"route/bot": made, "auto": made}


def test_a_route_goes_by_priority_then_version_then_endpoint() -> None:
    routes = route_over(
        RouteTarget(model="west/w", priority=1), RouteTarget(model="north/m", endpoint="e2")
    )
    state = snapshot(
        CHANNELS,
        model("west/w", Version(label="1", upstream="w")),
        endpoints=(PRIMARY, STANDBY, WEST),
        routes=routes,
    )
    for name in ("route/bot", "auto"):
        made = plan(name, state)
        assert names(made) == ["e2 m", "e2 m-old", "e3 w"]
        assert made.route == "bot"


def test_routes_in_routes_end() -> None:
    inner = Route(name="inner", targets=(RouteTarget(model="route/outer"),))
    outer = Route(
        name="outer", targets=(RouteTarget(model="route/inner"), RouteTarget(model="north/m:rc"))
    )
    state = snapshot(
        CHANNELS,
        endpoints=(PRIMARY,),
        routes={"route/inner": inner, "route/outer": outer},
    )
    assert names(plan("route/outer", state))[0] == "e1 m-rc"


def test_what_fails_stands_behind_what_works_and_is_tried_again() -> None:
    now = [0.0]
    board = Board(lambda: now[0])
    state = snapshot(model("north/m", LATEST), endpoints=(PRIMARY, STANDBY))
    router = Router(board)
    ask = Ask(WHO)
    first = router.plan("north/m", ("chat",), ask, state).targets[0]
    for _ in range(5):
        board.failed(first, UpstreamFailed("broken"))
    held = router.plan("north/m", ("chat",), ask, state)
    assert names(held) == ["e2 m", "e1 m"]
    assert "north/e1 held back" in held.reason

    now[0] = 60.0
    assert names(router.plan("north/m", ("chat",), ask, state)) == ["e1 m", "e2 m"]
    board.enter(first)
    assert names(router.plan("north/m", ("chat",), ask, state)) == ["e2 m", "e1 m"]
    board.answered(first, 0.1, streamed=True)
    assert names(router.plan("north/m", ("chat",), ask, state)) == ["e1 m", "e2 m"]
    assert board.calm


def test_a_denied_credential_parks_all_models_of_its_endpoint() -> None:
    board = Board(lambda: 5.0)
    other = model("north/n", Version(label="1", upstream="n"))
    state = snapshot(model("north/m", LATEST), other, endpoints=(PRIMARY, STANDBY))
    router = Router(board)
    target = router.plan("north/m", ("chat",), Ask(WHO), state).targets[0]
    board.failed(target, UpstreamDenied("no"))
    assert names(router.plan("north/n", ("chat",), Ask(WHO), state)) == ["e2 n", "e1 n"]


def test_an_endpoint_that_the_prober_found_down_stands_last() -> None:
    down = msgspec.structs.replace(PRIMARY, state="down")
    state = snapshot(model("north/m", LATEST), endpoints=(down, STANDBY))
    assert names(plan("north/m", state)) == ["e2 m", "e1 m"]


def test_models_and_routes_of_a_group_are_not_there_for_others() -> None:
    secret = model("north/m", LATEST, access_group="lab")
    routes = route_over(RouteTarget(model="west/w"), access_group="lab")
    west = model("west/w", Version(label="1", upstream="w"))
    state = snapshot(secret, west, endpoints=(PRIMARY, WEST), routes=routes)
    insider = Principal(key_id="k2", name="two", groups=("lab",))
    for name in ("north/m", "route/bot"):
        with pytest.raises(ModelNotFound, match="does not exist or you do not have access"):
            plan(name, state)
        assert plan(name, state, who=insider).targets


def test_a_route_leaves_out_what_a_caller_may_not_use() -> None:
    secret = model("north/m", LATEST, access_group="lab")
    west = model("west/w", Version(label="1", upstream="w"))
    routes = route_over(RouteTarget(model="north/m"), RouteTarget(model="west/w"))
    state = snapshot(secret, west, endpoints=(PRIMARY, WEST), routes=routes)
    assert names(plan("auto", state)) == ["e3 w"]


def test_data_that_must_not_leave_stays() -> None:
    here = msgspec.structs.replace(PRIMARY, country="RU")
    routes = route_over(RouteTarget(model="north/m"), RouteTarget(model="west/w", priority=1))
    west = model("west/w", Version(label="1", upstream="w"))
    state = snapshot(CHANNELS, west, endpoints=(here, WEST), routes=routes)
    bound = {b"x-xrouter-countries": b"ru"}
    assert {t.endpoint.country for t in plan("auto", state, headers=bound).targets} == {"RU"}
    with pytest.raises(Forbidden, match="answers from RU"):
        plan("west/w", state, headers=bound)
    with pytest.raises(InvalidRequest, match="two-letter"):
        plan("auto", state, headers={b"x-xrouter-countries": b"Russia"})


@pytest.mark.parametrize("borders,left", [("open", 3), ("country", 2), ("price", 1), ("both", 1)])
def test_a_fallback_crosses_only_open_borders(borders: Any, left: int) -> None:
    cheap = Version(label="1", upstream="a", price=RUB)
    much = Price(currency="RUB", input=10**12, output=10**12)
    dear = Version(label="1", upstream="b", price=much)
    routes = route_over(
        RouteTarget(model="north/a"),
        RouteTarget(model="north/b", priority=1),
        RouteTarget(model="west/c", priority=2),
        policy=Policy(borders=borders),
    )
    state = snapshot(
        model("north/a", cheap),
        model("north/b", dear),
        model("west/c", Version(label="1", upstream="c")),
        endpoints=(msgspec.structs.replace(PRIMARY, country="RU"), WEST),
        routes=routes,
    )
    assert len(plan("auto", state, request=chat()).targets) == left


def test_a_price_cap_leaves_out_what_may_cost_more_or_an_unknown_amount() -> None:
    priced = model("north/m", Version(label="1", upstream="m", price=RUB))
    west = model("west/w", Version(label="1", upstream="w"))
    routes = route_over(RouteTarget(model="west/w"), RouteTarget(model="north/m"))
    state = snapshot(priced, west, endpoints=(PRIMARY, WEST), routes=routes)
    request = chat("x" * 4000, max_tokens=1000)  # 1000 tokens in: 0.001 + 0.002 rubles
    assert names(plan("auto", state, request=request, headers={b"x-xrouter-max-price": b"0.003"}))
    with pytest.raises(InvalidRequest, match="within the price") as refused:
        plan("auto", state, request=request, headers={b"x-xrouter-max-price": b"0.002999999"})
    assert refused.value.code == "price_cap_exceeded"


def test_a_prompt_too_long_for_one_model_goes_to_a_longer_one() -> None:
    short = model("north/s", Version(label="1", upstream="s"), context_length=100)
    long = model("north/l", Version(label="1", upstream="l"), context_length=10_000)
    routes = route_over(RouteTarget(model="north/s"), RouteTarget(model="north/l", priority=1))
    state = snapshot(short, long, endpoints=(PRIMARY,), routes=routes)
    assert names(plan("auto", state, request=chat("hi"))) == ["e1 s", "e1 l"]
    assert names(plan("auto", state, request=chat("x" * 4000))) == ["e1 l", "e1 s"]


def test_a_route_leaves_out_models_that_cannot_do_what_is_asked() -> None:
    blind = Abilities(features={"tools": "refused"})
    routes = route_over(RouteTarget(model="north/a"), RouteTarget(model="north/b"))
    state = snapshot(
        model("north/a", Version(label="1", upstream="a"), abilities=blind),
        model("north/b", Version(label="1", upstream="b")),
        endpoints=(PRIMARY,),
        routes=routes,
    )
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert names(plan("auto", state, request=chat(tools=tools))) == ["e1 b"]
    with pytest.raises(InvalidRequest, match="does not support 'tools'"):
        plan("north/a", state, request=chat(tools=tools))


@given(st.floats(0, 1), st.integers(0, 1000))
def test_a_canary_is_seen_by_its_share_and_always_by_the_same(share: float, number: int) -> None:
    trial = Canary(label="5.1", share=share)
    state = snapshot(CHANNELS, endpoints=(PRIMARY,), canaries={"north/m": trial})
    who = Principal(key_id=f"key-{number}", name="x")
    seen = {names(plan("north/m", state, who=who))[0] for _ in range(3)}
    assert len(seen) == 1
    if share in (0.0, 1.0):
        assert seen == {"e1 m-rc" if share else "e1 m"}
    assert names(plan("north/m:rc", state, who=who))[0] == "e1 m-rc"
    assert names(plan("north/m:5", state, who=who)) == ["e1 m"]


def test_a_canarys_share_is_its_share_of_the_keys() -> None:
    state = snapshot(
        CHANNELS, endpoints=(PRIMARY,), canaries={"north/m": Canary(label="5.1", share=0.2)}
    )
    asked = [plan("north/m", state, who=Principal(key_id=f"k{n}", name="x")) for n in range(2000)]
    tried = sum(made.targets[0].version is RC for made in asked)
    assert 300 < tried < 500
    assert {made.reason for made in asked} == {"priority", "canary 5.1"}


def test_fallback_chains_stand_behind_and_beside() -> None:
    policy = Policy(
        fallbacks=("west/w", "no/such"), on_overflow=("west/w",), on_refusal=("west/w",)
    )
    west = model("west/w", Version(label="1", upstream="w"))
    state = snapshot(model("north/m", LATEST, policy=policy), west, endpoints=(PRIMARY, WEST))
    made = plan("north/m", state)
    assert names(made) == ["e1 m", "e3 w"]
    assert [t.version.upstream for t in made.overflow + made.refusal] == ["w", "w"]


def test_a_plan_is_made_once_while_all_is_well() -> None:
    state = snapshot(CHANNELS, endpoints=(PRIMARY, STANDBY))
    router = Router(Board())
    first = router.plan("north/m", ("chat",), Ask(WHO), state)
    assert router.plan("north/m", ("chat",), Ask(WHO), state) is first
    newer = msgspec.structs.replace(state, revision=2)
    assert router.plan("north/m", ("chat",), Ask(WHO), newer) is not first


def test_what_nobody_knows_the_price_of_is_left_out_where_a_price_is_required() -> None:
    """E10: unless the model's own policy says otherwise."""
    dollars = Version(label="1", upstream="d", price=Price(currency="USD", input=1, output=1))
    state = snapshot(
        model("north/m", Version(label="1", upstream="m", price=RUB)),
        model("north/d", dollars),
        model("west/w", Version(label="1", upstream="w")),
        model("west/free", Version(label="1", upstream="f"), policy=Policy(require_price=False)),
        endpoints=(PRIMARY, WEST),
        routes=route_over(
            RouteTarget(model="west/w"),
            RouteTarget(model="north/m"),
            policy=Policy(on_refusal=("north/d",)),
        ),
    )
    router = Router(Board(), require_price=True)

    def planned(name: str, of: Snapshot = state) -> Plan:
        return router.plan(name, ("chat",), Ask(WHO, None, {}, of.rates), of)

    assert (names(planned("auto")), planned("auto").refusal) == (["e1 m"], ())
    assert names(planned("west/free")) == ["e3 f"]
    for unknown in ("west/w", "north/d"):
        with pytest.raises(ModelUnavailable) as refused:
            planned(unknown)
        assert (refused.value.code, refused.value.param) == ("price_unknown", "model")
        assert "/control/v1/prices" in (refused.value.hint or "")
        assert names(plan(unknown, state)), "without the setting it answers"
    rated = msgspec.structs.replace(state, rates={"USD": 80 * 10**9})
    assert names(planned("north/d", rated)) == ["e1 d"]


def test_a_policy_requires_a_price_where_the_setting_does_not() -> None:
    strict = model("west/w", Version(label="1", upstream="w"), policy=Policy(require_price=True))
    with pytest.raises(ModelUnavailable, match="costs"):
        plan("west/w", snapshot(strict, endpoints=(WEST,)))
