from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrouter.domain.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    PayloadTooLarge,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamMalformed,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamTimeout,
    XRouterError,
)
from xrouter.providers.yandexgpt.adapter import YandexGPTAdapter
from xrouter.providers.yandexgpt.errors import ErrorReader
from xrouter.wire.types import WireReply

FOLDER = "b1gexamplefolder0000"
KEY = "AQVNsecretkey"


def reply(status: int, body: Any, **headers: str) -> WireReply:
    raw = body.encode() if isinstance(body, str) else msgspec.json.encode(body)
    return WireReply(status, {name.replace("_", "-"): text for name, text in headers.items()}, raw)


def shapes(text: str) -> list[Any]:
    return [
        {"error": {"grpcCode": 3, "httpCode": 400, "message": text, "details": []}},
        {"error": text, "code": 3, "message": text, "details": []},
        {"error": {"message": text, "type": "server_error"}},
        {"error": {"error": text}},
        {"code": 3, "message": text, "details": []},
    ]


@pytest.mark.parametrize(
    "text,kind",
    [
        ("number of input tokens must be no more than 2048, got 2908", ContextLengthExceeded),
        ("text length is 349354, which is outside the range (0, 100000]", ContextLengthExceeded),
        ("This model's maximum context length is 10 tokens", ContextLengthExceeded),
        ("Failed to get model", ModelNotFound),
        ("Failed to parse model URI", ModelNotFound),
        ("invalid model_uri", ModelNotFound),
        (
            "Specified folder ID 'b1gA' does not match with service account folder ID 'b1gB'",
            UpstreamDenied,
        ),
        ("Billing account is blocked", UpstreamQuotaExhausted),
        ("empty message text", InvalidRequest),
        ("text length is 0, which is outside the range (0, 100000]", InvalidRequest),
    ],
)
def test_a_400_is_told_by_its_text_in_every_shape(
    adapter: YandexGPTAdapter, text: str, kind: type[XRouterError]
) -> None:
    for body in shapes(text):
        assert type(adapter.decode_error(reply(400, body))) is kind


@pytest.mark.parametrize(
    "status,kind",
    [
        (301, UpstreamMalformed),
        (401, UpstreamDenied),
        (402, UpstreamQuotaExhausted),
        (403, UpstreamDenied),
        (404, ModelNotFound),
        (408, UpstreamTimeout),
        (413, PayloadTooLarge),
        (422, InvalidRequest),
        (429, UpstreamRateLimited),
        (500, UpstreamFailed),
        (501, UpstreamFailed),
        (502, UpstreamFailed),
        (503, UpstreamOverloaded),
        (504, UpstreamTimeout),
    ],
)
def test_the_status_decides_where_the_text_says_nothing(
    adapter: YandexGPTAdapter, status: int, kind: type[XRouterError]
) -> None:
    error = adapter.decode_error(reply(status, {"error": {"message": "hm"}}))
    assert type(error) is kind
    assert error.upstream_status == status


@pytest.mark.parametrize(
    "status,kind",
    [
        (400, UpstreamMalformed),
        (403, UpstreamDenied),
        (404, UpstreamMalformed),
        (502, UpstreamFailed),
    ],
)
def test_pages_of_proxies(adapter: YandexGPTAdapter, status: int, kind: type[XRouterError]) -> None:
    error = adapter.decode_error(reply(status, "<html><h1>secret page</h1></html>"))
    assert type(error) is kind
    assert "secret page" not in error.message


@pytest.mark.parametrize(
    "headers,found",
    [
        ({"x_request_id": "a", "x_server_trace_id": "b"}, "a"),
        ({"x_server_trace_id": "b"}, "b"),
        ({}, None),
    ],
)
def test_the_providers_request_id_is_kept(
    adapter: YandexGPTAdapter, headers: dict[str, str], found: str | None
) -> None:
    assert adapter.decode_error(reply(500, "", **headers)).upstream_request_id == found


@pytest.mark.parametrize("header,seconds", [("7", 7.0), ("soon", 1.0), ("", 1.0), ("-1", 1.0)])
def test_when_to_come_back(adapter: YandexGPTAdapter, header: str, seconds: float) -> None:
    error = adapter.decode_error(reply(429, "", retry_after=header))
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    "text,word",
    [
        ("The apikey has expired", "expired"),
        ("Unknown api key", "credential"),
        ("Permission denied", "ai.languageModels.user"),
        ("Specified folder ID 'x' does not match with service account folder ID 'y'", "folder_id"),
    ],
)
def test_a_refused_credential_says_what_to_do(
    adapter: YandexGPTAdapter, text: str, word: str
) -> None:
    hint = adapter.decode_error(reply(403, {"error": {"message": text}})).hint
    assert hint is not None
    assert word in hint


@given(
    st.sampled_from([400, 401, 403, 404, 409, 429, 500, 503, 504]),
    st.sampled_from(
        ["{}", "model gpt://{}/x", "folder_id={}&a", "ID '{}' does not match", "got 5 {} billing"]
    ),
    st.sampled_from([FOLDER, KEY, "b1gsomebodyelse000000", "t1.9euelZqVtoken", "AQVNanother-key"]),
    st.integers(0, 4),
)
def test_no_folder_and_no_key_is_ever_shown(
    status: int, pattern: str, secret: str, shape: int
) -> None:
    reader = ErrorReader([KEY, FOLDER])
    body = shapes(pattern.format(secret[:20]))[shape]
    for error in (reader.from_reply(reply(status, body)), reader.from_object(body)):
        assert secret[:20] not in msgspec.json.encode(error.body()).decode()


def test_long_texts_are_cut(adapter: YandexGPTAdapter) -> None:
    error = adapter.decode_error(reply(400, {"error": {"message": "word " * 10_000}}))
    assert len(error.message) < 500
