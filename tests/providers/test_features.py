"""What adapters say of themselves is shown by a case each, and the docs say the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.providers.feature_table import FEATURES, PAGES, cases, page

from xrouter.domain.abilities import Degree, Feature
from xrouter.providers.factory import adapter_classes

CLAIMS: list[tuple[str, Feature, Degree]] = [
    (path, feature, degree)
    for path, cls in adapter_classes().items()
    for feature, degree in cls.features.items()
]
SHOWN = cases()


def name_of(value: str) -> str:
    return value.rpartition(".")[2]


@pytest.mark.parametrize("path,feature,degree", CLAIMS, ids=name_of)
def test_each_claim_is_shown(path: str, feature: Feature, degree: Degree) -> None:
    proofs = SHOWN.get(path, {}).get(feature, [])
    assert proofs, f"no golden case of {path} shows {feature}"
    assert any(_shows(proof, degree) for proof in proofs), proofs


def _shows(proof: Path, degree: Degree) -> bool:
    case = json.loads(proof.read_text())
    refused = "refused" in case or case.get("error", {}).get("type") == "InvalidRequest"
    if degree == "refused":
        return refused
    return not refused and (degree != "dropped" or bool(case.get("dropped")))


@pytest.mark.parametrize("path", adapter_classes(), ids=name_of)
def test_every_adapter_says_what_it_can_do(path: str) -> None:
    features = adapter_classes()[path].features
    assert set(features) <= set(FEATURES)
    assert {"streaming", "tools", "json_schema", "vision", "stop", "n"} <= set(features)


@pytest.mark.parametrize("path", SHOWN, ids=name_of)
def test_no_case_shows_what_nobody_claims(path: str) -> None:
    assert set(SHOWN[path]) <= set(adapter_classes()[path].features)


@pytest.mark.parametrize("language", PAGES)
def test_the_docs_say_so(language: str) -> None:
    """`make docs` writes them anew."""
    assert PAGES[language].read_text(encoding="utf-8") == page(language)
