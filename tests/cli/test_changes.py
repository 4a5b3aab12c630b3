"""Single endpoints, versions and policies by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.harness import Place
from tests.e2e.harness import SandboxProcess

WHERE = "openai", "spare"


@pytest.fixture
def place(tmp_path: Path, sandbox: SandboxProcess) -> Place:
    """An empty router that does not run."""
    return Place(tmp_path / "var", sandbox, None)


def _endpoint(place: Place, name: str) -> dict[str, Any]:
    (provider,) = place.json("providers", "list")
    found: dict[str, Any] = next(e for e in provider["endpoints"] if e["name"] == name)
    return found


def test_an_endpoint_lives_and_dies(place: Place) -> None:
    place.add_openai()
    url = place.sandbox.environment["OPENAI_BASE_URL"]
    more = "--timeout", "first_token=5", "--max-running", "4", "--country", "RU"
    secret = "--credential", "api_key=sk-sandbox"
    told = place.out("providers", "endpoint", "add", *WHERE, "--base-url", url, *secret, *more)
    assert told == "openai has the further endpoint spare, priority 1.\n"
    change = "providers", "endpoint", "set", *WHERE
    place.run(*change, "--timeout", "connect=1", "--option", "project=p", "--priority", "7")
    found = _endpoint(place, "spare")
    assert found["timeouts"] == {"first_token": 5.0, "connect": 1.0}
    assert (found["options"], found["priority"]) == ({"project": "p"}, 7)
    assert (found["max_running"], found["country"], found["is_enabled"]) == (4, "RU", True)
    given = "--credential", "api_key=-", "--max-running", "0", "--country", "-", "--disable"
    place.out(*change, *given, given="sk-sandbox-2\n")
    found = _endpoint(place, "spare")
    assert found["credential_fields"] == ["api_key"]
    assert (found["max_running"], found["country"], found["is_enabled"]) == (None, None, False)
    assert place.out("providers", "endpoint", "remove", *WHERE) == "openai/spare is removed.\n"
    (provider,) = place.json("providers", "list")
    assert [each["name"] for each in provider["endpoints"]] == ["primary"]


def test_a_provider_is_changed(place: Place) -> None:
    place.add_openai()
    given = "--country", "US", "--display-name", "Open", "--policy", '{"max_attempts": 2}'
    assert place.out("providers", "set", "openai", *given) == "openai is changed.\n"
    (provider,) = place.json("providers", "list")
    assert (provider["country"], provider["display_name"]) == ("US", "Open")
    assert provider["settings"]["policy"]["max_attempts"] == 2


def test_a_model_gets_a_version_and_a_policy(place: Place) -> None:
    place.add_openai()
    model = "openai/own"
    place.run("models", "add", model, "--upstream", "gpt-4o-mini")
    place.run("models", "version", "add", model, "next", "--upstream", "gpt-4o")
    assert "planned" in place.out("releases", "plan", model, "next", "--dry-run")
    place.run("models", "set", model, "--policy", '{"max_attempts": 2}', "--group", "lab")
    policy = '{"strategy": "latency", "max_attempts": null}'
    place.run("models", "set", model, "--policy", policy, "--context-length", "1000")
    found = next(each for each in place.json("models", "list") if each["model_id"] == model)
    assert [each["label"] for each in found["versions"]] == ["latest", "next"]
    assert found["policy"]["strategy"] == "latency"
    assert found["policy"].get("max_attempts") in (None, 3)
    assert (found["access_group"], found["context_length"]) == ("lab", 1000)
    assert place.out("models", "version", "remove", model, "next") == f"{model}:next is removed.\n"
    assert "It has: latest." in place.refused("models", "version", "remove", model, "next")


def test_a_route_is_changed(place: Place) -> None:
    place.add_openai()
    place.run("routes", "add", "bot", "openai/gpt-4o", "--alias", "auto")
    place.run("routes", "set", "bot", "--policy", '{"patience": {"first_token": 5}}')
    rules = '{"strategy": "rules", "options": {"rules": [{"models": ["openai/gpt-4o-*"]}]}}'
    targets = "--target", "openai/gpt-4o", "--target", "openai/gpt-4o-mini=2"
    assert place.out("routes", "set", "bot", "--policy", rules, *targets) == (
        "route/bot is changed.\n"
    )
    found = json.loads(place.out("routes", "show", "bot"))
    assert found["policy"]["patience"]["first_token"] == 5
    assert found["policy"]["strategy"] == "rules"
    assert [each["priority"] for each in found["targets"]] == [0, 0]
    assert found["aliases"] == ["auto"]


def test_mistakes_are_told(place: Place) -> None:
    place.add_openai()
    place.run("routes", "add", "bot", "openai/gpt-4o")
    assert "has no endpoint none" in place.refused(
        "providers", "endpoint", "set", "openai", "none", "--timeout", "idle=1"
    )
    for command in (
        ("providers", "set", "openai"),
        ("providers", "endpoint", "set", "openai", "primary"),
        ("models", "set", "openai/gpt-4o"),
        ("routes", "set", "bot"),
    ):
        assert "nothing to change" in place.refused(*command)
    assert "is not JSON" in place.refused("routes", "set", "bot", "--policy", "{")
    assert "JSON object" in place.refused("models", "set", "openai/gpt-4o", "--policy", "[]")
    change = "providers", "endpoint", "set", "openai", "primary"
    assert "no number" in place.refused(*change, "--timeout", "idle=soon")
    assert "nothing" not in place.refused(*change, "--timeout", "idle")


def test_prices_and_rates_by_hand(place: Place) -> None:
    place.add_openai()
    given = (
        "--input",
        "0.15",
        "--output",
        "0.6",
        "--currency",
        "USD",
        "--source",
        "list of 2026-11-01",
    )
    told = place.out("prices", "add", "openai/gpt-4o-mini", *given)
    assert told.startswith("Price 1: openai/gpt-4o-mini, from ")
    (price,) = place.json("prices", "list")
    assert (price["input"], price["output"], price["currency"]) == ("0.15", "0.6", "USD")
    assert place.out("rates", "set", "USD", "92.5", "--day", "2026-11-20") == (
        "USD is 92.5 rubles on 2026-11-20.\n"
    )
    (rate,) = place.json("rates", "list")
    assert (rate["currency"], rate["rubles"], rate["day"]) == ("USD", "92.5", "2026-11-20")
    place.run("prices", "add", "openai/gpt-4o-mini", *given, "--since", "2099-01-01T00:00:00Z")
    assert place.out("prices", "remove", "2") == "Price 2 is removed.\n"
    assert len(place.json("prices", "list")) == 1
    kinds = ("--reasoning", "3", "--cache-write", "4", "--image", "5", "--request", "6")
    place.out("prices", "add", "openai/gpt-4o-mini", *given, *kinds, "--deferred")
    later = place.json("prices", "list")[0]
    assert [later[each] for each in ("reasoning", "cache_write", "image", "request", "mode")] == [
        "3", "4", "5", "6", "deferred",
    ]  # fmt: skip
