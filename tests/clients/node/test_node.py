"""The official Node client against XRouter: each check of `suite.mjs` is a test of its own."""

from __future__ import annotations

import json

import pytest
from tests.clients.node import suites
from tests.clients.node.install import HERE
from tests.clients.served import Product
from tests.clients.upstreams import ALL, YANDEX_OPEN

SUITE = "suite.mjs"
ASKED = [one for one in ALL if one is not YANDEX_OPEN]
NAMES = suites.names(SUITE, ASKED)

pytestmark = pytest.mark.timeout(suites.PATIENCE_S)


@pytest.fixture(scope="module")
def results(product: Product, key: str, tmp_path_factory: pytest.TempPathFactory) -> suites.Results:
    """The suite runs once."""
    return suites.run(SUITE, ASKED, product, key, tmp_path_factory.mktemp("node"))


@pytest.mark.parametrize("name", NAMES)
def test_node(results: suites.Results, name: str) -> None:
    result = results[name]
    assert result["ok"], result["error"]


def test_nothing_ran_unseen(results: suites.Results) -> None:
    """Every check of the suite is a test above, and each simulator is asked."""
    assert list(results) != []
    assert results.keys() == set(NAMES)
    assert {one.simulator for one in ASKED} == {one.simulator for one in ALL}


def test_the_lock_pins_everything_and_names_no_place() -> None:
    lock = json.loads((HERE / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert "node_modules/openai" in packages
    for entry in packages.values():
        assert entry["integrity"].startswith("sha512-")
        assert "resolved" not in entry
    wanted = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    for name, version in wanted.items():
        assert packages[f"node_modules/{name}"]["version"] == version
    for file in ("package.json", "package-lock.json"):
        assert "://" not in (HERE / file).read_text(encoding="utf-8")
