from __future__ import annotations

import msgspec
from tests.flow.catalog import endpoint, model, snapshot

from xrouter.domain.abilities import Abilities
from xrouter.domain.catalog import Price, Version
from xrouter.domain.errors import UpstreamDenied
from xrouter.domain.identity import KeyRecord, Principal
from xrouter.domain.plan import Target
from xrouter.domain.routes import Cache, Policy, Route, RouteTarget
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.explain import FlowExplainer
from xrouter.flow.route import Router
from xrouter.stores.memory.snapshots import MemorySnapshots

CHEAP = Version(label="1", upstream="a", price=Price(currency="RUB", input=10**9, output=10**9))
PLAIN = Version(label="1", upstream="b")
HERE, THERE = endpoint(1, "north", country="RU"), endpoint(2, "west", country="US")
INSIDER = Principal(key_id="k1", name="one", groups=("lab",))
STATE = snapshot(
    model("north/a", CHEAP),
    model("north/b", PLAIN, abilities=Abilities(features={"tools": "refused"})),
    model("west/c", PLAIN),
    model("west/d", PLAIN, access_group="lab"),
    endpoints=(HERE, THERE),
    routes={
        "route/bot": Route(
            name="bot",
            targets=tuple(RouteTarget(model=m) for m in ("north/a", "north/b", "west/c", "west/d")),
            policy=Policy(cache=Cache(ttl=5)),
        )
    },
)
TOOLS = msgspec.json.encode(
    {
        "model": "x",
        "messages": [{"role": "user", "content": "hiya"}],
        "max_tokens": 1000,
        "tools": [{"type": "function"}],
    }
)


def explainer(board: Board | None = None) -> FlowExplainer:
    source = MemorySnapshots()
    keys = {b"m": KeyRecord(mac=b"m", principal=INSIDER)}
    source.replace(msgspec.structs.replace(STATE, keys=keys))
    board = board or Board()
    return FlowExplainer(source, Router(board), board)


def test_every_target_has_its_place_or_a_reason_for_having_none() -> None:
    told = explainer().explain("route/bot", TOOLS, None, {"X-XRouter-Countries": "RU"})
    assert (told.route, told.strategy, told.cached_s) == ("bot", "priority", 5)
    found = {each.model: (each.place, each.why) for each in told.targets}
    assert found["north/a"] == (1, None)
    assert "does not support 'tools'" in str(found["north/b"][1])
    assert "answers from RU" in str(found["west/c"][1])
    assert found["west/d"] == (None, "the key is not in the group 'lab'")
    assert told.targets[0].price == 1001 * 10**3


def test_a_key_and_its_groups_count() -> None:
    told = explainer().explain("route/bot", b"", "k1", {})
    assert [each.place for each in told.targets] == [1, 2, 3, 4]
    refused = explainer().explain("route/bot", b"", "k2", {}).error
    assert refused is not None
    assert "no API key 'k2'" in str(refused["message"])


def test_the_health_of_this_process_is_told() -> None:
    board = Board()
    board.failed(Target(HERE, STATE.models["north/a"], CHEAP), UpstreamDenied("no"))
    told = explainer(board).explain("route/bot", b"", None, {})
    assert told.targets[0].model == "west/c"
    assert {each.breaker for each in told.targets if each.provider == "north"} == {"open"}


def test_an_error_is_told_not_raised() -> None:
    told = explainer().explain("no/such", b"", None, {})
    assert told.error is not None
    assert told.error["code"] == "model_not_found"
    told = explainer().explain("north/a", b"{", None, {})
    assert told.error is not None
    assert "cannot be read" in str(told.error["message"])


def test_looking_takes_no_turn() -> None:
    turns = Policy(strategy="round_robin")
    pair = tuple(RouteTarget(model=name) for name in ("north/a", "west/c"))
    source, board = MemorySnapshots(), Board()
    routes = {"route/turns": Route(name="turns", targets=pair, policy=turns)}
    source.replace(msgspec.structs.replace(STATE, routes=routes))
    router = Router(board)
    looks = FlowExplainer(source, router, board)

    def looked() -> str:
        return looks.explain("route/turns", b"", None, {}).targets[0].model

    def sent() -> str:
        plan = router.plan("route/turns", (), Ask(INSIDER), source.current)
        return plan.targets[0].model.model_id

    seen = [(looked(), looked(), sent()) for _ in range(4)]
    assert [turn[2] for turn in seen] in (["north/a", "west/c"] * 2, ["west/c", "north/a"] * 2)
    assert all(first == second == taken for first, second, taken in seen)
