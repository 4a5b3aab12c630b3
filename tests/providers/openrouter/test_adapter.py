"""OpenRouter's adapter beside the golden cases: the live list, the probe, the options."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from xrouter.domain.catalog import Endpoint
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.secret import Secret
from xrouter.providers import factory
from xrouter.providers.openrouter.adapter import OpenRouterAdapter
from xrouter.sandbox.openrouter_models import listed
from xrouter.wire.types import WireReply


def endpoint(**options: str) -> Endpoint:
    return Endpoint(
        id=1,
        provider="openrouter",
        name="primary",
        adapter_class="xrouter.providers.openrouter.adapter.OpenRouterAdapter",
        base_url="https://openrouter.ai/api/v1",
        credential={"api_key": Secret("sk-or-v1-x")},
        options=options,
    )


def models(*entries: dict[str, Any]) -> Any:
    reply = WireReply(200, {}, msgspec.json.encode({"data": list(entries)}))
    return OpenRouterAdapter(endpoint()).decode_models(reply)


def test_the_live_list_says_what_models_can_do_and_cost() -> None:
    mini, claude, free = models(*listed())
    assert (mini.name, mini.context_length) == ("openai/gpt-4o-mini", 128_000)
    assert mini.prices == {"prompt": "0.00000015", "completion": "0.0000006"}
    assert mini.abilities.max_output == 16_384
    assert mini.abilities.features["vision"] == "native"
    assert mini.abilities.features["audio_input"] == "refused"
    assert mini.abilities.features["reasoning"] == "refused"
    assert claude.abilities.features["reasoning"] == "native"
    assert free.name == "deepseek/deepseek-chat-v3.1:free"
    assert free.abilities.features["tools"] == "refused"
    assert free.prices == {"prompt": "0", "completion": "0", "request": "0"}


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "a/b"},
        {"id": "a/b", "pricing": "x", "top_provider": 1, "architecture": [], "name": 5},
        {"id": "a/b", "pricing": {"prompt": 1}, "context_length": True},
        {"id": "a/b", "supported_parameters": {}, "architecture": {"input_modalities": "text"}},
    ],
)
def test_a_strange_entry_is_a_model_of_which_nothing_is_known(entry: dict[str, Any]) -> None:
    (found,) = models(entry)
    assert (found.name, found.prices, found.abilities.features) == ("a/b", {}, {})


def test_other_kinds_of_models() -> None:
    outputs = ("embeddings", "speech", "transcription", "video")
    found = models(
        *({"id": f"a/{kind}", "architecture": {"output_modalities": [kind]}} for kind in outputs)
    )
    assert [model.kind for model in found] == ["embeddings", "speech", "transcription", "chat"]


def test_the_probe_needs_the_key() -> None:
    assert OpenRouterAdapter(endpoint()).probe().url.endswith("/key")


def test_unknown_options_are_refused() -> None:
    with pytest.raises(InvalidRequest):
        OpenRouterAdapter.validate(endpoint(nonsense="1"))


@pytest.mark.parametrize("name", ["deepseek", "groq", "together", "fireworks", "xai", "cloudru"])
def test_rows_are_providers(name: str) -> None:
    known = factory.providers()[name]
    assert known.default_base_url.startswith("https://")
    assert known.environment is not None
    made = factory.build(
        Endpoint(
            id=1,
            provider=name,
            name="primary",
            adapter_class=known.adapter_class,
            base_url=known.default_base_url,
            credential={"api_key": Secret("x")},
        )
    )
    assert made.endpoint.options == known.options
