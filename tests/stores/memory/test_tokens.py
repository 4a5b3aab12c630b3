from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from msgspec.structs import replace

from xrouter.domain.errors import Unauthenticated
from xrouter.domain.identity import KeyRecord, Principal, new_key
from xrouter.domain.snapshot import EMPTY, Snapshot
from xrouter.domain.tokens import InvalidToken, TokenKey, Trust
from xrouter.stores.memory import tokens
from xrouter.stores.memory.keys import MemoryKeyBook
from xrouter.stores.memory.tokens import MemoryTokenBook

ISSUER = "https://router.test"
NOW = 1000.0
KEY = ECKey.generate_key("P-256")
TRUST = Trust(issuer=ISSUER, keys={"k1": TokenKey("ES256", json.dumps(KEY.as_dict(private=False)))})


def snapshot(trust: Trust = TRUST) -> Snapshot:
    return replace(EMPTY, revision=1, tokens=trust)


def token(**changed: Any) -> str:
    claims = {
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": "user_1",
        "client_id": "client_1",
        "jti": "token_1",
        "gid": "grant_1",
        "project": "default",
        "scope": "chat",
        "iat": NOW,
        "exp": NOW + 100,
        **changed,
    }
    header = {"alg": "ES256", "kid": "k1", "typ": "at+jwt"}
    return jwt.encode(header, claims, KEY, algorithms=["ES256"])


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(clock: Clock) -> MemoryTokenBook:
    return MemoryTokenBook(clock, size=3)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signature was looked at."""
    seen: list[str] = []
    verify = tokens.verify

    def noted(text: str, trust: Trust, now: float) -> Any:
        seen.append(text)
        return verify(text, trust, now)

    monkeypatch.setattr(tokens, "verify", noted)
    return seen


def test_a_token_is_checked_once(book: MemoryTokenBook, checks: list[str]) -> None:
    text, state = token(), snapshot()
    found = [book.find(text, state) for _ in range(5)]
    assert checks == [text]
    assert all(each is found[0] for each in found)
    assert found[0].key_id == "grant_1"
    assert (found[0].project, found[0].user) == ("default", "user_1")


def test_it_ends_when_it_says_so(book: MemoryTokenBook, clock: Clock) -> None:
    text = token()
    book.find(text, snapshot())
    clock.now = NOW + 100
    with pytest.raises(InvalidToken):
        book.find(text, snapshot())
    assert len(book) == 0


@pytest.mark.parametrize("name", ["grant_1", "token_1"])
def test_it_ends_with_the_snapshot_that_revokes_it(book: MemoryTokenBook, name: str) -> None:
    text = token()
    book.find(text, snapshot())
    with pytest.raises(InvalidToken):
        book.find(text, snapshot(replace(TRUST, revoked=frozenset({name}))))
    assert len(book) == 0


@pytest.mark.parametrize("keys", [{}, {"k1": TokenKey("ES256", "{}")}])
def test_it_ends_with_its_key(book: MemoryTokenBook, keys: dict[str, TokenKey]) -> None:
    text = token()
    book.find(text, snapshot())
    with pytest.raises(InvalidToken):
        book.find(text, snapshot(replace(TRUST, keys=keys)))


def test_the_book_is_bounded(book: MemoryTokenBook) -> None:
    for number in range(10):
        book.find(token(jti=f"t{number}"), snapshot())
    assert len(book) == 3


def test_what_is_broken_is_not_kept(book: MemoryTokenBook) -> None:
    for bad in (token(iss="x"), token()[:-8] + "AAAAAAAA"):
        with pytest.raises(InvalidToken):
            book.find(bad, snapshot())
    assert len(book) == 0


def test_without_an_issuer_no_token_is_good(book: MemoryTokenBook) -> None:
    with pytest.raises(InvalidToken):
        book.find(token(iss="", aud=""), snapshot(replace(TRUST, issuer="")))


def test_an_api_key_never_gets_to_the_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_given: object) -> Any:
        raise AssertionError("the book of tokens was asked")

    monkeypatch.setattr(MemoryTokenBook, "find", asked)
    key = new_key()
    record = KeyRecord(mac=b"m", principal=Principal(key_id="k", name="n"))
    book = MemoryKeyBook(lambda _key: b"m")
    assert book.find(key, replace(snapshot(), keys={b"m": record})).key_id == "k"
    with pytest.raises(Unauthenticated):
        book.find("x" * 5000, snapshot())
