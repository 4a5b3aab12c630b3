"""Requests and targets for Mistral's adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from xrouter.domain.abilities import Abilities, Degree, Feature
from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.plan import Target
from xrouter.domain.secret import Secret
from xrouter.providers.mistral.adapter import MistralAdapter

PATH = "xrouter.providers.mistral.adapter.MistralAdapter"
Ask = Callable[..., ChatRequest]
Aim = Callable[..., Target]


def endpoint_of(key: str = "key-of-the-endpoint", **options: str) -> Endpoint:
    return Endpoint(
        id=1,
        provider="mistral",
        name="primary",
        adapter_class=PATH,
        base_url="https://api.mistral.ai/v1",
        credential={"api_key": Secret(key)} if key else {},
        options=options,
    )


@pytest.fixture
def adapter() -> MistralAdapter:
    return MistralAdapter(endpoint_of())


@pytest.fixture
def aim() -> Aim:
    """Make a target from the upstream name of a model and what is known of its reasoning."""

    def make(upstream: str = "mistral-large-latest", reasoning: Degree | None = None) -> Target:
        version = Version(label="latest", upstream=upstream)
        known: dict[Feature, Degree] = {} if reasoning is None else {"reasoning": reasoning}
        model = Model(
            model_id=f"mistral/{upstream}",
            provider="mistral",
            adapter_class=PATH,
            display_name=upstream,
            abilities=Abilities(features=known),
            versions=(version,),
        )
        return Target(endpoint_of(), model, version)

    return make


@pytest.fixture
def ask() -> Ask:
    """Read a body as the door does."""

    def read(messages: list[Any] | None = None, **more: Any) -> ChatRequest:
        messages = messages or [{"role": "user", "content": "Hi"}]
        body = msgspec.json.encode({"model": "m", "messages": messages, **more})
        request = msgspec.json.decode(body, type=ChatRequest)
        request.fields = msgspec.json.decode(body, type=Fields)
        return request

    return read
