"""How the models are, said from the snapshot and the board, and since when."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.flow.catalog import endpoint, model, snapshot

from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.errors import NotReady, UpstreamFailed
from xrouter.domain.plan import Target
from xrouter.domain.routes import Route, RouteTarget
from xrouter.domain.snapshot import Snapshot
from xrouter.domain.status import ModelStatus
from xrouter.flow import watch
from xrouter.flow.board import IN_A_ROW, Board
from xrouter.flow.watch import Watch
from xrouter.stores.memory.snapshots import MemorySnapshots

START = 1_000_000.0
NEW = Version(label="2", upstream="new", channel="latest")
OLD = Version(label="1", upstream="old", channel="deprecated", status="deprecated")


class House:
    """A watch, its snapshot and its board, with a clock that is set by hand."""

    def __init__(self, *models: Model, endpoints: tuple[Endpoint, ...], **more: Any) -> None:
        self.time = START
        self.board = Board(lambda: self.time)
        self.snapshots = MemorySnapshots()
        self.watch = Watch(self.snapshots, self.board, lambda: self.time)
        self.put(snapshot(*models, endpoints=endpoints, **more))

    def put(self, snapshot: Snapshot) -> None:
        self.snapshots.replace(snapshot)

    def fail(self, model: Model, where: Endpoint, version: Version) -> None:
        target = Target(where, model, version)
        for _ in range(IN_A_ROW):
            self.board.failed(target, UpstreamFailed("x"))

    async def rows(self) -> dict[str, ModelStatus]:
        return {row.id: row for row in (await self.watch.look()).models}

    async def state(self, name: str = "a/x") -> str:
        return (await self.rows())[name].state


@pytest.mark.parametrize(
    "states, expected",
    [
        (("healthy",), "available"),
        (("degraded",), "degraded"),
        (("down",), "unavailable"),
        (("healthy", "down"), "degraded"),
        (("down", "down"), "unavailable"),
        ((), "unavailable"),
    ],
)
async def test_the_prober_s_word(states: tuple[str, ...], expected: str) -> None:
    made = tuple(endpoint(n, "a", state=state) for n, state in enumerate(states))
    house = House(model("a/x", NEW), endpoints=made)
    row = (await house.rows())["a/x"]
    assert row.state == expected
    assert row.channels == (() if expected == "unavailable" else ("latest",))


async def test_the_breaker_s_word_and_since_when() -> None:
    one, two = model("a/x", NEW), model("b/y", NEW)
    where = endpoint(1, "a")
    house = House(one, two, endpoints=(where, endpoint(2, "b")))
    assert (await house.rows())["a/x"].since is None, "nobody saw it come about"
    first = await house.watch.look()
    assert first.watched_since == START

    house.fail(one, where, NEW)
    assert await house.watch.look() is first, "for some seconds the same is said"
    house.time += watch.EVERY_S
    house.fail(one, where, NEW)
    rows = await house.rows()
    assert (rows["a/x"].state, rows["a/x"].channels) == ("unavailable", ())
    assert rows["a/x"].since == house.time
    assert rows["b/y"] == first.models[1], "others are not concerned"

    fell = house.time
    house.time += watch.EVERY_S
    row = (await house.rows())["a/x"]
    assert (row.state, row.since) == ("degraded", fell + watch.EVERY_S), "it may be tried again"
    house.board.answered(Target(where, one, NEW), 0.0, streamed=False)
    house.time += watch.EVERY_S
    row = (await house.rows())["a/x"]
    assert (row.state, row.since) == ("available", house.time)


async def test_a_new_snapshot_counts_at_once_and_keeps_what_was_before() -> None:
    house = House(model("a/x", NEW), model("a/z", NEW), endpoints=(endpoint(1, "a"),))
    before = await house.watch.look()
    house.time += 1
    off = replace(model("a/x", NEW), is_available=False)
    house.put(snapshot(off, model("a/z", NEW), model("a/n", NEW), endpoints=(endpoint(1, "a"),)))
    rows = await house.rows()
    assert [(name, row.state, row.since) for name, row in rows.items()] == [
        ("a/n", "available", house.time),
        ("a/x", "unavailable", house.time),
        ("a/z", "available", None),
    ]
    assert (await house.watch.look()).watched_since == before.watched_since


async def test_the_same_is_said_by_the_same_object() -> None:
    house = House(model("a/x", NEW), endpoints=(endpoint(1, "a"),))
    first = await house.watch.look()
    house.time += 100
    assert await house.watch.look() is first
    house.snapshots.mark_stale(stale=True)
    assert await house.watch.look() is first
    house.put(snapshot(model("a/x", NEW), endpoints=(endpoint(1, "a"),)))
    assert await house.watch.look() is first


async def test_a_stand_in_makes_a_model_degraded_and_its_channel_is_named() -> None:
    both, where = model("a/x", NEW, OLD), endpoint(1, "a")
    house = House(both, endpoints=(where,))
    assert (await house.rows())["a/x"].channels == ("latest", "deprecated")
    house.fail(both, where, NEW)
    house.time += watch.EVERY_S
    house.fail(both, where, NEW)
    row = (await house.rows())["a/x"]
    assert (row.state, row.channels) == ("degraded", ("deprecated",))


@pytest.mark.parametrize(
    "successor, told",
    [("a/y", "a/y"), ("a/y:latest", "a/y:latest"), ("route/r", "route/r"),
     ("a/secret", None), ("a/secret:latest", None), ("gone", None), (None, None)],
)  # fmt: skip
async def test_who_comes_after_a_deprecated_one(successor: str | None, told: str | None) -> None:
    old = replace(OLD, successor=successor, retires_at=START + 9.5)
    house = House(
        model("a/x", old),
        model("a/y", NEW),
        model("a/secret", NEW, access_group="lab"),
        endpoints=(endpoint(1, "a"),),
        routes={"route/r": Route(name="r", targets=(RouteTarget(model="a/y"),))},
    )
    row = (await house.rows())["a/x"]
    assert (row.state, row.successor, row.retires_at) == ("deprecated", told, START + 9)


async def test_what_is_retired_does_not_answer() -> None:
    gone = Version(label="1", upstream="o", channel="latest", status="retired", successor="a/y")
    house = House(
        model("a/x", gone, is_available=False), model("a/y", NEW), endpoints=(endpoint(1, "a"),)
    )
    row = (await house.rows())["a/x"]
    assert (row.state, row.successor, row.channels) == ("unavailable", "a/y", ())


async def test_what_is_not_for_everybody_is_not_there() -> None:
    lab = {"access_group": "lab"}
    routes = {
        "route/open": Route(
            name="open", targets=(RouteTarget(model="a/x"), RouteTarget(model="a/lab"))
        ),
        "route/hidden": Route(name="hidden", targets=(RouteTarget(model="a/lab"),)),
        "route/lab": Route(name="lab", targets=(RouteTarget(model="a/x"),), access_group="lab"),
        "route/off": Route(name="off", targets=(RouteTarget(model="a/x"),), is_enabled=False),
        "route/empty": Route(name="empty", targets=(RouteTarget(model="a/none"),)),
        "alias": Route(name="open", targets=(RouteTarget(model="a/x"),)),
    }
    house = House(
        model("a/x", NEW), model("a/lab", NEW, **lab), endpoints=(endpoint(1, "a"),), routes=routes
    )
    assert {name: row.state for name, row in (await house.rows()).items()} == {
        "a/x": "available",
        "route/empty": "unavailable",
        "route/off": "unavailable",
        "route/open": "available",
    }


async def test_a_route_is_as_its_targets_are() -> None:
    one, two = endpoint(1, "a"), endpoint(2, "b", state="down")
    target = RouteTarget(model="b/y", endpoint="e2")
    routes = {
        "route/both": Route(name="both", targets=(RouteTarget(model="a/x"), target)),
        "route/one": Route(name="one", targets=(target,)),
    }
    house = House(
        model("a/x", NEW),
        model("b/y", NEW),
        endpoints=(one, two, endpoint(3, "b")),
        routes=routes,
    )
    rows = await house.rows()
    assert rows["route/both"].state == "degraded"
    assert rows["route/one"].state == "unavailable", "it goes to one endpoint only"
    assert rows["b/y"].state == "degraded"


async def test_without_a_catalog_nothing_is_said() -> None:
    empty = Watch(MemorySnapshots(), Board())
    await empty.turn()
    with pytest.raises(NotReady):
        await empty.look()


async def test_what_its_list_has_no_more_is_told_and_answers() -> None:
    house = House(model("a/x", NEW, vanished=True), model("a/y"), endpoints=(endpoint(1, "a"),))
    found = await house.rows()
    assert (found["a/x"].state, found["a/x"].vanished) == ("available", True)
    assert not found["a/y"].vanished
