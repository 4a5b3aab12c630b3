"""Projects' own accounts in plans, without anybody who answers."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs
from tests.flow import catalog
from tests.flow.test_accounts import MINE, owned
from tests.flow.test_route import LATEST, OLD, RC, WHO, chat

from xrouter.domain.bounds import Bounds
from xrouter.domain.catalog import Endpoint, Price
from xrouter.domain.errors import (
    ModelUnavailable,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamRateLimited,
    UpstreamUnreachable,
)
from xrouter.domain.identity import KeyRecord
from xrouter.domain.plan import Plan, Target
from xrouter.domain.ports import Deferred
from xrouter.domain.routes import Canary, Policy, Route, RouteTarget
from xrouter.domain.snapshot import Snapshot
from xrouter.flow import board as boards
from xrouter.flow.accounts import worth_asking
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.explain import FlowExplainer
from xrouter.flow.resolve import left_with
from xrouter.flow.route import Router
from xrouter.stores.memory.snapshots import MemorySnapshots

NORTH, STANDBY = catalog.endpoint(1, "north", 0), catalog.endpoint(2, "north", 1)
WEST = catalog.endpoint(3, "west")
MODELS = (catalog.model("north/m", LATEST, RC), catalog.model("west/w"))


def state(*, is_only: bool = False, of: tuple[Endpoint, ...] = (NORTH,), **more: Any) -> Snapshot:
    accounts = {WHO.project: owned(of, project=WHO.project, is_only=is_only, api_key=MINE)}
    models = more.pop("models", MODELS)
    return catalog.snapshot(*models, endpoints=(NORTH, STANDBY, WEST), accounts=accounts, **more)


def planned(name: str, current: Snapshot, board: Board | None = None, **more: Any) -> Plan:
    ask = Ask(structs.replace(WHO, **more), chat(), None, {})
    return Router(board or Board()).plan(name, (), ask, current)


def places(targets: tuple[Target, ...]) -> list[str]:
    return [target.endpoint.name for target in targets]


@pytest.mark.parametrize("calm", [True, False])
def test_the_routers_account_stands_behind_the_projects(calm: bool) -> None:
    board = Board()
    if not calm:
        board.failed(Target(WEST, MODELS[1], MODELS[1].versions[0]), UpstreamDenied("no"))
    made = planned("north/m", state(), board)
    assert places(made.targets) == ["e1@own", "e1", "e2"]
    assert made.reason == "priority, own account first"
    made = planned("north/m", state(is_only=True, of=(NORTH, STANDBY)), board)
    assert places(made.targets) == ["e1@own", "e2@own"]
    assert made.reason == "priority, own account only"
    assert places(planned("west/w", state(), board).targets) == ["e3"]
    assert places(planned("north/m", state(), board, project="other").targets) == ["e1", "e2"]


def test_chains_for_what_is_not_answered_go_there_too() -> None:
    policy = Policy(on_overflow=("north/m",), on_refusal=("north/m",), fallbacks=("north/m",))
    west = catalog.model("west/w", policy=policy)
    only = state(is_only=True, of=(NORTH, STANDBY), models=(MODELS[0], west))
    made = planned("west/w", only)
    assert places(made.targets) == ["e3", "e1@own", "e2@own"]
    assert places(made.overflow) == places(made.refusal) == ["e1@own", "e2@own"]
    assert made.reason == "priority"


@pytest.mark.parametrize(
    "policy,headers",
    [(Policy(max_price=1), {}), (Policy(), {b"x-xrouter-max-price": b"0.001"})],
)
def test_the_routers_account_behind_an_own_one_is_held_to_the_price(
    policy: Policy, headers: dict[bytes, bytes]
) -> None:
    dear = structs.replace(LATEST, price=Price(currency="RUB", input=10**12, output=10**12))
    current = state(models=(catalog.model("north/m", dear, policy=policy), MODELS[1]))
    ask = Ask(WHO, chat("x" * 99), headers, {})
    made = Router(Board()).plan("north/m", (), ask, current)
    assert places(made.targets) == ["e1@own"]


def test_what_has_no_price_may_be_asked_on_an_own_account_alone() -> None:
    """For nothing is paid for it here."""
    priced = structs.replace(LATEST, price=Price(currency="RUB", input=1, output=1))
    for version, behind in ((LATEST, []), (priced, ["e1"])):
        model = catalog.model("north/m", version, policy=Policy(require_price=True))
        made = planned("north/m", state(models=(model,)))
        assert places(made.targets)[:2] == ["e1@own", *behind][:2]
        assert ("e2" in places(made.targets)) == bool(behind)
        with_chain = catalog.model(
            "west/w", priced, policy=Policy(require_price=True, on_overflow=("north/m",))
        )
        made = planned("west/w", state(models=(model, with_chain)))
        assert places(made.overflow)[:2] == ["e1@own", *behind][:2]


def test_canaries_and_lists_of_keys_know_them() -> None:
    trial = Canary(label="5.1", share=1.0, by="key")
    made = planned("north/m", state(canaries={"north/m": trial}))
    assert [(t.endpoint.name, t.version.label) for t in made.targets[:4]] == [
        ("e1@own", "5.1"),
        ("e1", "5.1"),
        ("e1@own", "5"),
        ("e1", "5"),
    ]
    route = Route(name="bot", targets=(RouteTarget(model="north/m"), RouteTarget(model="west/w")))
    bounds = Bounds(models=frozenset({"north/m"}))
    made = planned("north/m", state(routes={"route/bot": route}), bounds=bounds)
    assert places(made.targets) == ["e1@own", "e1", "e2"]


def test_its_trouble_is_its_own() -> None:
    current, board = state(), Board()
    mine, ours, _ = planned("north/m", current).targets
    board.failed(mine, UpstreamDenied("no"))
    assert board.holds(mine)
    assert board.state(mine) == "open"
    assert (board.calm, board.holds(ours)) == (True, False)
    assert places(planned("north/m", current, board).targets) == ["e1", "e2", "e1@own"]
    board.failed(ours, UpstreamDenied("no"))
    board.answered(mine, -1.0, streamed=False)
    assert not board.holds(mine)
    assert board.holds(ours)
    assert places(planned("north/m", current, board).targets) == ["e1@own", "e2", "e1"]


def test_what_is_held_back_of_them_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "_MAX_OWN_HELD", 3)
    board, version = Board(), MODELS[1].versions[0]
    made = [
        Target(owned((WEST,), api_key=str(number))[WEST.id], MODELS[1], version)
        for number in range(5)
    ]
    for target in made:
        board.failed(target, UpstreamRateLimited("slow", retry_after=10.0))
    assert [board.holds(target) for target in made] == [False, False, True, True, True]


def test_a_failure_of_all_versions_spares_the_routers_account_for_all_of_them() -> None:
    current = state()
    mine = planned("north/m", current).targets[0]
    older = Target(NORTH, MODELS[0], OLD)
    ahead = [Target(NORTH, MODELS[0], mine.version), older, Target(STANDBY, MODELS[0], OLD)]
    assert list(worth_asking(ahead, mine, UpstreamFailed("broken"))) == ahead[1:]
    assert list(worth_asking(ahead, mine, UpstreamUnreachable("gone"))) == ahead[2:]
    assert list(worth_asking(ahead, mine, UpstreamRateLimited("slow"))) == ahead


def test_explain_tells_them() -> None:
    source, board = MemorySnapshots(), Board()
    record = KeyRecord(mac=b"m", principal=WHO)
    source.replace(structs.replace(state(is_only=True), keys={b"m": record}))
    explainer = FlowExplainer(source, Router(board), board)
    told = explainer.explain("north/m", b"", WHO.key_id, {})
    assert told.reason == "priority, own account only"
    assert [(each.place, each.endpoint) for each in told.targets] == [(1, "e1@own"), (2, "e2")]
    nobody = explainer.explain("north/m", b"", None, {})
    assert [each.endpoint for each in nobody.targets] == ["e1", "e2"]


def test_an_account_that_is_gone_answers_nothing_more() -> None:
    current = state()
    mine = planned("north/m", current).targets[0]
    deferred = Deferred("ref", "north/m", "5", "north", mine.endpoint.name, WHO, 0.0)
    assert left_with(deferred, current).endpoint is mine.endpoint
    with pytest.raises(ModelUnavailable):
        left_with(deferred, structs.replace(current, accounts={}))
