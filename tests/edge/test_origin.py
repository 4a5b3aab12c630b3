"""Where a request comes from, when proxies stand in front."""

from __future__ import annotations

import pytest
from tests.edge.harness import KEY, open_house

from xrouter.domain.bounds import compact
from xrouter.domain.origin import origin
from xrouter.edge.limits import DoorLimits

PROXIES = tuple(map(compact, ["10.0.0.0/8", "::1", "2001:db8::/32"]))


@pytest.mark.parametrize(
    "direct,said,found",
    [
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("::ffff:10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4, 10.0.0.2"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4:5678"], "1.2.3.4"),
        ("10.0.0.1", ["[2001:db9::1]:443"], "2001:db9::1"),
        ("10.0.0.1", ["2001:db9::1"], "2001:db9::1"),
        ("10.0.0.1", ["1.2.3.4, unknown"], None),
        ("10.0.0.1", ["1.2.3.4, "], None),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4 10.0.0.2"], None),
        ("9.9.9.9", ["10.0.0.1"], "9.9.9.9"),
        ("9.9.9.9", ["1.2.3.4, 10.0.0.1"], "9.9.9.9"),
        (None, ["1.2.3.4"], None),
        ("::1", ["1.2.3.4, ::1, 2001:db8::7"], "1.2.3.4"),
    ],
)
def test_the_right_most_hop_that_is_not_trusted(
    direct: str | None, said: list[str], found: str | None
) -> None:
    headers = [(b"x-forwarded-for", each.encode()) for each in said]
    headers.append((b"forwarded", b"for=6.6.6.6"))
    headers.append((b"x-real-ip", b"6.6.6.6"))
    assert origin(direct, headers, PROXIES) == found


def test_a_long_chain_is_not_followed_for_ever() -> None:
    headers = [(b"x-forwarded-for", b"1.2.3.4" + b", 10.0.0.1" * 5000)]
    assert origin("10.0.0.1", headers, PROXIES) == "10.0.0.1"


@pytest.mark.parametrize(
    "proxies,client", [((), "127.0.0.1"), (("127.0.0.0/8",), "1.2.3.4"), (("10.0.0.0/8",), None)]
)
async def test_the_header_counts_from_trusted_proxies_alone(
    proxies: tuple[str, ...], client: str | None
) -> None:
    limits = DoorLimits(proxies=tuple(map(compact, proxies)))
    async with open_house(limits=limits) as house:
        headers = {"authorization": f"Bearer {KEY}", "x-forwarded-for": "6.6.6.6, 1.2.3.4"}
        body = {"model": "acme/one", "messages": [{"role": "user", "content": "hi"}]}
        answer = await house.call("POST", "/v1/chat/completions", body, headers)
        assert answer.status == 200
        assert house.flow.calls[-1].client == (client or "127.0.0.1")
