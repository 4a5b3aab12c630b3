"""Access tokens at the door of the data plane, attacked: O-39 to O-45."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey
from sqlalchemy import select
from tests.control.oauth.conftest import ISSUER, Browser, World

from xrouter.control.db.tables.oauth import SigningKeyRow
from xrouter.control.oauth import signing
from xrouter.domain.errors import NotReady
from xrouter.domain.identity import new_key
from xrouter.domain.snapshot import EMPTY
from xrouter.stores.memory import tokens as book_module

pytestmark = pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)


class Forge:
    """Whoever holds our own key, to make tokens that are wrong in one thing alone."""

    def __init__(self, key: Any, kid: str, claims: dict[str, Any]) -> None:
        self.key = key
        self.header = {"alg": "ES256", "kid": kid, "typ": "at+jwt"}
        self.claims = claims

    def token(self, *, key: Any = None, **changed: Any) -> str:
        """None takes a claim away."""
        claims = {n: v for n, v in {**self.claims, **changed}.items() if v is not None}
        return self.sign(self.header, json.dumps(claims).encode(), key)

    def headed(self, *, key: Any = None, **changed: Any) -> str:
        header = {n: v for n, v in {**self.header, **changed}.items() if v is not None}
        return self.sign(header, json.dumps(self.claims).encode(), key)

    def sign(self, header: dict[str, Any], payload: bytes, key: Any = None) -> str:
        """Also headers that the library would not write."""
        parts = [part(json.dumps(header).encode()), part(payload)]
        signed = ".".join(parts).encode()
        made = jws.JWSRegistry.algorithms[self.header["alg"]].sign(signed, key or self.key)
        return ".".join([*parts, part(made)])


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.fixture
async def forge(world: World) -> Forge:
    token = await world.own_token(await world.service())
    await world.publish()
    async with world.services.db.read() as session:
        row = (await session.scalars(select(SigningKeyRow))).one()
    claims = json.loads(jws.extract_compact(token.encode()).payload)
    return Forge(signing.opened(world.services.vault, row), row.kid, claims)


def _bare(forge: Forge, alg: str) -> str:
    header = part(json.dumps({**forge.header, "alg": alg}).encode())
    return f"{header}.{part(json.dumps(forge.claims).encode())}."


def _hmac(forge: Forge) -> str:
    """The public key taken for a shared secret."""
    public = json.dumps(forge.key.as_dict(private=False))
    header = part(json.dumps({**forge.header, "alg": "HS256"}).encode())
    signed = f"{header}.{part(json.dumps(forge.claims).encode())}"
    made = jws.JWSRegistry.algorithms["HS256"].sign(signed.encode(), OctKey.import_key(public))
    return f"{signed}.{part(made)}"


def _other_payload(forge: Forge) -> str:
    head, _, signature = forge.token().split(".")
    return f"{head}.{part(json.dumps({**forge.claims, 'project': 'other'}).encode())}.{signature}"


def _raw(payload: bytes) -> Callable[[Forge], str]:
    return lambda forge: forge.sign(forge.header, payload)


NOW = time.time()
STRANGER = ECKey.generate_key("P-256")
MUTATIONS: dict[str, Callable[[Forge], str]] = {
    "no signature": lambda f: f.token().rpartition(".")[0] + ".",
    "another signature": lambda f: f.token().rpartition(".")[0] + "." + part(bytes(64)),
    "a cut signature": lambda f: f.token()[:-4],
    "another payload": _other_payload,
    "none": lambda f: _bare(f, "none"),
    "None": lambda f: _bare(f, "None"),
    "empty algorithm": lambda f: _bare(f, ""),
    "the public key as a secret": _hmac,
    "a stranger's key": lambda f: f.token(key=STRANGER),
    "a key in the header": lambda f: f.headed(key=STRANGER, jwk=STRANGER.as_dict(private=False)),
    "a key at an address": lambda f: f.headed(jku="https://evil.test/jwks.json"),
    "a certificate at an address": lambda f: f.headed(x5u="https://evil.test/c.pem"),
    "a certificate": lambda f: f.headed(x5c=["AAAA"]),
    "a print of a certificate": lambda f: f.headed(x5t="AAAA"),
    "crit": lambda f: f.headed(crit=["exp"]),
    "b64": lambda f: f.headed(b64=False, crit=["b64"]),
    "another algorithm": lambda f: f.headed(alg="RS256"),
    "ES384": lambda f: f.headed(alg="ES384"),
    "no kid": lambda f: f.headed(kid=None),
    "unknown kid": lambda f: f.headed(kid="unknown"),
    "kid is a list": lambda f: f.headed(kid=[f.header["kid"]]),
    "kid is a path": lambda f: f.headed(kid="../../dev/null"),
    "typ JWT": lambda f: f.headed(typ="JWT"),
    "no typ": lambda f: f.headed(typ=None),
    "an ID token": lambda f: f.headed(typ="id+jwt"),
    "another issuer": lambda f: f.token(iss="https://evil.test"),
    "an issuer with a slash": lambda f: f.token(iss=ISSUER + "/"),
    "no issuer": lambda f: f.token(iss=None),
    "another audience": lambda f: f.token(aud="client_x"),
    "other audiences": lambda f: f.token(aud=["a", "b"]),
    "an audience that is part of ours": lambda f: f.token(aud="https://router"),
    "no audience": lambda f: f.token(aud=None),
    "expired": lambda f: f.token(exp=int(NOW) - 1),
    "no end": lambda f: f.token(exp=None),
    "an end that is text": lambda f: f.token(exp="9999999999"),
    "an end that is true": lambda f: f.token(exp=True),
    "an end without end": lambda f: f.token(exp=float("inf")),
    "an end that is no number": lambda f: f.token(exp=float("nan")),
    "an end beyond numbers": lambda f: f.token(exp=10**400),
    "not yet": lambda f: f.token(nbf=int(NOW) + 3600),
    "of the future": lambda f: f.token(iat=int(NOW) + 3600),
    "no iat": lambda f: f.token(iat=None),
    "no subject": lambda f: f.token(sub=None),
    "no jti": lambda f: f.token(jti=None),
    "no grant": lambda f: f.token(gid=None),
    "no client": lambda f: f.token(client_id=None),
    "no project": lambda f: f.token(project=""),
    "no scope": lambda f: f.token(scope=None),
    "scopes as a list": lambda f: f.token(scope=["chat"]),
    "claims are a list": _raw(b"[]" + b" " * 100),
    "claims are text": _raw(b"hello" * 20),
    "claims too deep": _raw(b"[" * 2900 + b"]" * 100),
    "too many parts": lambda f: f.token() + ".x",
    "spaces": lambda f: f.token().replace(".", ". "),
    "too long": lambda f: f.token(more="x" * 5000),
}


async def test_o40_o41_broken_tokens_open_nothing(world: World, forge: Forge) -> None:
    assert len(MUTATIONS) >= 30
    assert (await world.call(forge.token())).status_code == 200
    for name, mutate in MUTATIONS.items():
        token = mutate(forge)
        assert len(token) > 256, name
        reply = await world.call(token)
        assert reply.status_code == 401, name
        assert reply.json()["error"]["code"] == "invalid_token", name
        assert reply.headers["www-authenticate"] == 'Bearer error="invalid_token"', name


async def test_o40_a_clock_may_be_ahead_by_half_a_minute(world: World, forge: Forge) -> None:
    now = int(time.time())
    assert (await world.call(forge.token(iat=now + 20, nbf=now + 20))).status_code == 200
    assert (await world.call(forge.token(iat=now + 60))).status_code == 401


async def test_o40_several_audiences_may_hold_ours(world: World, forge: Forge) -> None:
    assert (await world.call(forge.token(aud=["x", ISSUER]))).status_code == 200


async def test_o40_refresh_tokens_codes_and_secrets_open_nothing(
    world: World, person: Browser
) -> None:
    client = await world.client()
    code = await world.code(person, client)
    tokens = (await world.exchange(client, code)).json()
    await world.publish()
    for secret in (code, tokens["refresh_token"], client["client_secret"]):
        assert (await world.call(secret)).status_code == 401
    reply = await world.http.get(
        "/control/v1/keys", headers={"authorization": f"Bearer {tokens['access_token']}"}
    )
    assert reply.status_code == 401


async def test_o42_random_key_ids_cost_no_io(
    world: World, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_given: object, **_more: object) -> Any:
        raise AssertionError("somebody was asked")

    db = type(world.services.db)
    monkeypatch.setattr(db, "read", asked)
    monkeypatch.setattr(db, "write", asked)
    monkeypatch.setattr(book_module, "_public", asked)  # not even a signature is looked at
    for number in range(1000):
        header = {**forge.header, "kid": f"random{number}"}
        token = f"{part(json.dumps(header).encode())}.{part(b'{}' * 200)}.{part(bytes(64))}"
        assert (await world.call(token)).status_code == 401


async def test_o43_a_token_comes_in_one_place(world: World, forge: Forge) -> None:
    token = forge.token()
    for scheme in ("Bearer", "bearer", "BEARER"):
        reply = await world.http.get("/v1/models", headers={"authorization": f"{scheme} {token}"})
        assert reply.status_code == 200
    in_query = await world.http.get("/v1/models", params={"access_token": token})
    assert in_query.status_code == 401
    twice = await world.call(token, **{"x-api-key": forge.token(jti="another")})
    assert twice.status_code == 400
    key_too = await world.call(token, **{"api-key": new_key()})
    assert key_too.status_code == 400


async def test_o44_what_a_refusal_says(world: World, forge: Forge) -> None:
    nothing = await world.call(None)
    assert nothing.status_code == 401
    assert nothing.headers["www-authenticate"] == "Bearer"
    narrow = await world.call(forge.token(scope="account"))
    assert narrow.status_code == 403
    assert narrow.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    unknown = await world.call(forge.token(scope="admin superuser"))
    assert unknown.status_code == 403


async def test_o44_a_token_is_held_to_its_scopes(world: World, forge: Forge) -> None:
    body = {"model": "acme/one", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {forge.token(scope='models')}"}
    reply = await world.http.post("/v1/chat/completions", json=body, headers=headers)
    assert reply.status_code == 403, reply.text
    assert reply.json()["error"]["code"] == "insufficient_scope"


async def test_o45_tokens_that_begin_alike_are_not_taken_for_each_other(
    world: World, forge: Forge
) -> None:
    one = forge.token(project="one", zzz="a")
    other = forge.token(project="other", zzz="a")
    forged = one.rpartition(".")[0] + "." + part(bytes(64))
    assert one[:100] == other[:100] == forged[:100]
    snapshot = world.data.snapshots.current
    find = world.data.keys.find
    assert find(one, snapshot).project == "one"
    assert find(other, snapshot).project == "other"
    assert (await world.call(one)).status_code == 200
    assert (await world.call(forged)).status_code == 401


async def test_before_the_first_snapshot_tokens_cannot_be_judged(
    world: World, forge: Forge
) -> None:
    with pytest.raises(NotReady):
        world.data.keys.find(forge.token(), EMPTY)


async def test_who_a_token_is(world: World, person: Browser) -> None:
    client = await world.client()
    tokens = await world.tokens(person, client)
    await world.publish()
    principal = world.data.keys.find(tokens["access_token"], world.data.snapshots.current)
    assert principal.project == "default"
    assert principal.key_id.startswith("grant_")
    assert principal.user is not None
    assert principal.user.startswith("user_")
    assert principal.bounds is not None
    assert set(principal.bounds.scopes) == {"chat", "models"}
