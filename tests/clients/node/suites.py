"""Suites for Node: a file of checks, run as a whole; each check's result is a test of its own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from tests.clients.node.install import HERE, INSTALL_S, NODE, modules
from tests.clients.served import Product
from tests.clients.upstreams import Upstream

RUN_S = 100.0
PATIENCE_S = INSTALL_S + RUN_S + 30

Results = dict[str, dict[str, Any]]

_CHECK = re.compile(r'^(check|each)\("([^"]+)"', re.MULTILINE)


def names(suite: str, asked: Sequence[Upstream]) -> list[str]:
    """The names of a suite's checks, as `runner.mjs` prints them."""
    found = _CHECK.findall((HERE / suite).read_text(encoding="utf-8"))
    alone = [name for kind, name in found if kind == "check"]
    return alone + [
        f"{name} | {one.model}" for kind, name in found if kind == "each" for one in asked
    ]


def run(suite: str, asked: Sequence[Upstream], product: Product, key: str, folder: Path) -> Results:
    """Run it in an empty folder, for modules are found beside the file that imports them."""
    (folder / "node_modules").symlink_to(modules())
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, folder)
    told = {
        "baseURL": f"{product.url}/v1",
        "key": key,
        "origin": product.sandbox.origin,
        "upstreams": [msgspec.to_builtins(one) | {"turns": one.turns} for one in asked],
    }
    done = subprocess.run(
        [NODE, suite],
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
