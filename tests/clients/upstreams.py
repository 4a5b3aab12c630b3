"""The providers that the suites ask, and what each of them can do."""

from __future__ import annotations

import pytest
from msgspec import Struct

EXACT = 'Привет, «мир»! Ёжик 🦔 и 👩‍🚀 летят; é ≠ é, 日本語, عربى, "кавычки" \\ / <b>&amp;</b>'
"""What must come back as it was sent: Cyrillic, joined emoji, combining marks, other scripts."""


class Upstream(Struct, frozen=True):
    """One way to a provider. simulator: its name in the sandbox; embedder: "" where it has none.

    several: `n` answers at once; parallel: several tool calls at once; logprobs: it tells them;
    functions: it takes the old `functions`. size: of its vectors.
    """

    model: str
    simulator: str
    embedder: str = ""
    size: int = 0
    several: bool = False
    parallel: bool = True
    logprobs: bool = False
    functions: bool = True

    @property
    def name(self) -> str:
        return self.model.replace("/", "-")


GIGACHAT = Upstream(
    "gigachat/GigaChat-2-Max", "gigachat", "gigachat/Embeddings", 1024, parallel=False
)
YANDEX = Upstream("yandex/yandexgpt", "yandex", "yandex/text-search-doc", 256)
YANDEX_OPEN = Upstream("yandex/qwen3-235b-a22b-fp8", "yandex")
OPENAI = Upstream(
    "openai/gpt-4o-mini",
    "openai",
    "openai/text-embedding-3-small",
    1536,
    several=True,
    logprobs=True,
)
LLAMACPP = Upstream("llamacpp/qwen3-8b", "llamacpp", several=True, logprobs=True, functions=False)

ALL = (GIGACHAT, YANDEX, YANDEX_OPEN, OPENAI, LLAMACPP)
EMBEDDERS = tuple(one for one in ALL if one.embedder)
SURE = tuple(one for one in ALL if one is not YANDEX_OPEN)
"""Those of which it is documented whether they do `n` and `logprobs`."""


def each(upstreams: tuple[Upstream, ...]) -> pytest.MarkDecorator:
    """Run a test with each of these."""
    return pytest.mark.parametrize("upstream", upstreams, ids=[one.name for one in upstreams])


everywhere = each(ALL)
