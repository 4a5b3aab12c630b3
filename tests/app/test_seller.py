"""Who sells, as the settings say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from xrouter.control.billing.documents.paper import party
from xrouter.settings import Seller, SettingsError, load


def test_by_the_environment_and_by_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load().seller == Seller()
    (tmp_path / "xrouter.toml").write_text('[seller]\nname = "ООО «Роутер»"\ninn = "77"\n', "utf-8")
    assert load().seller.model_dump(exclude_defaults=True) == {"name": "ООО «Роутер»", "inn": "77"}
    monkeypatch.setenv("XROUTER_SELLER", '{"name": " Router "}')
    assert load().seller.name == "Router"


@pytest.mark.parametrize(
    "text, reason",
    [("{", "must be JSON"), ('{"iban": "1"}', "IBAN"), ("[]", "SELLER"), ("7", "SELLER")],
)
def test_what_is_no_seller(monkeypatch: pytest.MonkeyPatch, text: str, reason: str) -> None:
    monkeypatch.setenv("XROUTER_SELLER", text)
    with pytest.raises(SettingsError, match=reason) as caught:
        load()
    assert "XROUTER_SELLER" in str(caught.value)


def test_documents_name_all_that_the_settings_know() -> None:
    """English fields go before; nothing of the settings is lost on the way."""
    given = {name: f"the {name}" for name in Seller.model_fields}
    russian, english = party(given, "ru"), party(given, "en")
    for name in Seller.model_fields:
        if name.endswith("_en"):
            assert getattr(english, name.removesuffix("_en")) == f"the {name}"
        else:
            assert getattr(russian, name) == f"the {name}"
