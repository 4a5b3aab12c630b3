"""What a key is held to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.catalog import model

from xrouter.domain.bounds import SCOPES, Bounds, compact, network, packed
from xrouter.domain.errors import Forbidden


@pytest.mark.parametrize(
    "text,normal",
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("2001:DB8::1/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_ranges_are_normalised(text: str, normal: str) -> None:
    assert str(network(text)) == normal


@pytest.mark.parametrize(
    "text", ["", "x", "10.0.0.0/33", "::/129", "10.0.0", "010.0.0.1", "fe80::1%eth0", "10.0.0.0/8 "]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the library's words
        network(text)


@pytest.mark.parametrize(
    "ranges,client,inside",
    [
        (["10.0.0.0/8"], "10.255.0.1", True),
        (["10.0.0.0/8"], "11.0.0.1", False),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", True),
        (["10.0.0.0/8"], "::ffff:a00:1", True),
        (["10.0.0.0/8"], "::ffff:11.0.0.1", False),
        (["::ffff:10.0.0.0/104"], "10.0.0.1", True),
        (["10.0.0.0/8"], "a00:1::", False),
        (["::/0"], "2001:db8::1", True),
        (["::/0"], "10.0.0.1", False),
        (["0.0.0.0/0"], "2001:db8::1", False),
        (["0.0.0.0/0"], "::ffff:1.2.3.4", True),
        (["2001:db8::/32"], "2001:db8:ffff::1", True),
        (["2001:db8::/32"], "2001:db9::", False),
        (["1.1.1.1", "::1"], "::1", True),
        (["10.0.0.0/8"], None, False),
        (["0.0.0.0/0", "::/0"], None, False),
        (["0.0.0.0/0", "::/0"], "", False),
        (["0.0.0.0/0", "::/0"], "unknown", False),
        (["0.0.0.0/0", "::/0"], "10.0.0.1, 10.0.0.2", False),
    ],
)
def test_addresses(ranges: list[str], client: str | None, inside: bool) -> None:
    bounds = Bounds(networks=tuple(map(compact, ranges)))
    if inside:
        bounds.require_address(client)
        return
    with pytest.raises(Forbidden) as refused:
        bounds.require_address(client)
    assert refused.value.code == "ip_not_allowed"


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 32))
def test_it_is_as_the_library_says(one: IPv4Address, other: IPv4Address, bits: int) -> None:
    text = f"{one}/{bits}"
    raw = packed(f"::ffff:{other}")
    assert raw is not None
    assert compact(text).holds(raw) == (other in network(text))


@given(st.ip_addresses(v=6), st.ip_addresses(v=6), st.integers(0, 128))
def test_it_is_as_the_library_says_of_long_ones(
    one: IPv6Address, other: IPv6Address, bits: int
) -> None:
    raw = packed(str(other))
    assert raw is not None
    if other.ipv4_mapped is None and one.ipv4_mapped is None:
        text = f"{one}/{bits}"
        assert compact(text).holds(raw) == (other in network(text))


def test_scopes() -> None:
    for scope in SCOPES:
        Bounds().require_scope(scope)
        Bounds(scopes=(scope,)).require_scope(scope)
    with pytest.raises(Forbidden, match="'images'") as refused:
        Bounds(scopes=("chat", "models")).require_scope("images")
    assert refused.value.code == "insufficient_scope"
    with pytest.raises(Forbidden):
        Bounds(scopes=SCOPES).require_scope("something new")


@pytest.mark.parametrize(
    "listed,admitted",
    [
        ((), True),
        (("acme/one",), True),
        (("acme/*",), True),
        (("acme/on",), False),
        (("acme/one:latest",), False),
        (("acme/deep/*",), False),
        (("other/*", "acme/two"), False),
        (("route/one",), False),
    ],
)
def test_models(listed: tuple[str, ...], admitted: bool) -> None:
    assert Bounds(models=frozenset(listed)).admits(model("acme/one")) is admitted
