from __future__ import annotations

import pytest

from xrouter.domain.errors import InvalidRequest
from xrouter.edge.asgi import Headers
from xrouter.edge.credential import credential


@pytest.mark.parametrize(
    "headers,expected",
    [
        ({}, None),
        ({b"authorization": b"Bearer sk-1"}, "sk-1"),
        ({b"authorization": b"bearer   sk-1 "}, "sk-1"),
        ({b"authorization": b"BEARER sk-1"}, "sk-1"),
        ({b"authorization": b"sk-1"}, "sk-1"),
        ({b"authorization": b"Bearer "}, None),
        ({b"authorization": b"Bearer"}, None),
        ({b"authorization": b""}, None),
        ({b"authorization": b"Basic dXNlcjpwYXNz"}, None),
        ({b"api-key": b"sk-2"}, "sk-2"),
        ({b"x-api-key": b"sk-3"}, "sk-3"),
        ({b"api-key": b""}, None),
        ({b"authorization": b"Bearer k", b"api-key": b"k", b"x-api-key": b"k"}, "k"),
        ({b"authorization": b"Basic dXNlcjpwYXNz", b"x-api-key": b"k"}, "k"),
        ({b"authorization": b"Bearer \xff"}, "\xff"),
    ],
)
def test_where_the_key_may_be(headers: Headers, expected: str | None) -> None:
    assert credential(headers) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer a", b"api-key": b"b"},
        {b"authorization": b"Bearer a", b"x-api-key": b"b"},
        {b"api-key": b"a", b"x-api-key": b"b"},
    ],
)
def test_two_different_keys_are_refused_and_not_shown(headers: Headers) -> None:
    with pytest.raises(InvalidRequest) as caught:
        credential(headers)
    assert caught.value.code == "conflicting_credentials"
    assert " a" not in caught.value.message.replace(" API", "")
