from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest
from openai import AsyncOpenAI, OpenAI
from tests.clients.served import Product, SandboxControl
from tests.clients.upstreams import HERD


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    """A running XRouter, one for each worker; it must end well."""
    running = Product()
    try:
        running.start()
        running.run(
            "providers", "add", HERD, "--base-url", f"{running.sandbox.origin}/llamacpp-router"
        )
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def key(product: Product) -> str:
    """A key without limits, made as an operator makes it."""
    return str(json.loads(product.run("keys", "create", "clients", "--json"))["key"])


@pytest.fixture(autouse=True)
def sandbox(product: Product) -> Iterator[SandboxControl]:
    """The sandbox, for each test as new: nothing was seen yet, and no fault stays."""
    product.sandbox.clear()
    yield product.sandbox
    product.sandbox.clear()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients are to reach the server itself, whatever this machine's settings are."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS", "OPENAI_LOG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(product: Product, key: str) -> Iterator[OpenAI]:
    """The official client: the base URL and the key, nothing else."""
    with OpenAI(base_url=f"{product.url}/v1", api_key=key) as made:
        yield made


@pytest.fixture
def once(client: OpenAI) -> OpenAI:
    """The same client, for errors: it does not try again."""
    return client.with_options(max_retries=0)


@pytest.fixture
async def asking(product: Product, key: str) -> AsyncIterator[AsyncOpenAI]:
    """The official asynchronous client."""
    async with AsyncOpenAI(base_url=f"{product.url}/v1", api_key=key) as made:
        yield made
