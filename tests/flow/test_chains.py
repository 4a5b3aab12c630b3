"""Conditions hold for the chains of a plan, and on the whole way to a target."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs
from tests.flow import catalog
from tests.flow.harness import Rig
from tests.flow.test_route import PRIMARY, RUB, WHO, chat, names, plan

from xrouter.domain.abilities import Abilities
from xrouter.domain.bounds import Bounds
from xrouter.domain.catalog import Model, Price, Version
from xrouter.domain.errors import Forbidden, InvalidRequest, ModelNotFound, ModelUnavailable
from xrouter.domain.identity import Principal
from xrouter.domain.plan import Plan
from xrouter.domain.routes import Cache, Canary, Policy, Route, RouteTarget
from xrouter.domain.snapshot import Snapshot
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.explain import FlowExplainer
from xrouter.flow.listing import available
from xrouter.flow.route import Router
from xrouter.stores.memory.snapshots import MemorySnapshots

HERE = structs.replace(PRIMARY, country="RU")
FAR = catalog.endpoint(3, "west", country="US")
BOTH = (HERE, FAR)
YANDEX, OPENAI = "yandex/yandexgpt", "openai/gpt-4o-mini"
DEAR = Price(currency="RUB", input=10**12, output=10**12)
ONLY_HERE = {b"x-xrouter-countries": b"RU"}


def model(name: str, price: Price | None = None, **fields: Any) -> Model:
    version = Version(label="1", upstream=name.rpartition("/")[2], price=price)
    return catalog.model(name, version, **fields)


def chained(ours: Policy, **west: Any) -> Snapshot:
    """Cheap in Russia; behind it, for what it will not answer, dear in the States."""
    policy = structs.replace(ours, on_overflow=("west/w",), on_refusal=("west/w",))
    here = model("north/m", RUB, policy=policy)
    return catalog.snapshot(here, model("west/w", DEAR, **west), endpoints=BOTH)


def chains(made: Plan) -> list[list[str]]:
    return [[t.endpoint.name for t in chain] for chain in (made.overflow, made.refusal)]


@pytest.mark.parametrize(
    "policy,headers",
    [
        (Policy(countries=("RU",)), {}),
        (Policy(), ONLY_HERE),
        (Policy(borders="country"), {}),
        (Policy(borders="price"), {}),
        (Policy(borders="both"), {}),
        (Policy(max_price=10**9), {}),
        (Policy(), {b"x-xrouter-max-price": b"1"}),
    ],
)
def test_what_a_request_may_not_do_it_may_not_do_by_a_chain(
    policy: Policy, headers: dict[bytes, bytes]
) -> None:
    request = chat("x" * 4000)
    made = plan("north/m", chained(policy), headers=headers, request=request)
    assert (names(made), chains(made)) == (["e1 m"], [[], []])
    made = plan("north/m", chained(Policy()), request=request)
    assert chains(made) == [["e3"], ["e3"]]


def test_a_chain_can_do_what_is_asked() -> None:
    blind = Abilities(features={"tools": "refused"})
    state = chained(Policy(), abilities=blind)
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert chains(plan("north/m", state, request=chat(tools=tools))) == [[], []]
    assert chains(plan("north/m", state, request=chat())) == [["e3"], ["e3"]]
    short = chained(Policy(), abilities=Abilities(max_output=10))
    assert chains(plan("north/m", short, request=chat(max_tokens=11))) == [[], []]


def test_a_chain_holds_what_the_policy_of_its_own_name_forbids() -> None:
    state = chained(Policy(), policy=Policy(countries=("DE",)))
    assert chains(plan("north/m", state)) == [[], []]
    state = chained(Policy(fallbacks=("west/w",)), policy=Policy(countries=("DE",)))
    assert names(plan("north/m", state)) == ["e1 m"]


def test_a_keys_list_holds_for_chains() -> None:
    held = structs.replace(WHO, bounds=Bounds(models=frozenset({"north/m"})))
    assert chains(plan("north/m", chained(Policy()), who=held)) == [[], []]


def test_a_chain_nothing_can_close_needs_no_plan_of_its_own() -> None:
    state, router = chained(Policy()), Router(Board())
    made = [router.plan("north/m", ("chat",), Ask(WHO), state) for _ in range(2)]
    assert made[0] is made[1]


INNER = "route/inner"


def nested(policy: Policy, outer: Policy | None = None, **inner: Any) -> Snapshot:
    """A route over a route over both models; the policy is the inner one's."""
    both = (RouteTarget(model="north/m"), RouteTarget(model="west/w", priority=1))
    inside = Route(name="inner", targets=both, policy=policy, **inner)
    outside = Route(name="outer", targets=(RouteTarget(model=INNER),), policy=outer or Policy())
    return catalog.snapshot(
        *(model("north/m", RUB), model("west/w", DEAR)),
        endpoints=BOTH,
        routes={INNER: inside, "route/outer": outside},
    )


@pytest.mark.parametrize("name", [INNER, "route/outer"])
@pytest.mark.parametrize(
    "policy",
    [
        Policy(countries=("RU",)),
        Policy(max_price=10**9),
        *(Policy(borders=borders) for borders in ("country", "price", "both")),
    ],
)
def test_what_an_inner_policy_forbids_holds_behind_a_route(name: str, policy: Policy) -> None:
    state = nested(policy)
    assert names(plan(name, state, request=chat("x" * 4000))) == ["e1 m"]


@pytest.mark.parametrize("policy", [Policy(countries=("RU",)), Policy(max_price=10**9)])
@pytest.mark.parametrize("name", ["route/outer", "route/around"])
def test_what_an_inner_route_forbids_holds_for_the_chains_of_the_outer_one(
    name: str, policy: Policy
) -> None:
    """What goes to the inner route first may not leave it by a fallback of the outer one."""
    away = Policy(fallbacks=("west/w",), on_overflow=("west/w",), on_refusal=("west/w",))

    def nests(inside: Policy) -> Snapshot:
        inner = Route(name="inner", targets=(RouteTarget(model="north/m"),), policy=inside)
        outer = Route(name="outer", targets=(RouteTarget(model=INNER),), policy=away)
        two = (RouteTarget(model=INNER), RouteTarget(model="north/n", priority=1))
        around = Route(name="around", targets=two, policy=away)
        return catalog.snapshot(
            *(model("north/m", RUB), model("north/n", DEAR), model("west/w", DEAR)),
            endpoints=BOTH,
            routes={each.model_id: each for each in (inner, outer, around)},
        )

    request, own = chat("x" * 4000), ["e1 m", "e1 n"] if name == "route/around" else ["e1 m"]
    made = plan(name, nests(policy), request=request)
    assert (names(made), chains(made)) == (own, [[], []])
    made = plan(name, nests(Policy()), request=request)
    assert (names(made), chains(made)) == ([*own, "e3 w"], [["e3"], ["e3"]])


def test_what_holds_for_another_than_the_first_choice_closes_no_chain() -> None:
    far = model("north/n", policy=Policy(countries=("RU",)))
    targets = (RouteTarget(model="north/m"), RouteTarget(model="north/n", priority=1))
    bot = Route(name="bot", targets=targets, policy=Policy(fallbacks=("west/w",)))
    state = catalog.snapshot(
        *(model("north/m"), far, model("west/w")),
        endpoints=BOTH,
        routes={bot.model_id: bot},
    )
    assert names(plan("route/bot", state)) == ["e1 m", "e1 n", "e3 w"]


@pytest.mark.parametrize(
    "policy,error",
    [
        (Policy(countries=("DE",)), Forbidden),
        (Policy(max_price=0), InvalidRequest),
        (Policy(require_price=True), ModelUnavailable),
    ],
)
@pytest.mark.parametrize("name", ["west/w", "route/way", "route/around"])
def test_a_models_own_policy_forbids_however_it_is_asked_for(
    name: str, policy: Policy, error: type[Exception]
) -> None:
    route = Route(name="way", targets=(RouteTarget(model="west/w"),))
    around = Route(name="around", targets=(RouteTarget(model="route/way"),))
    routes = {"route/way": route, "route/around": around}
    state = catalog.snapshot(model("west/w", policy=policy), endpoints=(FAR,), routes=routes)
    with pytest.raises(error):
        plan(name, state, request=chat())


def test_countries_of_all_policies_are_those_that_all_name() -> None:
    outer = Policy(countries=("RU", "US"))
    assert len(plan("route/outer", nested(Policy(), outer)).targets) == 2
    assert names(plan("route/outer", nested(Policy(countries=("US", "DE")), outer))) == ["e3 w"]
    state = nested(Policy(countries=("DE",)), outer)
    with pytest.raises(Forbidden, match="policies allow") as refused:
        plan("route/outer", state)
    assert refused.value.code == "country_not_allowed"


def test_the_outermost_policy_alone_says_how() -> None:
    inner = Policy(strategy="round_robin", max_attempts=9, cache=Cache(ttl=5))
    made = plan("route/outer", nested(inner, Policy(max_attempts=2)))
    assert (made.policy.strategy, made.policy.max_attempts, made.policy.cache) == (
        *("priority", 2),
        None,
    )


def test_borders_of_the_first_choice_hold_for_what_stands_behind_it() -> None:
    first = model("north/m", RUB, policy=Policy(borders="country"))
    targets = (RouteTarget(model="north/m"), RouteTarget(model="west/w", priority=1))
    state = catalog.snapshot(
        *(first, model("west/w", DEAR)),
        endpoints=BOTH,
        routes={"route/bot": Route(name="bot", targets=targets)},
    )
    assert names(plan("route/bot", state)) == ["e1 m"]


def test_a_canary_is_held_by_what_holds_the_version_it_stands_for() -> None:
    rc = Version(label="2", upstream="rc", channel="rc")
    latest = Version(label="1", upstream="m", channel="latest")
    held = catalog.model("north/m", latest, rc, policy=Policy(borders="country"))
    targets = (RouteTarget(model="north/m"), RouteTarget(model="west/w", priority=1))
    state = catalog.snapshot(
        *(held, model("west/w")),
        endpoints=BOTH,
        routes={"route/bot": Route(name="bot", targets=targets)},
        canaries={"north/m": Canary(label="2", share=1.0)},
    )
    assert names(plan("route/bot", state)) == ["e1 rc", "e1 m"]


@pytest.mark.parametrize(
    "policy,price,tried",
    [
        (Policy(), DEAR, True),
        (Policy(max_price=10**9), DEAR, False),
        (Policy(max_price=10**9), None, False),
        (Policy(max_price=10**9), RUB, True),
        (Policy(require_price=True), None, False),
        (Policy(require_price=True), DEAR, True),
    ],
)
@pytest.mark.parametrize("name", ["north/m", "route/bot"])
def test_a_canarys_own_price_is_held_to_what_is_allowed(
    name: str, policy: Policy, price: Price | None, *, tried: bool
) -> None:
    rc = Version(label="2", upstream="rc", channel="rc", price=price)
    latest = Version(label="1", upstream="m", channel="latest", price=RUB)
    held = catalog.model("north/m", latest, rc, policy=structs.replace(policy, versions=()))
    bot = Route(name="bot", targets=(RouteTarget(model="north/m"),))
    state = catalog.snapshot(
        held,
        endpoints=BOTH,
        routes={bot.model_id: bot},
        canaries={"north/m": Canary(label="2", share=1.0)},
    )
    request = chat("x" * 4000)
    made = plan(name, state, request=request)
    assert names(made) == (["e1 rc", "e1 m"] if tried else ["e1 m"])
    assert made.reason == ("canary 2" if tried else "priority")
    if policy == Policy() and price is not None:
        capped = plan(name, state, request=request, headers={b"x-xrouter-max-price": b"1"})
        assert names(capped) == ["e1 m"]


def test_a_group_of_an_inner_route_is_asked_for_behind_an_open_one() -> None:
    state = nested(Policy(), access_group="lab")
    insider = Principal(key_id="k2", name="two", groups=("lab",))
    for name in (INNER, "route/outer"):
        with pytest.raises(ModelNotFound):
            plan(name, state)
        assert len(plan(name, state, who=insider).targets) == 2

    def listed(who: Principal) -> set[str]:
        return {each.model_id for each in available(state, who)}

    assert not listed(WHO) & {INNER, "route/outer"}
    assert {INNER, "route/outer"} <= listed(insider)
    policy = Policy(on_refusal=(INNER,))
    chained_to = structs.replace(
        state, models={**state.models, "north/n": model("north/n", policy=policy)}
    )
    assert chains(plan("north/n", chained_to)) == [[], []]
    assert chains(plan("north/n", chained_to, who=insider)) == [[], ["e1", "e3"]]


def test_explain_says_what_forbids() -> None:
    source, board = MemorySnapshots(), Board()
    source.replace(nested(Policy(countries=("RU",))))
    told = FlowExplainer(source, Router(board), board).explain("route/outer", b"", None, {})
    assert [(each.endpoint, each.place) for each in told.targets] == [("e1", 1), ("e3", None)]
    assert "policies allow" in str(told.targets[1].why)


# -- through the whole pipeline


def use(rig: Rig, policy: Policy) -> None:
    """Yandex in Russia, OpenAI in the States; a route to the first alone, by the policy."""
    rig.use(standby=False)
    route = Route(name="bot", targets=(RouteTarget(model=YANDEX),), policy=policy)
    current = rig.snapshots.current
    placed = {
        name: tuple(structs.replace(each, country=country) for each in current.endpoints[name])
        for name, country in (("yandex", "RU"), ("openai", "US"))
    }
    rig.snapshots.replace(structs.replace(current, endpoints=placed, routes={"route/bot": route}))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "countries,headers", [((), ONLY_HERE), (("RU",), {}), ((), {})], ids=["header", "policy", "-"]
)
async def test_a_refused_request_stays_in_the_country(
    rig: Rig, countries: tuple[str, ...], headers: dict[bytes, bytes], stream: bool
) -> None:
    use(rig, Policy(countries=countries, on_refusal=(OPENAI,)))
    reply = await rig.chat("route/bot", "[[filter]] x", stream=stream, headers=headers)
    bound = bool(countries or headers)
    assert (reply.served is not None and reply.served.provider == "openai") != bound
    assert bool(rig.asked(rig.first, "chat/completions")) != bound


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_kept_from_elsewhere_is_none_for_who_may_not_go_there(
    rig: Rig, stream: bool
) -> None:
    use(rig, Policy(on_refusal=(OPENAI,), cache=Cache(ttl=60)))

    async def asked(headers: dict[bytes, bytes]) -> tuple[str, bool]:
        reply = await rig.chat("route/bot", "[[filter]] x", stream=stream, headers=headers)
        if reply.served is None:
            return "", False
        return reply.served.provider, reply.served.cached

    assert await asked({}) == ("openai", False)
    assert await asked({}) == ("openai", True)
    assert await asked(ONLY_HERE) == ("yandex", False)
    assert await asked({}) == ("openai", True)


async def test_an_answer_kept_from_what_the_caller_may_not_use_is_none_for_them(rig: Rig) -> None:
    rig.use(standby=False, policy=Policy(on_refusal=(OPENAI,), cache=Cache(ttl=60)))

    async def asked() -> tuple[str, bool]:
        served = (await rig.chat(YANDEX, "[[filter]] x")).served
        return ("", False) if served is None else (served.provider, served.cached)

    assert [await asked(), await asked()] == [("openai", False), ("openai", True)]
    current = rig.snapshots.current
    gated = structs.replace(current.models[OPENAI], access_group="lab")
    rig.snapshots.replace(structs.replace(current, models={**current.models, OPENAI: gated}))
    assert await asked() == ("yandex", False)
