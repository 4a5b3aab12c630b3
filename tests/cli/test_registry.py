"""The whole catalog as a document, with a server and without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.harness import Place

MODEL = "openai/gpt-4o-mini"


@pytest.fixture
def exported(place: Place, tmp_path: Path) -> Path:
    """A file with the registry of a place that has one provider."""
    place.add_openai()
    file = tmp_path / "registry.json"
    assert str(file) in place.out("registry", "export", "-o", str(file))
    return file


def _changed(file: Path, **more: Any) -> None:
    document = json.loads(file.read_text())
    model = next(each for each in document["models"] if each["model_id"] == MODEL)
    model |= more
    file.write_text(json.dumps(document))


def test_export_import_and_the_way_back(place: Place, exported: Path) -> None:
    assert "sk-sandbox" not in exported.read_text()
    assert json.loads(place.out("registry", "export")) == json.loads(exported.read_text())
    assert '"sealed"' in place.out("registry", "export", "--sealed")
    assert "changed: 0" in place.out("registry", "import", str(exported))

    _changed(exported, display_name="Small")
    told = place.out("registry", "import", str(exported), "--dry-run")
    assert f"update model {MODEL}" in told
    assert '-> "Small"' in told
    assert "would change: 1" in told
    name = place.json("models", "list")
    assert "Small" not in {model["display_name"] for model in name}
    before = _revision(place)
    place.out("registry", "import", str(exported))
    assert "Small" in {model["display_name"] for model in place.json("models", "list")}
    said = place.out("registry", "changes", "--kind", "model", "--limit", "1")
    assert f"import model {MODEL}" in said

    place.run("registry", "restore", str(before), code=1, given="n\n")
    assert "Small" in str(place.json("models", "list"))
    done = place.json("registry", "restore", str(before), "--yes")
    assert [each["object"] for each in done["changed"]] == [MODEL]
    assert "Small" not in {model["display_name"] for model in place.json("models", "list")}


def _revision(place: Place) -> int:
    """Of the catalog now, as an import that changes nothing tells it."""
    document = place.out("registry", "export")
    done = json.loads(place.out("registry", "import", "-", "--json", given=document))
    revision: int = done["revision"]
    return revision


def test_a_litellm_configuration(place: Place, tmp_path: Path) -> None:
    url = place.sandbox.environment["OPENAI_BASE_URL"]
    params = {"api_key": "os.environ/MY_KEY", "api_base": url, "rpm": 5}
    config = {
        "model_list": [
            {"model_name": "fast", "litellm_params": {"model": "openai/gpt-4o-mini", **params}},
            {"model_name": "good", "litellm_params": {"model": "openai/gpt-4o", **params}},
        ],
        "router_settings": {"fallbacks": [{"fast": ["good"]}]},
    }
    file = tmp_path / "litellm.json"
    file.write_text(json.dumps(config))
    place.env["MY_KEY"] = "sk-sandbox-litellm"
    out, err = place.run("registry", "litellm", str(file), "--dry-run")
    assert "create route fast" in out
    assert "rpm" in err
    assert place.json("providers", "list") == []
    out, err = place.run("registry", "litellm", str(file))
    assert "sk-sandbox-litellm" not in out + err
    (provider,) = place.json("providers", "list")
    assert provider["endpoints"][0]["credential_fields"] == ["api_key"]
    routes = json.loads(place.out("registry", "export"))["routes"]
    assert {route["name"]: route["policy"] for route in routes} == {
        "fast": {"fallbacks": ["good"]},
        "good": {},
    }


def test_what_cannot_be_read(empty_place: Place, tmp_path: Path) -> None:
    run = empty_place.refused
    assert "could not be read" in run("registry", "import", str(tmp_path / "none.json"))
    file = tmp_path / "x.json"
    file.write_text("{")
    assert "not JSON" in run("registry", "import", str(file))
    file.write_text("{}")
    assert "model_list" in run("registry", "litellm", str(file))
    file.write_text('{"routes": [{"name": "a", "targets": [{"model": "no/thing"}]}]}')
    assert "routes[a].targets[0].model" in run("registry", "import", str(file))
    file.write_text("model_list: &all []\nrouter_settings: *all\n")
    assert "yq" in run("registry", "litellm", str(file))
    assert "could not be read" in run("registry", "litellm", "config.yaml")
    assert "revision" in run("registry", "restore", "999999999", "--yes")
