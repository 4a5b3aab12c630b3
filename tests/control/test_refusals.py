from __future__ import annotations

from typing import Any

import pytest
from tests.control.conftest import Api


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """What is tested here is refused before a database is asked."""
    return sqlite_url


@pytest.mark.parametrize(
    "field,value",
    [
        ("base_url", "ftp://x"),
        ("base_url", "x.test"),
        ("base_url", "https://user:pw@x.test"),
        ("base_url", "http://-/v1"),
        ("base_url", "http://a..b/v1"),
        ("base_url", "http://a.-b/v1"),
        ("base_url", "http://b-/v1"),
        ("base_url", "http://./v1"),
        ("base_url", "http://a!b/v1"),
        ("base_url", "http://300.1.2.3/v1"),
        ("base_url", f"http://{'a' * 64}.test"),
        ("base_url", f"http://{'a.' * 127}test"),
        ("proxy", "http://-:3128"),
        ("name", "UPPER"),
        ("name", ""),
        ("priority", -1),
        ("timeouts.connect", 0),
        ("credential.api_key", 5),
        ("proxy", "socks5://x"),
    ],
)
async def test_wrong_fields_are_named_and_never_repeated(
    api: Api, field: str, value: object
) -> None:
    outer, _, inner = field.partition(".")
    given: dict[str, Any] = {"name": "acme", "base_url": "https://acme.test"}
    given[outer] = {inner: value} if inner else value
    error = await api.error("POST", "/providers", json=given, status=400)
    assert error["param"] == field
    assert error["code"] == "invalid_value"
    if isinstance(value, str) and value:
        assert value not in error["message"]


async def test_unknown_and_missing_fields_are_named(api: Api) -> None:
    given = {"name": "acme", "base_url": "https://acme.test", "basurl": 1}
    error = await api.error("POST", "/providers", json=given, status=400)
    assert (error["param"], error["code"]) == ("basurl", "unknown_parameter")
    error = await api.error("POST", "/providers", json={"base_url": "https://x.test"}, status=400)
    assert (error["param"], error["code"]) == ("name", "missing_required_parameter")
    error = await api.error("GET", "/models", params={"colour": "red"}, status=400)
    assert (error["param"], error["code"]) == ("colour", "unknown_parameter")


@pytest.mark.parametrize(
    "more,param",
    [
        ({"model_id": "other/one"}, "model_id"),
        ({"model_id": "acme/"}, "model_id"),
        ({"model_id": "acme/with space"}, "model_id"),
        ({"kind": "music"}, "kind"),
        ({"context_length": 0}, "context_length"),
        ({"adapter_class": "a.B"}, "adapter_class"),
        ({"versions": [{"label": "v"}]}, "versions[0].upstream"),
        ({"versions": [{"label": "v", "upstream": "a"}] * 2}, "versions"),
        (
            {
                "versions": [
                    {"label": "a", "upstream": "a", "channel": "rc"},
                    {"label": "b", "upstream": "b", "channel": "rc"},
                ]
            },
            "versions",
        ),
    ],
)
async def test_wrong_models_are_refused(api: Api, more: dict[str, Any], param: str) -> None:
    await api.acme()
    given = {"model_id": "acme/one", "provider": "acme", **more}
    error = await api.error("POST", "/models", json=given, status=400)
    assert error["param"] == param


@pytest.mark.parametrize(
    "more,param",
    [
        ({"rpm": 0}, "rpm"),
        ({"rpm": -5}, "rpm"),
        ({"rpm": 1.5}, "rpm"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"project": "Not a name"}, "project"),
        ({"name": ""}, "name"),
        ({"name": "a\u0000b"}, "name"),
        ({"key": "mine"}, "key"),
    ],
)
async def test_wrong_keys_are_refused(api: Api, more: dict[str, Any], param: str) -> None:
    error = await api.error("POST", "/keys", json={"name": "n", **more}, status=400)
    assert error["param"] == param
    assert (await api.ask("GET", "/keys"))["data"] == []


@pytest.mark.parametrize(
    "body,param",
    [
        (b'{"name": "a\\u0000b"}', "name"),
        (b'{"name": "\\ud800"}', "name"),
        (b'{"name": "n", "rpm": NaN}', "rpm"),
        (b'{"name": "n", "rpm": 1e999}', "rpm"),
        (b'{"name": "n", "expires_at": "9999-12-31T23:59:59-12:00"}', "expires_at"),
        (b'{"name": "n", "deep": ' + b"[" * 50 + b"]" * 50 + b"}", "deep"),
    ],
)
async def test_what_no_database_can_keep_is_refused(api: Api, body: bytes, param: str) -> None:
    headers = {"content-type": "application/json"}
    error = await api.error("POST", "/keys", content=body, headers=headers, status=400)
    assert (error["param"], error["code"]) == (param, "invalid_value")


async def test_the_place_of_what_cannot_be_kept_is_named(api: Api) -> None:
    given: dict[str, Any] = {"model_id": "acme/one", "provider": "acme"}
    given["versions"] = [{"label": "v", "upstream": "a\x00"}]
    error = await api.error("POST", "/models", json=given, status=400)
    assert error["param"] == "versions[0].upstream"
    given["versions"] = []
    given["capabilities"] = {"a": [{"b": "\x00"}]}
    error = await api.error("POST", "/models", json=given, status=400)
    assert error["param"] == "capabilities.a[0].b"


@pytest.mark.parametrize(
    "method,path",
    [("GET", "/providers/%00"), ("GET", "/models/a%00"), ("POST", "/keys/%00/revoke")],
)
async def test_ids_that_cannot_be_are_refused(api: Api, method: str, path: str) -> None:
    error = await api.error(method, path, status=400)
    assert error["param"] in ("provider", "model_id", "key_id")


@pytest.mark.parametrize(
    "host",
    [
        "x",
        "x.test.",
        "my_service",
        "a-b.test",
        "XN--80AK6AA92E.test",
        "10.0.0.1",
        "[::1]",
        "9to5.x",
    ],
)
async def test_addresses_of_hosts_are_taken(api: Api, host: str) -> None:
    given = {"name": "acme", "base_url": f"http://{host}:8080/v1", "credential": {"api_key": "k"}}
    made = await api.ask("POST", "/providers", json=given, status=201)
    assert made["endpoints"][0]["base_url"] == given["base_url"]


@pytest.mark.parametrize("body", [[], "x", 5, None])
async def test_a_body_must_be_an_object(api: Api, body: object) -> None:
    error = await api.error("POST", "/models", json=body, status=400)
    assert (error["code"], "must be a JSON object" in error["message"]) == ("invalid_body", True)


AT = "2030-01-02T00:00:00Z"
BEFORE = "2030-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "path,body,reason",
    [
        ("/releases", {"retire_at": BEFORE}, "'retire_at' must be after 'at'"),
        ("/releases", {"canary_from": BEFORE}, "'canary_from' needs 'canary'"),
        (
            "/releases",
            {"canary": {"share": 0.1}, "canary_from": "2030-01-03T00:00:00Z"},
            "'canary_from' must be before 'at'",
        ),
        (
            "/releases",
            {"canary": {"share": 0.1}, "channel": "rc"},
            "a canary is possible for the channel 'latest' alone",
        ),
    ],
)
async def test_fields_that_do_not_go_together_are_told(
    api: Api, path: str, body: dict[str, Any], reason: str
) -> None:
    given = {"model_id": "acme/one", "label": "v2", "at": AT, **body}
    error = await api.error("POST", path, json=given, status=400)
    assert (error["code"], error["message"]) == ("invalid_value", f"Invalid body: {reason}.")
