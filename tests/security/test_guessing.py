"""Who guesses: passwords, links, keys, cookies. Each wrong answer is cheap, and says nothing."""

from __future__ import annotations

import ast
import secrets
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from tests.control.oauth.conftest import EMAIL, ISSUER, PASSWORD, Browser, World

import xrouter
from xrouter.control.people.throttle import FREE_OF_ACCOUNT, FREE_OF_ADDRESS
from xrouter.domain.errors import Unauthenticated
from xrouter.domain.identity import new_key
from xrouter.stores.memory.keys import MemoryKeyBook

OWN = {"origin": ISSUER}
AUTH = "/control/v1/auth"


def counted(world: World) -> list[str]:
    """Filled with the statements that the database gets from now on."""
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    database: Any = world.services.db
    for name in vars(database):
        engine = getattr(database, name)
        sync = getattr(engine, "sync_engine", None)
        if sync is not None:
            event.listen(sync, "before_cursor_execute", note)
    return seen


@pytest.mark.parametrize("way", ["setup", "reset", "accept"])
async def test_links_cannot_be_tried_for_long(world: World, way: str) -> None:
    mallory = world.open(ip="198.51.100.9")
    bodies = {
        "setup": {"email": "a@b.test", "name": "A"},
        "reset": {},
        "accept": {"name": "A"},
    }

    async def guess(http: Any) -> Any:
        body = {"secret": secrets.token_urlsafe(32), "password": PASSWORD, **bodies[way]}
        return await http.post(f"{AUTH}/{way}", json=body, headers=OWN)

    statuses = [(await guess(mallory)).status_code for _ in range(FREE_OF_ADDRESS)]
    assert statuses == [400] * FREE_OF_ADDRESS
    late = await guess(mallory)
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) >= 1
    assert (await guess(world.http)).status_code == 400


async def test_a_good_link_is_no_guess(world: World, person: Browser) -> None:
    """Weak passwords on a good link use up nothing but patience."""
    given = {"email": "new@a.test", "role": "viewer"}
    link = await world.ask("POST", "/organizations/default/invites", status=201, json=given)
    body = {"secret": link["secret"], "name": "N", "password": "short"}
    for _ in range(FREE_OF_ADDRESS + 5):
        reply = await person.http.post(f"{AUTH}/accept", json=body, headers=OWN)
        assert reply.status_code == 400
    body["password"] = PASSWORD
    reply = await person.http.post(f"{AUTH}/accept", json=body, headers=OWN)
    assert reply.status_code == 201, reply.text


@pytest.mark.usefixtures("person")
async def test_passwords_cannot_be_tried_at_two_doors(world: World) -> None:
    """The page of the authorization server and the API count together."""
    client = await world.client()
    statuses = []
    for number in range(FREE_OF_ACCOUNT + 2):
        stranger = world.browser()
        if number % 2:
            body = {"email": EMAIL, "password": f"wrong{number}"}
            reply = await stranger.http.post(f"{AUTH}/sign-in", json=body, headers=OWN)
        else:
            page = await stranger.get("/oauth/authorize", params=world.request(client))
            reply = await stranger.submit(page, email=EMAIL, password=f"wrong{number}")
        statuses.append(reply.status_code)
    assert statuses == [401] * FREE_OF_ACCOUNT + [429] * 2


async def test_the_current_password_cannot_be_tried_with_a_stolen_session(person: Browser) -> None:
    me = (await person.get(f"{AUTH}/me")).json()
    headers = {**OWN, "x-csrf-token": me["csrf"]}
    statuses = []
    for number in range(FREE_OF_ACCOUNT + 2):
        body = {"current": f"wrong{number}", "password": "another good one"}
        reply = await person.http.post(f"{AUTH}/password", json=body, headers=headers)
        statuses.append(reply.status_code)
    assert statuses == [400] * FREE_OF_ACCOUNT + [429] * 2


async def test_wrong_keys_cost_no_query(world: World) -> None:
    await world.publish()
    seen = counted(world)
    for _ in range(50):
        assert (await world.call(new_key())).status_code == 401
    for wrong in ("sk-xr-" + "A" * 43, "' OR '1'='1", "%s%n{0}", "*)(uid=*", "\x7f" * 200):
        assert (await world.call(wrong)).status_code == 401
    assert seen == []
    assert (await world.admin.get("/control/v1/keys")).status_code == 200
    assert seen  # the listener listens


def test_every_key_costs_the_same() -> None:
    """Known to its last letter but one, of the right form, or nonsense: one MAC, one look-up."""
    key = new_key()
    macs: list[str] = []

    def mac(text: str) -> bytes:
        macs.append(text)
        return b"no such key"

    class Empty:
        revision, stale = 1, False

        def key(self, _mac: bytes) -> None:
            return None

    book = MemoryKeyBook(mac)
    tried = [key, key[:-1] + "x", new_key(), "nonsense"]
    for each in tried:
        with pytest.raises(Unauthenticated):
            book.find(each, Empty())  # type: ignore[arg-type]
    assert macs == tried


SECRETS = {"secret", "password", "csrf", "signature", "verifier", "challenge", "admin_token"}


def test_secrets_are_compared_in_constant_time() -> None:
    """With `hmac.compare_digest`, or by looking up their MAC; never letter by letter."""
    found = []
    for path in sorted(Path(xrouter.__file__).parent.rglob("*.py")):
        if "sandbox" in path.parts or "providers" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
                names = {_name(side) for side in (node.left, *node.comparators)}
                constant = any(isinstance(side, ast.Constant) for side in node.comparators)
                if names & SECRETS and not constant:
                    found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert [each for each in found if "user.password != kept" not in each] == []
    assert len(found) == 2  # two hashes out of the database: was it changed meanwhile?


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
