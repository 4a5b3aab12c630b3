from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import RSAKey

from xrouter.domain.catalog import Endpoint
from xrouter.domain.errors import (
    InvalidRequest,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamMalformed,
    XRouterError,
)
from xrouter.providers.yandexgpt.adapter import YandexGPTAdapter
from xrouter.wire.types import Token, WireReply, WireRequest

NOW = 1_767_323_045.75  # 2026-01-02T03:04:05.75Z


@pytest.fixture
def adapter(make_endpoint: Callable[..., Endpoint], key_file: str) -> YandexGPTAdapter:
    return YandexGPTAdapter(make_endpoint({"service_account_key": key_file}))


def exchange(adapter: YandexGPTAdapter, status: int, body: Any) -> tuple[WireRequest, Token]:
    flow = adapter.auth(NOW)
    assert flow is not None
    wire = next(flow)
    try:
        flow.send(WireReply(status, {"x-request-id": "iam-1"}, msgspec.json.encode(body)))
    except StopIteration as done:
        token: Token = done.value
        return wire, token
    raise AssertionError("the flow asked again")


def test_keys_and_ready_tokens_need_no_exchange(make_endpoint: Callable[..., Endpoint]) -> None:
    for credential in ({"api_key": "k"}, {"iam_token": "t1.x"}):
        assert YandexGPTAdapter(make_endpoint(credential)).auth(NOW) is None


def test_the_assertion_is_what_the_provider_asks_for(
    adapter: YandexGPTAdapter, private_key: rsa.RSAPrivateKey
) -> None:
    wire, _ = exchange(adapter, 200, {"iamToken": "t1.abc"})
    assert (wire.method, wire.url) == ("POST", "https://iam.api.cloud.yandex.net/iam/v1/tokens")
    body = msgspec.json.decode(wire.body)
    key = RSAKey.import_key(private_key.public_key())
    token = jwt.decode(body.pop("jwt"), key, algorithms=["PS256"])
    assert body == {}
    assert token.header == {"typ": "JWT", "alg": "PS256", "kid": "ajekey"}
    assert token.claims == {
        "iss": "ajeaccount",
        "aud": "https://iam.api.cloud.yandex.net/iam/v1/tokens",
        "iat": 1_767_323_045,
        "exp": 1_767_326_645,
    }


@pytest.mark.parametrize(
    "expires,seconds",
    [
        ("2026-01-02T15:04:05.678901234Z", 3600.0),
        ("2026-01-02T03:34:05.678901234Z", 1799.25),
        ("2026-01-02T06:34:05+03:00", 1799.25),
        ("2026-01-02T03:34:05", 1799.25),
        ("soon", 3600.0),
        ("2026-13-45T03:34:05Z", 3600.0),
        (None, 3600.0),
    ],
)
def test_a_token_is_renewed_after_an_hour_at_most(
    adapter: YandexGPTAdapter, expires: str | None, seconds: float
) -> None:
    _, token = exchange(adapter, 200, {"iamToken": "t1.abc", "expiresAt": expires})
    assert token == Token("t1.abc", NOW + seconds)


def test_the_address_of_the_token_service_can_be_set(
    make_endpoint: Callable[..., Endpoint], key_file: str
) -> None:
    options = {"folder_id": "b1gx", "iam_url": "http://127.0.0.1:1/tokens"}
    endpoint = make_endpoint({"service_account_key": key_file}, options)
    wire, _ = exchange(YandexGPTAdapter(endpoint), 200, {"iamToken": "t"})
    assert wire.url == "http://127.0.0.1:1/tokens"


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_ours_to_fix(adapter: YandexGPTAdapter, status: int) -> None:
    body = {"code": 16, "message": "The token is invalid", "details": []}
    with pytest.raises(UpstreamDenied) as denied:
        exchange(adapter, status, body)
    error = denied.value
    assert "The token is invalid" in error.message
    assert error.hint is not None
    assert "clock" in error.hint
    assert "revoked" in error.hint
    assert (error.upstream_status, error.upstream_request_id) == (status, "iam-1")


@pytest.mark.parametrize(
    "status,body,kind",
    [
        (500, {"code": 13, "message": "oops"}, UpstreamFailed),
        (200, {"expiresAt": "2026-01-02T15:04:05Z"}, UpstreamMalformed),
        (200, [], UpstreamMalformed),
    ],
)
def test_other_failures_of_the_token_service(
    adapter: YandexGPTAdapter, status: int, body: Any, kind: type[XRouterError]
) -> None:
    with pytest.raises(kind):
        exchange(adapter, status, body)


@pytest.mark.parametrize("text", ["", "not json", "{}", '{"id":"a","service_account_id":"b"}'])
def test_what_is_no_key_file_is_refused(make_endpoint: Callable[..., Endpoint], text: str) -> None:
    with pytest.raises(InvalidRequest):
        YandexGPTAdapter.validate(make_endpoint({"service_account_key": text}))


@pytest.mark.parametrize("pem", ["nothing", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END"])
def test_an_unreadable_private_key_is_refused_and_not_shown(
    make_endpoint: Callable[..., Endpoint], pem: str
) -> None:
    content = {"id": "a", "service_account_id": "b", "private_key": pem}
    key = msgspec.json.encode(content).decode()
    with pytest.raises(InvalidRequest) as refused:
        YandexGPTAdapter.validate(make_endpoint({"service_account_key": key}))
    assert refused.value.param == "credential.service_account_key"
    assert pem not in repr(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    "address,root",
    [
        (None, "http://169.254.169.254"),
        ("10.0.0.7:8080", "http://10.0.0.7:8080"),
        ("https://broker.example/", "https://broker.example"),
    ],
)
def test_the_metadata_service_is_asked_as_it_wants(
    make_endpoint: Callable[..., Endpoint], address: str | None, root: str
) -> None:
    options = {"folder_id": "b1gx", "auth": "metadata"}
    adapter = YandexGPTAdapter(
        make_endpoint({}, options if address is None else options | {"metadata_url": address})
    )
    body = {"access_token": "t1.abc", "expires_in": 42055, "token_type": "Bearer"}
    wire, token = exchange(adapter, 200, body)
    assert (wire.method, wire.headers) == ("GET", {"metadata-flavor": "Google"})
    assert wire.url == f"{root}/computeMetadata/v1/instance/service-accounts/default/token"
    assert token == Token("t1.abc", NOW + 3600)
    assert exchange(adapter, 200, body | {"expires_in": 60})[1].expires_at == NOW + 60


@pytest.mark.parametrize(
    "status,body,kind",
    [
        (404, {}, UpstreamDenied),
        (500, {}, UpstreamFailed),
        (200, {}, UpstreamMalformed),
    ],
)
def test_a_machine_without_an_account(
    make_endpoint: Callable[..., Endpoint], status: int, body: Any, kind: type[XRouterError]
) -> None:
    adapter = YandexGPTAdapter(make_endpoint({}, {"folder_id": "b1gx", "auth": "metadata"}))
    with pytest.raises(kind):
        exchange(adapter, status, body)
