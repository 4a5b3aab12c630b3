"""Requests and targets for adapters that speak OpenAI's language."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.plan import Target
from xrouter.domain.secret import Secret

GENERIC = "xrouter.providers.openai.GenericOpenAIAdapter"


def endpoint_of(options: dict[str, str], **credential: str) -> Endpoint:
    return Endpoint(
        id=1,
        provider="p",
        name="primary",
        adapter_class=GENERIC,
        base_url="http://h/v1",
        credential={name: Secret(text) for name, text in credential.items()},
        options=options,
    )


@pytest.fixture
def make_endpoint() -> Callable[..., Endpoint]:
    """Make an endpoint from options and a credential."""
    return endpoint_of


@pytest.fixture
def target() -> Target:
    version = Version(label="latest", upstream="up-1")
    model = Model(
        model_id="p/m", provider="p", adapter_class=GENERIC, display_name="M", versions=(version,)
    )
    return Target(endpoint_of({}), model, version)


@pytest.fixture
def read_request() -> Callable[[bytes], ChatRequest]:
    """Read a body as the door does."""

    def read(body: bytes) -> ChatRequest:
        request = msgspec.json.decode(body, type=ChatRequest)
        request.fields = msgspec.json.decode(body, type=Fields)
        return request

    return read
