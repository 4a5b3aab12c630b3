"""Prices that ship with us, a file for each provider; nobody uses one that was not imported.

Each file says the currency, and each price its `source`: who has said it, and when.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

_SUFFIX = ".toml"


@cache
def shipped() -> dict[str, list[dict[str, Any]]]:
    """By provider: the fields of a price, amounts as text for a million tokens.

    model: without the provider. effective_from: a day.
    """
    found = {}
    for file in sorted(files(__package__).iterdir(), key=lambda each: each.name):
        if file.name.endswith(_SUFFIX):
            said = tomllib.loads(file.read_text("utf-8"))
            common = {name: value for name, value in said.items() if name != "price"}
            found[file.name.removesuffix(_SUFFIX)] = [common | each for each in said["price"]]
    return found
