"""What callers think of answers moves the strategy `quality`, and nothing else."""

from __future__ import annotations

import pytest
from tests.flow.catalog import endpoint, model, snapshot

from xrouter.domain.bounds import Bounds
from xrouter.domain.catalog import Version
from xrouter.domain.errors import InvalidRequest, ModelNotFound, XRouterError
from xrouter.domain.feedback import Feedback
from xrouter.domain.identity import Principal
from xrouter.domain.routes import Policy, Route, RouteTarget
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.route import Router
from xrouter.flow.standing import LEAST_OPINIONS

WHO = Principal(key_id="k1", name="one")
RC = Version(label="5.1", upstream="m-rc", channel="rc")
LATEST = Version(label="5", upstream="m", channel="latest")
ROUTE = Route(
    name="best",
    policy=Policy(strategy="quality", options={"explore": 0}),
    targets=(RouteTarget(model="north/m"), RouteTarget(model="west/w")),
)
STATE = snapshot(
    model("north/m", LATEST, RC),
    model("west/w"),
    endpoints=(endpoint(1, "north", 0), endpoint(2, "north", 1), endpoint(3, "west", 0)),
    routes={"best": ROUTE, "route/best": ROUTE},
)


def feedback(score: float, **more: str) -> Feedback:
    said = {"model": "north/m", "version": "5", "provider": "north"} | more
    return Feedback(score=score, **said)


def callers(name: str, count: int) -> list[Principal]:
    return [Principal(key_id=f"{name}{number}", name="one") for number in range(count)]


def first(router: Router) -> str:
    made = router.plan("best", ("chat",), Ask(WHO, None, None, STATE.rates), STATE)
    return made.targets[0].model.model_id


def test_what_is_scored_badly_stands_behind() -> None:
    router = Router(Board())
    assert first(router) == "north/m"
    for who in callers("a", LEAST_OPINIONS):
        assert first(router) == "north/m"
        router.rate(feedback(0.2), who, STATE)
    assert first(router) == "west/w"
    for who in callers("b", 9):
        router.rate(feedback(1.0), who, STATE)
        router.rate(feedback(0.5, model="west/w", version="default", provider="west"), who, STATE)
    assert first(router) == "north/m"


def test_one_caller_moves_nobodys_traffic_at_a_stroke() -> None:
    router = Router(Board())
    for _ in range(100):
        router.rate(feedback(0.0), WHO, STATE)
    assert first(router) == "north/m"


def test_one_endpoint_or_all_of_them() -> None:
    board = Board()
    router = Router(board)
    ways = router.targets("north/m", ("chat",), STATE)
    router.rate(feedback(0.5, endpoint=ways[0].endpoint.name), WHO, STATE)
    assert [board.standing(t).opinion for t in ways] == [0.9, 1.0]
    for who in callers("a", LEAST_OPINIONS):
        router.rate(feedback(1.0), who, STATE)
    scores = [board.standing(t).score or 0.0 for t in ways]
    assert 0.9 < scores[0] < scores[1] == 1.0


@pytest.mark.parametrize(
    "said,kind,param",
    [
        ({"model": "north/none"}, ModelNotFound, "model"),
        ({"model": "route/best"}, InvalidRequest, "version"),
        ({"version": "6"}, InvalidRequest, "version"),
        ({"provider": "west"}, InvalidRequest, "provider"),
        ({"endpoint": "nowhere"}, InvalidRequest, "endpoint"),
    ],
)
def test_who_cannot_have_answered(
    said: dict[str, str], kind: type[XRouterError], param: str
) -> None:
    with pytest.raises(kind) as told:
        Router(Board()).rate(feedback(0.5, **said), WHO, STATE)
    assert told.value.param == param


def test_what_a_key_may_not_use_it_may_not_score() -> None:
    held = Principal(key_id="k2", name="two", bounds=Bounds(models=frozenset({"west/w"})))
    with pytest.raises(ModelNotFound):
        Router(Board()).rate(feedback(0.0), held, STATE)
