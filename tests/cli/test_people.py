"""People, organisations and projects by the command line, with a server and without one."""

from __future__ import annotations

from tests.cli.harness import Place


def test_people(place: Place) -> None:
    assert "no users yet" in place.out("users", "list")
    first, second = place.out("users", "setup"), place.out("users", "setup")
    assert first.startswith("/control/setup#")
    assert first != second
    made = place.json("users", "add", "Dev@A.test", "--name", "Dev")
    assert made["link"]["page"].startswith("/control/reset#")
    assert "set up already" in place.refused("users", "setup")
    assert "is a user" in place.refused("users", "add", "dev@a.test")
    (row,) = place.json("users", "list")
    assert (row["email"], row["name"], row["is_operator"]) == ("dev@a.test", "Dev", False)
    assert place.out("users", "reset", "DEV@a.test").startswith("/control/reset#")
    assert "switched off" in place.out("users", "disable", row["user_id"])
    assert "switched off" in place.refused("users", "reset", "dev@a.test")
    assert "switched on" in place.out("users", "enable", "dev@a.test")
    assert "There is no user" in place.refused("users", "reset", "x@a.test")


def test_organizations_and_projects(place: Place) -> None:
    assert [row["slug"] for row in place.json("organizations", "list")] == ["default"]
    place.out("organizations", "add", "two", "--name", "Two")
    assert "exists already" in place.refused("organizations", "add", "two")
    what_it_pays(place)
    assert "no members yet" in place.out("organizations", "members", "two")
    link = place.out("organizations", "invite", "two", "a@b.test", "--role", "owner")
    assert link.startswith("/control/accept#")
    assert "role" in place.refused("organizations", "invite", "two", "a@b.test", "--role", "god")
    place.out("projects", "add", "bot", "--organization", "two")
    found = {row["slug"]: row["organization"] for row in place.json("projects", "list")}
    assert found == {"bot": "two", "default": "default"}
    assert "no organization 'no'" in place.refused("projects", "add", "x", "--organization", "no")


def what_it_pays(place: Place) -> None:
    change = ("organizations", "set", "two")
    place.out(*change, "--vat", "22", "--margin", "12.5", "--detail", "inn=77", "--detail", "kpp=1")
    (found,) = place.json(*change, "--detail", "kpp=", "--detail", "contract=No. 1")
    assert (found["vat"], found["margin"]) == (2200, 1250)
    assert found["details"] == {"inn": "77", "contract": "No. 1"}
    assert "12.5" in place.out("organizations", "list")
    (made,) = place.json("organizations", "add", "three", "--vat", "5", "--detail", "inn=78")
    assert (made["name"], made["vat"], made["details"]) == ("three", 500, {"inn": "78"})
    assert "nothing to change" in place.refused(*change)
    assert "no percentage" in place.refused(*change, "--vat", "a lot")
