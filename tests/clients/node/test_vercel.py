"""Vercel's AI SDK against XRouter: each check of `vercel.mjs` is a test of its own."""

from __future__ import annotations

import pytest
from tests.clients.node import suites
from tests.clients.served import Product
from tests.clients.upstreams import ALL

SUITE = "vercel.mjs"
NAMES = suites.names(SUITE, ALL)

pytestmark = pytest.mark.timeout(suites.PATIENCE_S)


@pytest.fixture(scope="module")
def results(product: Product, key: str, tmp_path_factory: pytest.TempPathFactory) -> suites.Results:
    """The suite runs once."""
    return suites.run(SUITE, ALL, product, key, tmp_path_factory.mktemp("vercel"))


@pytest.mark.parametrize("name", NAMES)
def test_vercel(results: suites.Results, name: str) -> None:
    result = results[name]
    assert result["ok"], result["error"]


def test_nothing_ran_unseen(results: suites.Results) -> None:
    assert results.keys() == set(NAMES)
