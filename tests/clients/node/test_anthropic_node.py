"""Anthropic's Node client against XRouter: each check of `anthropic.mjs` is a test of its own."""

from __future__ import annotations

import pytest
from tests.clients.node import suites
from tests.clients.served import Product
from tests.clients.upstreams import ALL

SUITE = "anthropic.mjs"
NAMES = suites.names(SUITE, ALL)

pytestmark = pytest.mark.timeout(suites.PATIENCE_S)


@pytest.fixture(scope="module")
def results(product: Product, key: str, tmp_path_factory: pytest.TempPathFactory) -> suites.Results:
    """The suite runs once."""
    return suites.run(SUITE, ALL, product, key, tmp_path_factory.mktemp("anthropic"))


@pytest.mark.parametrize("name", NAMES)
def test_anthropic_node(results: suites.Results, name: str) -> None:
    result = results[name]
    assert result["ok"], result["error"]


def test_nothing_ran_unseen(results: suites.Results) -> None:
    assert results.keys() == set(NAMES)
