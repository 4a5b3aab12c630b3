"""Limits by the command line."""

from __future__ import annotations

from tests.cli.harness import Place


def test_a_limit_lives_and_dies(place: Place) -> None:
    run = place.out
    assert "limits add" in run("limits", "list")
    told = run("limits", "add", "project:demo", "money", "150.5", "--per", "month")
    assert told == "Limit 1: project:demo: 150.5 rubles a month.\n"
    told = run("limits", "add", "key:*", "running", "4", "--model", "a/b", "--warn-at", "80")
    assert told == "Limit 2: key:* at a/b: 4 calls at a time.\n"
    _, err = place.run("limits", "add", "project:typo", "requests", "4")
    assert "There is no project:typo" in err
    place.out("limits", "remove", "3")
    _, err = place.run("limits", "add", "key:*", "running", "4", "--per", "day", code=1)
    assert "'window' must be 'now' for 'running' and 'streams', and for no other" in err
    told = run("limits", "add", "project:demo", "streams", "10")
    assert told == "Limit 3: project:demo: 10 streams at a time.\n"
    place.out("limits", "remove", "3")
    rows = place.json("limits", "list")
    assert [(row["window"], row["amount"]) for row in rows] == [("month", "150.5"), ("now", 4)]
    assert [row["id"] for row in place.json("limits", "list", "--subject", "key:*")] == [2]
    assert "Europe/Moscow" in run("limits", "list")
    told = run("limits", "set", "1", "--amount", "20", "--time-zone", "Asia/Omsk", "--disable")
    assert told == "Limit 1: project:demo: 20 rubles a month, switched off.\n"
    told = run("limits", "set", "2", "--amount", "5", "--warn-at", "90", "--enable")
    assert told == "Limit 2: key:* at a/b: 5 calls at a time.\n"
    made = place.json(
        "limits", "add", "user:*", "tokens", "9", "--per", "total", "--time-zone", "UTC"
    )
    assert (made["time_zone"], made["window"]) == ("UTC", "total")
    assert "removed" in run("limits", "remove", "1")
    assert len(place.json("limits", "list")) == 2


def test_mistakes_are_told(place: Place) -> None:
    _, err = place.run("limits", "add", "key:*", "requests", "many", code=1)
    assert "whole number" in err
    _, err = place.run("limits", "add", "key:*", "money", "1,5", code=1)
    assert "rubles, like 150.50" in err
    _, err = place.run("limits", "add", "nobody:*", "requests", "5", code=1)
    assert "'subject' must be one of" in err
    place.out("limits", "add", "key:*", "requests", "5")
    _, err = place.run("limits", "set", "1", code=1)
    assert "nothing to change" in err
    place.run("limits", "state", "1", code=1)
