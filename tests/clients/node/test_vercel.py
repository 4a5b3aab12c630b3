"""Vercel's AI SDK against XRouter: each check of `vercel.mjs` is a test of its own."""

from __future__ import annotations

from typing import Any

import pytest
from tests.clients.node import suites
from tests.clients.served import Product
from tests.clients.upstreams import ALL

SUITE = "vercel.mjs"
NAMES = suites.names(SUITE, ALL)

REFERENCES = "`item_reference` is refused, and this client sends it by default"
KNOWN = {
    "a conversation by references": REFERENCES,
    "thoughts between calls by references": REFERENCES,
}
"""Checks that fail, and why."""

pytestmark = pytest.mark.timeout(suites.PATIENCE_S)


@pytest.fixture(scope="module")
def results(product: Product, key: str, tmp_path_factory: pytest.TempPathFactory) -> suites.Results:
    """The suite runs once."""
    return suites.run(SUITE, ALL, product, key, tmp_path_factory.mktemp("vercel"))


def marked(name: str) -> Any:
    """The name as a parameter; a known failure must fail."""
    reason = KNOWN.get(name.partition(" | ")[0])
    return (
        name
        if reason is None
        else pytest.param(name, marks=pytest.mark.xfail(strict=True, reason=reason))
    )


@pytest.mark.parametrize("name", [marked(name) for name in NAMES])
def test_vercel(results: suites.Results, name: str) -> None:
    result = results[name]
    assert result["ok"], result["error"]


def test_nothing_ran_unseen(results: suites.Results) -> None:
    assert results.keys() == set(NAMES)
