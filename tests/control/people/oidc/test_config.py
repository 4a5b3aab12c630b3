"""How providers are written down: what is taken, what is refused, what never shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from xrouter.control.people.oidc.config import PRESETS, OidcProvider, configured
from xrouter.domain.secret import Secret
from xrouter.settings import SettingsError, load

PUBLIC = "https://router.test"
ISSUER = "https://sso.test/realms/staff"


def given(**more: Any) -> dict[str, Any]:
    return {"issuer": ISSUER, "client_id": "xrouter", **more}


def test_the_presets() -> None:
    written = {
        "corp": OidcProvider(**given(preset="keycloak")),
        "google": OidcProvider(preset="google", client_id="g"),
        "yandex": OidcProvider(preset="yandex", client_id="y", client_secret="s"),
        "plain": OidcProvider(**given(title="Staff")),
    }
    config = configured(PUBLIC, written)
    corp, google, yandex, plain = config.providers
    assert [each.title for each in config.providers] == ["Keycloak", "Google", "Yandex ID", "Staff"]
    assert (corp.issuer, corp.fixed, corp.hosted_email) == (ISSUER, None, False)
    assert (google.issuer, google.hosted_email) == ("https://accounts.google.com", True)
    assert yandex.fixed is not None
    assert yandex.fixed.userinfo_endpoint == "https://login.yandex.ru/info?format=json"
    assert yandex.scopes == ("login:email", "login:info")
    assert (yandex.client_secret, plain.client_secret) == (Secret("s"), None)
    assert not any(each.trust_email or each.link_by_email for each in config.providers)
    assert set(PRESETS) == {"oidc", "keycloak", "google", "yandex"}


@pytest.mark.parametrize(
    "wrong,told",
    [
        ({"preset": "okta"}, "there is no preset 'okta'"),
        ({"preset": "google"}, "knows its issuer"),
        ({"issuer": None}, "'issuer' is missing"),
        ({"issuer": "http://sso.test"}, "must begin with https://"),
        ({"issuer": "https://user:hush@sso.test"}, "must not hold a user"),
        ({"issuer": "https://sso.test?a=b"}, "without '?'"),
        ({"client_id": ""}, "at least 1"),
        ({"client_secret": "hush", "client_secret_file": "/dev/null"}, "not both"),
        ({"client_secret_file": "/nowhere/at/all"}, "cannot be read"),
        ({"algorithms": ["none"]}, "Input should be"),
        ({"algorithms": ["HS256"]}, "Input should be"),
        ({"algorithms": []}, "at least 1"),
        ({"domains": {"a@b.test": {"organization": "default"}}}, "pattern"),
        ({"domains": {"b.test": {"organization": "default", "role": "owner"}}}, "owner"),
        ({"link_by_mail": True}, "not permitted"),
    ],
)
def test_what_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as problem:
        OidcProvider(**{**given(), **wrong})
    assert told in str(problem.value)
    assert "hush" not in str(problem.value)


def test_plain_http_for_those_who_ask_for_it() -> None:
    assert not OidcProvider(**given(issuer="http://127.0.0.1:8081")).allow_http
    assert OidcProvider(**given(issuer="http://sso.test", allow_http=True)).allow_http


def test_the_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hush\n", "utf-8")
    config = configured(PUBLIC, {"a": OidcProvider(**given(client_secret_file=str(file)))})
    assert config.providers[0].client_secret == Secret("hush")


def test_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    table = '[oidc.corp]\nissuer = "https://sso.test"\nclient_id = "x"\n'
    (tmp_path / "xrouter.toml").write_text(
        table + '[oidc.corp.domains."A.Test"]\norganization = "default"\n', "utf-8"
    )
    corp = load().oidc["corp"]
    assert corp.domains["a.test"].organization == "default"
    monkeypatch.setenv("XROUTER_OIDC", json.dumps({"main": given(client_secret="hush")}))
    assert load().oidc.keys() == {"main"}
    assert "hush" not in repr(load())


@pytest.mark.parametrize(
    "text,told",
    [
        ("{", "XROUTER_OIDC: Value error, must be JSON"),
        ('{"a": {"client_id": "x"}}', "XROUTER_OIDC.A: Value error, 'issuer' is missing"),
        ('{"A B": {"client_id": "x"}}', "XROUTER_OIDC.A B"),
        ('{"a": {"client_secret": 5}}', "XROUTER_OIDC.A.CLIENT_SECRET"),
    ],
)
def test_settings_that_are_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XROUTER_OIDC", text)
    with pytest.raises(SettingsError) as problem:
        load()
    assert told in str(problem.value)
