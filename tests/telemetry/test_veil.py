from __future__ import annotations

import secrets
import time

import pytest

from xrouter.domain.identity import new_key
from xrouter.telemetry.veil import veiled


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/models/anthropic/claude-3-5-sonnet-20241022",
        "/v1/responses/resp_01M7Z9",
        "/control/v1/oauth/clients/client_01m7zarkacrd4m3wzekqqq3afs",
        "/v1/models/gigachat/GigaChat-2-Max",
        "/модель",
    ],
)
def test_usual_addresses_are_shown(path: str) -> None:
    assert veiled(path) == path


def test_what_looks_like_a_secret_is_not() -> None:
    for secret in (new_key(), secrets.token_urlsafe(32) + "aA1", "eyJhbGciOiJFUzI1NiIsImtpZCI6"):
        assert veiled(f"/v1/{secret}/x") == "/v1/***/x"
    assert veiled(f"/v1/{new_key()}.{new_key()}") == "/v1/***.***"


def test_long_addresses_are_cut_and_cost_little() -> None:
    began = time.perf_counter()
    for text in ("a" * 65_000, "aA1" * 20_000, "a-" * 30_000):
        assert len(veiled("/" + text)) <= 301
    assert time.perf_counter() - began < 1.0
