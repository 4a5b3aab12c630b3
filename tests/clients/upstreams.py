"""The providers that the suites ask, and what each of them can do."""

from __future__ import annotations

from functools import cache
from typing import Literal

import pytest
from msgspec import Struct

from xrouter.domain.abilities import Degree, Feature
from xrouter.providers import factory

EXACT = 'Привет, «мир»! Ёжик 🦔 и 👩‍🚀 летят; é ≠ é, 日本語, عربى, "кавычки" \\ / <b>&amp;</b>'
"""What must come back as it was sent: Cyrillic, joined emoji, combining marks, other scripts."""

HERD = "herd"
"""A second llama.cpp server, of several models, which an operator adds by hand."""


Calls = Literal["together", "in_turn", "first"]


class Upstream(Struct, frozen=True):
    """One way to a provider. simulator: its name in the sandbox; embedder: "" where it has none.

    size: of its vectors. calls: of two tools that are wanted, both are called at once, one in a
    turn, or only the first (a simulated model that is held to a schema). functions: it takes the
    old `functions`. adapter: the provider whose adapter it is, where its own name does not tell.
    path: what all paths of its chats hold (`/chat/completions`, `/v1/completion`). early: after so
    many frames of a stream it has begun to speak.
    """

    model: str
    simulator: str
    embedder: str = ""
    size: int = 0
    calls: Calls = "together"
    functions: bool = True
    adapter: str = ""
    path: str = "ompletion"
    early: int = 3

    @property
    def name(self) -> str:
        return self.model.replace("/", "-")

    @property
    def turns(self) -> list[list[str]]:
        """The calls by turn of a model that is to call `get_weather` and `get_time`."""
        both = ["get_weather", "get_time"]
        return {"together": [both], "in_turn": [both[:1], both[1:]], "first": [both[:1]]}[
            self.calls
        ]

    @property
    def provider(self) -> str:
        return self.model.partition("/")[0]

    def degree(self, feature: Feature) -> Degree | None:
        """What it makes of a feature, as the product says; None where nobody knows."""
        return _features(self.adapter or self.provider, self.model.partition("/")[2]).get(feature)

    def can(self, feature: Feature) -> bool:
        """Whether a request for it is to be answered well."""
        return self.degree(feature) in ("native", "emulated")


@cache
def _features(provider: str, name: str) -> dict[Feature, Degree]:
    """The adapter's, and what it says of the model."""
    adapter = factory.resolve(factory.providers()[provider].adapter_class)
    own = {model.name: model.abilities.features for model in adapter.supported_models()}
    return {**adapter.features, **own.get(name, {})}


GIGACHAT = Upstream(
    "gigachat/GigaChat-2-Max", "gigachat", "gigachat/Embeddings", 1024, calls="in_turn"
)
YANDEX = Upstream("yandex/yandexgpt", "yandex", "yandex/text-search-doc", 256)
YANDEX_OPEN = Upstream("yandex/qwen3-235b-a22b-fp8", "yandex")
OPENAI = Upstream("openai/gpt-4o-mini", "openai", "openai/text-embedding-3-small", 1536)
LLAMACPP = Upstream("llamacpp/qwen3-8b", "llamacpp", functions=False)
MISTRAL = Upstream("mistral/mistral-large-latest", "mistral", "mistral/mistral-embed", 1024)
OPENROUTER = Upstream(
    "openrouter/openai/gpt-4o-mini", "openrouter", "openrouter/openai/text-embedding-3-small", 1536
)
ANTHROPIC = Upstream("anthropic/claude-sonnet-5-5", "anthropic", path="/messages", early=6)
GEMMA = Upstream(
    f"{HERD}/gemma-2-9b-it", "llamacpp-router", calls="first", functions=False, adapter="llamacpp"
)
NEMO = Upstream(f"{HERD}/nemo-12b-instruct", "llamacpp-router", functions=False, adapter="llamacpp")

ALL = (
    GIGACHAT,
    YANDEX,
    YANDEX_OPEN,
    OPENAI,
    LLAMACPP,
    MISTRAL,
    OPENROUTER,
    ANTHROPIC,
    GEMMA,
    NEMO,
)
EMBEDDERS = tuple(one for one in ALL if one.embedder)
REASONING = "llamacpp/qwen3-8b"
"""A model that tells its thoughts."""


def each(upstreams: tuple[Upstream, ...]) -> pytest.MarkDecorator:
    """Run a test with each of these."""
    return pytest.mark.parametrize("upstream", upstreams, ids=[one.name for one in upstreams])


everywhere = each(ALL)
