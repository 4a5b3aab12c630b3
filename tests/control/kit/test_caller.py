"""Whose address the control API sees, when proxies stand in front."""

from __future__ import annotations

from typing import Any

import pytest

from xrouter.control.kit.caller import behind
from xrouter.domain.bounds import compact

PROXIES = tuple(map(compact, ["10.0.0.0/8", "2001:db8::/32"]))


def scope(direct: str | None, *said: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", each.encode()) for each in said]
    headers += [(b"forwarded", b"for=6.6.6.6"), (b"x-real-ip", b"6.6.6.6")]
    headers += [(b"cf-connecting-ip", b"6.6.6.6"), (b"true-client-ip", b"6.6.6.6")]
    client = None if direct is None else (direct, 1234)
    return {"type": "http", "client": client, "headers": headers}


@pytest.mark.parametrize(
    "direct,said,found",
    [
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6", "203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db9::1]:443"], "2001:db9::1"),
        ("2001:db8::1", ["2001:db9::1"], "2001:db9::1"),
        ("::ffff:10.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, unknown"], None),
        ("10.0.0.1", ["203.0.113.9, 127.0.0.1 "], "127.0.0.1"),
        ("203.0.113.5", ["6.6.6.6"], "203.0.113.5"),
        ("203.0.113.5", ["6.6.6.6, 10.0.0.1"], "203.0.113.5"),
        ("2001:db9::5", ["10.0.0.1"], "2001:db9::5"),
        (None, ["6.6.6.6"], None),
    ],
)
def test_only_trusted_proxies_are_believed(
    direct: str | None, said: list[str], found: str | None
) -> None:
    client = behind(PROXIES, scope(direct, *said))["client"]
    assert (client and client[0]) == found


def test_without_trusted_proxies_nothing_is_read() -> None:
    given = scope("127.0.0.1", "6.6.6.6")
    assert behind((), given) is given


def test_what_is_no_request_is_left_alone() -> None:
    given = {"type": "lifespan"}
    assert behind(PROXIES, given) is given
