import base64
import json
import uuid
from typing import Any

import pytest

from xrouter.domain.catalog import Endpoint
from xrouter.domain.errors import (
    InvalidRequest,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamMalformed,
    UpstreamRateLimited,
    XRouterError,
)
from xrouter.domain.secret import Secret
from xrouter.providers.base import from_environment
from xrouter.providers.gigachat.adapter import GigaChatAdapter
from xrouter.wire.types import Token, TokenFlow, WireReply, WireRequest

NOW = 1_769_000_000.0
KEY = base64.b64encode(b"id:secret").decode()


def endpoint(**fields: Any) -> Endpoint:
    credential = {k: Secret(v) for k, v in fields.pop("credential", {}).items()}
    given = {"base_url": GigaChatAdapter.default_base_url, **fields}
    return Endpoint(
        id=1, provider="gigachat", name="primary", adapter_class="x", credential=credential, **given
    )


def started(**fields: Any) -> tuple[TokenFlow, WireRequest]:
    flow = GigaChatAdapter(endpoint(**fields)).auth(NOW)
    assert flow is not None
    return flow, next(flow)


def finish(flow: TokenFlow, reply: WireReply) -> Token:
    with pytest.raises(StopIteration) as stopped:
        flow.send(reply)
    token = stopped.value.value
    assert isinstance(token, Token)
    return token


def reply(status: int, body: Any) -> WireReply:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return WireReply(status, {"x-request-id": "r1", "retry-after": "2"}, raw)


def refusal(status: int, body: Any) -> XRouterError:
    flow, _ = started(credential={"credentials": KEY})
    with pytest.raises(XRouterError) as raised:
        flow.send(reply(status, body))
    return raised.value


def test_the_authorization_key_is_sent_as_it_is() -> None:
    _, wire = started(credential={"credentials": KEY})
    assert wire.method == "POST"
    assert wire.url == "https://ngw.devices.sberbank.ru:9443/api/v2/oauth"
    assert wire.headers["authorization"] == f"Basic {KEY}"
    assert wire.headers["content-type"] == "application/x-www-form-urlencoded"
    assert uuid.UUID(wire.headers["rquid"]).version == 4
    assert wire.body == b"scope=GIGACHAT_API_PERS"


def test_scope_and_url_are_options_and_every_request_has_its_own_id() -> None:
    options = {"scope": "GIGACHAT_API_B2B", "auth_url": "http://127.0.0.1:1/oauth"}
    _, one = started(credential={"credentials": KEY}, options=options)
    _, two = started(credential={"credentials": KEY}, options=options)
    assert one.url == "http://127.0.0.1:1/oauth"
    assert one.body == b"scope=GIGACHAT_API_B2B"
    assert one.headers["rquid"] != two.headers["rquid"]


@pytest.mark.parametrize(
    "body,expires_at",
    [
        ({"access_token": "t", "expires_at": 1_769_001_800_000}, 1_769_001_800.0),
        ({"access_token": "t", "expires_at": 1_769_001_800}, 1_769_001_800.0),
        ({"tok": "t", "exp": 1_769_001_800_000}, 1_769_001_800.0),
        ({"access_token": "t", "expires_at": "1769001800000"}, 1_769_001_800.0),
        ({"access_token": "t"}, NOW + 1800),
        ({"access_token": "t", "expires_at": "soon"}, NOW + 1800),
    ],
)
def test_a_token_comes_in_several_spellings(body: Any, expires_at: float) -> None:
    flow, _ = started(credential={"credentials": KEY})
    assert finish(flow, reply(200, body)) == Token("t", expires_at)


def test_user_and_password_ask_the_api_host() -> None:
    flow, wire = started(credential={"user": "anna", "password": "пароль"}, base_url="http://h/v1/")
    assert (wire.method, wire.url, wire.body) == ("POST", "http://h/v1/token", b"")
    pair = base64.b64decode(wire.headers["authorization"].removeprefix("Basic "))
    assert pair.decode() == "anna:пароль"
    assert finish(flow, reply(200, {"tok": "t", "exp": 1_769_001_800_000})).value == "t"


@pytest.mark.parametrize(
    "credential,certificate",
    [({"access_token": "ready", "credentials": KEY}, None), ({}, "/pem/client.pem")],
)
def test_a_ready_token_and_a_certificate_need_no_exchange(
    credential: dict[str, str], certificate: str | None
) -> None:
    adapter = GigaChatAdapter(endpoint(credential=credential, client_cert=certificate))
    assert adapter.auth(NOW) is None
    wire = adapter.probe()
    adapter.authorize(wire, None)
    assert wire.headers.get("authorization") == ("Bearer ready" if credential else None)


def test_the_token_of_the_exchange_is_a_bearer_token() -> None:
    adapter = GigaChatAdapter(endpoint(credential={"credentials": KEY}))
    wire = adapter.probe()
    adapter.authorize(wire, "one")
    adapter.authorize(wire, "two")
    assert wire.headers["authorization"] == "Bearer two"


@pytest.mark.parametrize(
    "status,body,told",
    [
        (400, {"code": 5, "message": "scope is empty"}, "`scope` is empty"),
        (400, {"code": 1, "message": "scope data format invalid"}, "not one that GigaChat knows"),
        (400, {"code": 7, "message": "scope from db ..."}, "another `scope`"),
        (401, {"code": 4, "message": "Can't decode 'Authorization' header"}, "not a base64"),
        (401, {"code": 6, "message": "credentials doesn't match db data"}, "wrong or revoked"),
        (400, {"code": 99, "message": "RqUID is missing"}, "RqUID is missing"),
        (401, {"status": 401, "message": "Unauthorized"}, "Unauthorized"),
        (400, "<html>400</html>", "status 400"),
        (404, "<html>404</html>", "no token service"),
    ],
)
def test_a_refused_credential_is_the_operators_matter(status: int, body: Any, told: str) -> None:
    error = refusal(status, body)
    assert type(error) is UpstreamDenied
    assert error.status == 502
    assert (error.upstream_status, error.upstream_request_id) == (status, "r1")
    assert error.hint is not None
    assert told in error.hint
    assert KEY not in error.hint + error.message


@pytest.mark.parametrize(
    "status,body,kind",
    [
        (500, "", UpstreamFailed),
        (502, "<html>502</html>", UpstreamFailed),
        (302, "", UpstreamFailed),
        (429, {"message": "Too many requests"}, UpstreamRateLimited),
        (200, "<html>hello</html>", UpstreamMalformed),
        (200, [], UpstreamMalformed),
        (200, {"access_token": ""}, UpstreamMalformed),
        (200, {"access_token": "a\nb"}, UpstreamMalformed),
        (200, "[" * 100_000, UpstreamMalformed),
    ],
)
def test_other_failures_of_the_token_service(
    status: int, body: Any, kind: type[XRouterError]
) -> None:
    error = refusal(status, body)
    assert type(error) is kind
    assert error.retry_after == (2.0 if status == 429 else None)


@pytest.mark.parametrize(
    "fields,param",
    [
        ({}, "credential"),
        ({"credential": {"user": "u"}}, "credential"),
        ({"credential": {"password": "p", "credentials": KEY}}, "credential"),
        ({"credential": {"credentials": "two words"}}, "credential.credentials"),
        ({"credential": {"access_token": "a\r\nb: c"}}, "credential.access_token"),
        ({"credential": {"credentials": KEY}, "options": {"scope": "X"}}, "options.scope"),
        (
            {"credential": {"credentials": KEY}, "options": {"auth_url": "ftp:x"}},
            "options.auth_url",
        ),
        ({"credential": {"credentials": KEY}, "base_url": "giga.chat"}, "base_url"),
    ],
)
def test_validate_names_what_is_wrong(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        GigaChatAdapter.validate(endpoint(**fields))
    assert raised.value.param == param


@pytest.mark.parametrize(
    "fields",
    [
        {"credential": {"credentials": KEY}, "options": {"scope": "GIGACHAT_API_CORP"}},
        {"credential": {"user": "u", "password": "p"}},
        {"credential": {"access_token": "t"}},
        {"client_cert": "/pem/client.pem"},
    ],
)
def test_validate_accepts_each_way_in(fields: dict[str, Any]) -> None:
    GigaChatAdapter.validate(endpoint(**fields))


def test_certificates_are_named_by_the_variables_that_people_have() -> None:
    """Those of the official client; whether to verify is no variable: XRouter always does."""
    environ = {
        "GIGACHAT_CREDENTIALS": KEY,
        "GIGACHAT_CA_BUNDLE_FILE": "/pem/root.pem",
        "GIGACHAT_CERT_FILE": "/pem/client.pem",
        "GIGACHAT_KEY_FILE": "/pem/client.key",
        "GIGACHAT_VERIFY_SSL_CERTS": "false",
    }
    assert GigaChatAdapter.environment is not None
    fields = from_environment(GigaChatAdapter.environment, environ)
    assert fields is not None
    assert fields.ca_bundle == "/pem/root.pem"
    assert (fields.client_cert, fields.client_key) == ("/pem/client.pem", "/pem/client.key")
    assert fields.options == {}
