"""The official Node client against XRouter: each check of `suite.mjs` is a test of its own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.clients.node.install import HERE, INSTALL_S, NODE, modules
from tests.clients.served import Product
from tests.clients.upstreams import ALL, GIGACHAT, LLAMACPP, OPENAI, YANDEX

SUITE = HERE / "suite.mjs"
RUN_S = 100.0
ASKED = (GIGACHAT, YANDEX, OPENAI, LLAMACPP)

Results = dict[str, dict[str, Any]]

pytestmark = pytest.mark.timeout(INSTALL_S + RUN_S + 30)


def names() -> list[str]:
    """The names of the checks, as `runner.mjs` prints them."""
    found = re.findall(r'^(check|each)\("([^"]+)"', SUITE.read_text(encoding="utf-8"), re.MULTILINE)
    alone = [name for kind, name in found if kind == "check"]
    return alone + [
        f"{name} | {one.model}" for kind, name in found if kind == "each" for one in ASKED
    ]


@pytest.fixture(scope="module")
def results(product: Product, key: str, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The suite runs once; modules are found beside the file that imports them."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "node_modules").symlink_to(modules())
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, folder)
    told = {
        "baseURL": f"{product.url}/v1",
        "key": key,
        "origin": product.sandbox.origin,
        "upstreams": [msgspec.to_builtins(one) for one in ASKED],
    }
    done = subprocess.run(
        [NODE, "suite.mjs"],
        cwd=folder,
        env={"XROUTER_CLIENTS": json.dumps(told), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
    )
    assert done.returncode == 0, f"the suite broke off:\n{done.stdout}{done.stderr}"
    assert done.stderr == ""
    return {one["name"]: one for one in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", names())
def test_node(results: Results, name: str) -> None:
    result = results[name]
    assert result["ok"], result["error"]


def test_nothing_ran_unseen(results: Results) -> None:
    """Every check of the suite is a test above, and each simulator is asked."""
    assert list(results) != []
    assert results.keys() == set(names())
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
        assert "://" not in (Path(HERE) / file).read_text(encoding="utf-8")
