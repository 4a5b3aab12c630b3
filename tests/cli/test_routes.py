"""Routes by the command line, with a server and without one."""

from __future__ import annotations

import pytest
from tests.cli.harness import Place


@pytest.fixture
def routed(place: Place) -> Place:
    place.add_openai()
    for name in ("one", "two"):
        place.out("models", "add", f"openai/{name}")
    return place


def test_a_route_lives_and_dies(routed: Place) -> None:
    run = routed.out
    assert "routes add" in run("routes", "list")
    told = run("routes", "add", "route/bot", "openai/one", "openai/two", "--alias", "auto")
    assert told == "route/bot leads to openai/one, openai/two.\n"
    (row,) = routed.json("routes", "list")
    assert (row["strategy"], row["targets"]) == ("priority", ["openai/one", "openai/two"])
    table = run("routes", "list")
    assert "route/bot" in table
    assert "auto" in table
    assert '"priority": 1' in run("routes", "show", "bot")
    assert "switched off" in run("routes", "disable", "bot")
    assert not routed.json("routes", "list")[0]["is_enabled"]
    assert "available" in run("routes", "enable", "route/bot")
    assert "removed" in run("routes", "remove", "bot")
    assert routed.json("routes", "list") == []


def test_shares_and_policies(routed: Place) -> None:
    given = "routes", "add", "bot", "openai/one=3", "openai/two", "--strategy", "weighted"
    made = routed.json(*given, "--policy", '{"max_attempts": 2}')
    assert made["policy"] == {"strategy": "weighted", "max_attempts": 2}
    assert [(t["model"], t["weight"], t["priority"]) for t in made["targets"]] == [
        ("openai/one", 3, 0),
        ("openai/two", 1, 0),
    ]


def test_refusals(routed: Place) -> None:
    run = routed.refused
    assert "There is no route 'bot'" in run("routes", "show", "bot")
    assert "There is no route 'bot'" in run("routes", "remove", "bot")
    assert "there is no 'openai/no'" in run("routes", "add", "bot", "openai/no")
    assert "'luck'" in run("routes", "add", "bot", "openai/one", "--strategy", "luck")
    assert "not JSON" in run("routes", "add", "bot", "openai/one", "--policy", "{")
    assert "JSON object" in run("routes", "add", "bot", "openai/one", "--policy", "[1]")
    routed.out("routes", "add", "bot", "openai/one")
    assert "exists already" in run("routes", "add", "bot", "openai/one")
    in_use = run("models", "remove", "openai/one")
    assert "route/bot" in in_use
    assert "/control/v1/routes" in in_use


def test_where_a_request_would_go(routed: Place) -> None:
    routed.out("routes", "add", "bot", "openai/one", "openai/two")
    if routed.server is None:
        assert routed.refused("routes", "explain", "route/bot")
        return
    told = routed.json("routes", "explain", "route/bot", "--text", "Hi")
    assert [target["model"] for target in told["targets"]] == ["openai/one", "openai/two"]
    shown = routed.out("routes", "explain", "route/bot")
    assert "at most 3 attempts" in shown
    assert "no/such" in routed.refused("routes", "explain", "no/such")
