from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from xrouter.domain.catalog import ModelDescription
from xrouter.domain.errors import UpstreamMalformed
from xrouter.providers.yandexgpt.adapter import YandexGPTAdapter
from xrouter.providers.yandexgpt.models import describe
from xrouter.providers.yandexgpt.uri import without_folder
from xrouter.wire.types import WireReply

FOLDER = "b1gexamplefolder0000"
GOLDEN = Path(__file__).parents[1] / "golden" / "yandexgpt"


def read(adapter: YandexGPTAdapter, *ids: Any) -> list[ModelDescription]:
    data = [{"id": one, "object": "model", "owned_by": "Yandex", "created": 0} for one in ids]
    body = msgspec.json.encode({"object": "list", "data": data})
    return adapter.decode_models(WireReply(200, {}, body))


def test_branches_become_versions_latest_first(adapter: YandexGPTAdapter) -> None:
    models = read(
        adapter,
        f"gpt://{FOLDER}/yandexgpt/rc",
        f"gpt://{FOLDER}/yandexgpt/latest@tuned",
        f"gpt://{FOLDER}/yandexgpt/deprecated",
        f"gpt://{FOLDER}/yandexgpt/latest",
    )
    assert [model.name for model in models] == ["yandexgpt"]
    assert models[0].context_length == 32_768
    assert [(v.label, v.upstream, v.channel) for v in models[0].versions] == [
        ("latest", "yandexgpt/latest", "latest"),
        ("rc", "yandexgpt/rc", "rc"),
        ("deprecated", "yandexgpt/deprecated", "deprecated"),
        ("latest@tuned", "yandexgpt/latest@tuned", None),
    ]


def test_voices_and_classifiers_are_left_out_and_the_folder_is_gone(
    adapter: YandexGPTAdapter,
) -> None:
    models = read(
        adapter,
        f"gpt://{FOLDER}/speech-realtime-250923/latest",
        f"art://{FOLDER}/yandex-art/latest",
        f"cls://{FOLDER}/yandexgpt-lite/latest",
        f"emb://{FOLDER}/text-search-doc/latest",
        f"gpt://{FOLDER}/brand-new",
        "no uri",
        None,
        7,
    )
    assert [(m.name, m.kind, m.versions[0].upstream) for m in models] == [
        ("yandex-art", "images", "yandex-art/latest"),
        ("text-search-doc", "embeddings", "text-search-doc/latest"),
        ("brand-new", "chat", "brand-new/latest"),
    ]
    assert models[2].context_length is None
    assert FOLDER not in repr(models)


def test_a_page_instead_of_the_list(adapter: YandexGPTAdapter) -> None:
    with pytest.raises(UpstreamMalformed):
        adapter.decode_models(WireReply(200, {}, b"<html>"))


def test_shipped_models_have_versions_and_channels() -> None:
    models = {model.name: model for model in YandexGPTAdapter.supported_models()}
    assert [v.channel for v in models["yandexgpt"].versions] == ["latest", "rc", "deprecated"]
    assert models["yandexgpt-lite"].versions[1].upstream == "yandexgpt-lite/rc"
    assert [v.upstream for v in models["aliceai-llm"].versions] == ["aliceai-llm/latest"]
    assert models["text-search-query"].kind == "embeddings"
    assert models["yandex-art"].kind == "images"
    (ended,) = models.pop("yandexgpt-32k").versions
    assert (ended.status, ended.successor) == ("retired", "yandex/yandexgpt")
    assert all(model.context_length for model in models.values() if model.kind != "images")


def test_what_each_family_can_do() -> None:
    features = {m.name: m.abilities.features for m in YandexGPTAdapter.supported_models()}
    assert [features[name]["reasoning"] for name in ("yandexgpt", "yandexgpt-5.1")] == [
        "native",
        "dropped",
    ]
    assert features["yandexgpt"]["deferred"] == "native"
    assert features["gpt-oss-20b"]["vision"] == "refused"
    assert "logprobs" not in features["gpt-oss-20b"], "what holds of the provider holds of it"
    gemma = describe("gemma-3-27b-it", "chat", ("latest",))
    assert gemma.abilities.features["vision"] == "native"
    assert gemma.context_length == 131_072
    assert features["yandex-art"] == features["text-search-doc"] == {}


def test_the_listed_features_have_their_proof() -> None:
    cases = [json.loads(path.read_text()) for path in GOLDEN.glob("*.json")]
    for feature, degree in YandexGPTAdapter.features.items():
        proofs = [case for case in cases if feature in case.get("shows", [])]
        assert proofs, feature
        assert all(("refused" in case) == (degree == "refused") for case in proofs), feature
        assert all(case.get("dropped") for case in proofs if degree == "dropped"), feature


@pytest.mark.parametrize(
    "uri,shown",
    [
        (f"gpt://{FOLDER}/yandexgpt/rc", "yandexgpt/rc"),
        (f"gpt://{FOLDER}/yandexgpt", "yandexgpt"),
        ("gpt://qwen3-235b-a22b-fp8/latest", "qwen3-235b-a22b-fp8/latest"),
        ("gpt://b1g00000000000000000/aliceai-llm", "aliceai-llm"),
        ("gpt://elsewhere/aliceai-llm/latest", "aliceai-llm/latest"),
        ("plain", "plain"),
    ],
)
def test_names_are_shown_without_the_folder(uri: str, shown: str) -> None:
    assert without_folder(uri, FOLDER) == shown
