"""Errors of any shape and status."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrouter.domain.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    OperatorError,
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
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.providers.shapes.openai_retry import retry_after
from xrouter.wire.types import WireReply

KEY = "sk-secret-of-the-endpoint"
READER = ErrorReader([KEY])


def error_of(status: int, body: Any, **headers: str) -> XRouterError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return READER.of_reply(WireReply(status, named, raw))


def usual(message: str = "Because", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": None, "param": None, "code": None} | more}


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (301, b"", UpstreamMalformed),
        (400, usual(), InvalidRequest),
        (400, usual(code="model_not_found"), ModelNotFound),
        (400, usual(code="billing_hard_limit_reached"), UpstreamQuotaExhausted),
        (400, usual("prompt is too long: 9 tokens > 8"), ContextLengthExceeded),
        (400, usual("Your input exceeds the context window of this model"), ContextLengthExceeded),
        (400, usual("max_tokens is too large: 9. This model supports 8"), InvalidRequest),
        (400, b"<html>", UpstreamMalformed),
        (400, b"", UpstreamMalformed),
        (400, b"plain words", InvalidRequest),
        (401, {"error": "Unauthorized"}, UpstreamDenied),
        (402, usual(), UpstreamQuotaExhausted),
        (403, usual(), UpstreamDenied),
        (404, usual(), ModelNotFound),
        (404, usual("Unknown request URL: POST /x"), UpstreamMalformed),
        (404, usual("File Not Found"), UpstreamMalformed),
        (404, b"404 page not found", UpstreamMalformed),
        (405, usual(), UpstreamMalformed),
        (408, usual(), UpstreamTimeout),
        (409, usual(), InvalidRequest),
        (410, usual(), ModelNotFound),
        (413, b"<html>", PayloadTooLarge),
        (413, usual("reduce the length of the messages"), ContextLengthExceeded),
        (422, usual(), InvalidRequest),
        (429, usual(), UpstreamRateLimited),
        (429, usual(type="insufficient_quota"), UpstreamQuotaExhausted),
        (500, usual(), UpstreamFailed),
        (500, usual("This model's maximum context length is 8 tokens"), ContextLengthExceeded),
        (501, usual(), InvalidRequest),
        (502, b"<html>", UpstreamFailed),
        (503, usual(), UpstreamOverloaded),
        (504, b"", UpstreamTimeout),
        (524, b"<html>", UpstreamTimeout),
        (529, usual(), UpstreamOverloaded),
    ],
)
def test_status_and_words(status: int, body: Any, kind: type[XRouterError]) -> None:
    error = error_of(status, body, x_request_id="req-1")
    assert type(error) is kind
    assert error.upstream_status == status
    assert error.upstream_request_id == "req-1"
    assert error.message


@pytest.mark.parametrize(
    "body, kind",
    [
        ({"error": {"message": "x", "code": 429}}, UpstreamRateLimited),
        ({"error": {"message": "x", "code": "429"}}, UpstreamRateLimited),
        ({"error": {"message": "x", "type": "overloaded_error"}}, UpstreamOverloaded),
        ({"error": {"message": "x", "type": "invalid_request_error"}}, InvalidRequest),
        ({"error": {"message": "x", "code": "context_length_exceeded"}}, ContextLengthExceeded),
        ({"error": {"message": "x", "code": "insufficient_quota"}}, UpstreamQuotaExhausted),
        ({"error": {"message": "x", "type": "authentication_error"}}, UpstreamDenied),
        ({"error": "x"}, UpstreamFailed),
        ({"error": {"status": 504}}, UpstreamTimeout),
    ],
)
def test_errors_without_a_status(body: Any, kind: type[XRouterError]) -> None:
    assert type(READER.of_object(body)) is kind


@pytest.mark.parametrize("status", [401, 403])
def test_our_credential_is_never_the_callers(status: int) -> None:
    error = error_of(status, usual(f"Incorrect API key provided: {KEY}"))
    assert isinstance(error, OperatorError)
    assert error.status == 502
    assert "Incorrect" not in json.dumps(error.body())


@given(st.sampled_from([400, 404, 422, 429, 500, 503]), st.text(max_size=30), st.text(max_size=30))
def test_secrets_never_show(status: int, before: str, after: str) -> None:
    error = error_of(status, usual(f"{before} {KEY} {after}"))
    assert KEY not in json.dumps(error.body())


def test_ids_of_the_operator_never_show() -> None:
    error = error_of(429, usual("in organization org-AbCdEfGhIjKl0123 with sk-abcdefgh1234"))
    assert "in organization *** with ***" in error.message


def test_long_words_are_cut() -> None:
    assert len(error_of(400, usual("x" * 100_000)).message) < 1100


def test_context_errors_have_the_phrase_that_clients_look_for() -> None:
    error = error_of(400, usual("prompt is too long", param="input"))
    assert "maximum context length" in error.message
    assert error.param == "input"


@pytest.mark.parametrize(
    "code, expected",
    [
        ("x", "x"),
        (1500, "1500"),
        (400, None),
        ("400", None),
        (None, None),
        (True, None),
        ("", None),
    ],
)
def test_codes_are_text(code: Any, expected: str | None) -> None:
    assert error_of(400, usual(code=code)).code == expected


@pytest.mark.parametrize(
    "headers, expected",
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after": "999999"}, 3600.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:28:30 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            30.0,
        ),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:27:30 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            None,
        ),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers) == expected


def test_retry_after_goes_with_the_error() -> None:
    assert error_of(429, usual(), retry_after="3").retry_after == 3.0
    assert error_of(503, b"", retry_after_ms="20").retry_after == 0.02
    assert error_of(400, usual(), retry_after="3").retry_after is None


@given(st.binary(max_size=200), st.integers(300, 599))
def test_any_body_is_read(body: bytes, status: int) -> None:
    assert isinstance(error_of(status, body), XRouterError)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "param", "detail", "status"]),
            inner,
            max_size=4,
        )
    ),
)


@given(JSON)
def test_any_object_is_read(body: Any) -> None:
    error = READER.of_object(body)
    assert isinstance(error, XRouterError)
    json.dumps(error.body())
