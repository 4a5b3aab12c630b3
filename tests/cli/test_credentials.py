"""Projects' own credentials by the command line."""

from __future__ import annotations

from tests.cli.harness import Place

SECRET = "sk-sandbox-of-the-tenant"


def test_a_credential_lives_and_dies(place: Place) -> None:
    place.add_openai()
    where = "default", "openai"
    assert "on the router's account" in place.out("credentials", "list", "default")
    told = place.out("credentials", "set", *where, given=SECRET + "\n")
    assert told == "default asks openai on its own account (...nant) first.\n"
    told = place.out("credentials", "set", *where, "--only", "--keep")
    assert told == "default asks openai on its own account (...nant), and on no other.\n"
    both = '{"api_key": "short", "project": "proj_1"}'
    told = place.out("credentials", "set", *where, "--disable", given=both)
    assert told == "default asks openai on the router's account: its own is switched off.\n"
    rows = place.json("credentials", "list", "default")
    assert [(row["fields"], row["last4"]) for row in rows] == [(["api_key", "project"], "")]
    assert "sk-sandbox" not in place.out("credentials", "list", "default")
    assert "router's account" in place.out("credentials", "remove", *where)
    assert place.json("credentials", "list", "default") == []


def test_mistakes_are_told(place: Place) -> None:
    place.add_openai()
    where = "default", "openai"
    assert "no secret" in place.refused("credentials", "set", *where, given="")
    assert "JSON" in place.refused("credentials", "set", *where, given="{oops")
    told = place.refused("credentials", "set", *where, "--name", "token", given=SECRET)
    assert "no credential 'token'" in told
    assert SECRET not in told
    assert "no provider" in place.refused("credentials", "set", "default", "none", given=SECRET)
    assert "no project" in place.refused("credentials", "list", "none")
    place.run("credentials", "set", *where, SECRET, code=2)
    place.refused("credentials", "remove", *where)
