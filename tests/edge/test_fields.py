from __future__ import annotations

import pytest

from xrouter.domain.errors import RateLimited, UpstreamQuotaExhausted, XRouterError
from xrouter.domain.ports import Allowance, Notice, Served
from xrouter.edge import fields


@pytest.mark.parametrize(
    "seconds,expected",
    [
        (0, "0s"),
        (-5, "0s"),
        (0.012, "12ms"),
        (0.9994, "999ms"),
        (0.9996, "1s"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59.999, "59.999s"),
        (60, "1m0s"),
        (360, "6m0s"),
        (3723.5, "1h2m3.5s"),
        (7200, "2h0m0s"),
    ],
)
def test_durations_are_written_as_go_writes_them(seconds: float, expected: str) -> None:
    assert fields.go_duration(seconds) == expected


@pytest.mark.parametrize(
    "text,expected",
    [
        ("plain/model-1", b"plain/model-1"),
        ("a\r\nset-cookie: x", b"a??set-cookie: x"),
        ("caf\u00e9", b"caf\xe9"),
        ("\u043c\u043e\u0434\u0435\u043b\u044c", b"??????"),
        ("nul\x00del\x7f", b"nul?del?"),
        ("x" * 5000, b"x" * 2000),
    ],
)
def test_header_values_are_one_line_of_latin_1(text: str, expected: bytes) -> None:
    assert fields.clean(text) == expected


def test_who_answered() -> None:
    who = Served("m", "v", "p", "e", 3, ("seed", "logit_bias"), "up\n1")
    assert dict(fields.served(who)) == {
        b"x-xrouter-model": b"m",
        b"x-xrouter-version": b"v",
        b"x-xrouter-provider": b"p",
        b"x-xrouter-endpoint": b"e",
        b"x-xrouter-attempts": b"3",
        b"x-xrouter-upstream-id": b"up?1",
        b"x-xrouter-dropped": b"seed, logit_bias",
    }


def test_who_was_asked_though_nobody_answered() -> None:
    who = Served("m", "v", "p", "e", 2, ("seed",), "up", route="bot", reason="weighted")
    assert dict(fields.asked(who)) == {
        b"x-xrouter-model": b"m",
        b"x-xrouter-version": b"v",
        b"x-xrouter-provider": b"p",
        b"x-xrouter-endpoint": b"e",
        b"x-xrouter-attempts": b"2",
        b"x-xrouter-route": b"route/bot; weighted",
        b"x-xrouter-upstream-id": b"up",
    }


def test_why_it_answered_and_that_it_will_go() -> None:
    notice = Notice(since=1_767_225_600.0, until=1_769_904_000.0, successor="p/m")
    who = Served("p/m", "4", "p", "e", 2, route="bot", reason="weighted", notice=notice)
    headers = dict(fields.served(who))
    assert headers[b"x-xrouter-route"] == b"route/bot; weighted"
    assert headers[b"deprecation"] == b"@1767225600"
    assert headers[b"sunset"] == b"Sun, 01 Feb 2026 00:00:00 GMT"
    assert headers[b"x-xrouter-successor"] == b"p/m"


def test_the_state_of_the_limit() -> None:
    assert dict(fields.allowance(Allowance(60, -1, 90))) == {
        b"x-ratelimit-limit-requests": b"60",
        b"x-ratelimit-remaining-requests": b"0",
        b"x-ratelimit-reset-requests": b"1m30s",
    }
    assert fields.allowance(Allowance(9000, 8000, 0.5, "tokens")) == [
        (b"x-ratelimit-limit-tokens", b"9000"),
        (b"x-ratelimit-remaining-tokens", b"8000"),
        (b"x-ratelimit-reset-tokens", b"500ms"),
    ]


@pytest.mark.parametrize(
    "error,expected",
    [
        (RateLimited("x"), {}),
        (RateLimited("x", retry_after=1.2), {b"retry-after": b"2", b"retry-after-ms": b"1200"}),
        (RateLimited("x", retry_after=-3), {b"retry-after": b"0", b"retry-after-ms": b"0"}),
        (RateLimited("x", retry_after=float("inf")), {}),
        (UpstreamQuotaExhausted("x"), {b"x-should-retry": b"false"}),
    ],
)
def test_when_to_try_again(error: XRouterError, expected: dict[bytes, bytes]) -> None:
    assert dict(fields.error(error)) == expected
