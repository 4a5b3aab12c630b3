"""Releases by the command line, with a server and without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.harness import Place

MODEL = "openai/two"
LATER = "2999-01-01T00:00:00Z"


@pytest.fixture
def model(place: Place, tmp_path: Path) -> str:
    place.add_openai()
    versions = [
        {"label": "v1", "upstream": "gpt-4o-mini", "channel": "latest"},
        {"label": "v2", "upstream": "gpt-4o", "channel": "rc"},
    ]
    file = tmp_path / "models.json"
    models = [{"model_id": MODEL, "provider": "openai", "versions": versions}]
    file.write_text(json.dumps({"models": models}))
    place.out("registry", "import", str(file))
    return MODEL


def test_a_release_is_planned_and_cancelled(place: Place, model: str) -> None:
    assert "releases plan" in place.out("releases", "list")
    given = "releases", "plan", model, "v2", "--at", LATER, "--canary", "0.1", "--max-errors", "0.2"
    told = place.out(*given, "--canary-from", "2998-01-01T00:00:00Z", "--dry-run")
    assert "versions[v2].channel: rc -> latest" in told
    assert place.json("releases", "list") == []
    made = place.json(*given, "--canary-from", "2998-01-01T00:00:00Z")
    assert made["canary"]["max_errors"] == 0.2
    number = str(made["id"])
    assert "planned" in place.out("releases", "show", number)
    assert "v2" in place.out("releases", "list")
    assert "planned" in place.refused("releases", "rollback", number)
    assert "cancelled" in place.out("releases", "cancel", number)
    assert place.json("releases", "list")[0]["status"] == "cancelled"


def test_builds_and_drift(place: Place, model: str) -> None:
    assert "No provider" in place.out("releases", "builds", "--model", model)
    assert "No name" in place.out("releases", "drift")


def test_refusals(place: Place, model: str) -> None:
    run = place.refused
    assert "--canary" in run("releases", "plan", model, "v2", "--max-errors", "0.1")
    assert "label" in run("releases", "plan", model, "v9")
    assert "There is no release 9" in run("releases", "show", "9")
    assert "There is no model" in run("releases", "plan", "openai/no", "v2")
