from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError
from tests.control.conftest import Api
from tests.control.people.conftest import PASSWORD, Browser, Invited, NewBrowser

from xrouter.control.audit import log as audit
from xrouter.control.db import triggers
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.people import AuditRow


async def events(person: Api, query: str = "") -> list[Any]:
    page = await person.ask("GET", "/audit" + query)
    return list(page["data"])


async def actions(person: Api, query: str = "") -> list[str]:
    return [each["action"] for each in reversed(await events(person, query))]


async def write(db: Database, count: int, **more: Any) -> None:
    for number in range(count):
        async with db.write() as session:
            await audit.record(session, action="test.done", object=f"test:{number}", **more)


async def tamper(db: Database, statement: str) -> None:
    """As somebody with the database's own password can."""

    def run(connection: Connection) -> None:
        triggers.allow_changes(connection, "audit_log")
        connection.execute(text(statement))
        triggers.forbid_changes(connection, "audit_log")

    async with db.write() as session:
        await (await session.connection()).run_sync(run)


async def test_what_people_do_is_written_down(
    operator: Browser, admin: Api, invited: Invited, browser: NewBrowser
) -> None:
    person = await invited("dev@a.test", "viewer")
    path = f"/organizations/default/members/{person.user_id}"
    await operator.ask("PATCH", path, json={"role": "admin"})
    body = {"email": "dev@a.test", "password": "wrong password"}
    await browser().error("POST", "/auth/sign-in", json=body, status=401)
    await person.sign_in("dev@a.test")
    await person.ask_nothing("POST", "/auth/sign-out")
    await operator.ask("PATCH", "/projects/default", json={"name": "New"})
    found = await events(admin)
    user, op = f"user:{person.user_id}", f"user:{operator.user_id}"
    assert [(e["action"], e["actor"], e["object"]) for e in reversed(found)] == [
        ("setup.link", "admin", "link:setup"),
        ("setup.done", op, op),
        ("invite.create", op, found[-3]["object"]),
        ("member.join", user, user),
        ("session.begin", user, user),
        ("member.change", op, user),
        ("session.refuse", "anonymous", user),
        ("session.begin", user, user),
        ("session.end", user, user),
        ("project.change", op, "project:default"),
    ]
    assert found[0]["detail"] == {"before": {"name": "default"}, "after": {"name": "New"}}
    assert {each["ip"] for each in found} == {"203.0.113.5"}
    assert PASSWORD not in str(found)
    assert "wrong password" not in str(found)


async def test_what_was_typed_as_an_address_is_not_kept(admin: Api, browser: NewBrowser) -> None:
    body = {"email": "my@secret-password", "password": "x"}
    await browser().error("POST", "/auth/sign-in", json=body, status=401)
    (event,) = await events(admin)
    assert (event["action"], event["object"]) == ("session.refuse", "user:unknown")
    assert "secret-password" not in str(event)


async def test_owners_read_what_is_theirs(admin: Api, invited: Invited) -> None:
    await admin.ask("POST", "/organizations", json={"slug": "two", "name": "Two"}, status=201)
    owner = await invited("owner@a.test", "owner", "two")
    viewer = await invited("viewer@a.test", "viewer", "two")
    mine = await actions(owner, "?organization=two")
    assert mine == [
        "organization.create",
        "invite.create",
        "member.join",
        "invite.create",
        "member.join",
    ]
    await owner.error("GET", "/audit", status=403)
    await owner.error("GET", "/audit?organization=default", status=404)
    await viewer.error("GET", "/audit?organization=two", status=403)
    await owner.error("GET", "/audit/verify", status=403)


async def test_the_log_comes_in_pages_and_by_what_is_asked(admin: Api, db: Database) -> None:
    await write(db, 5)
    page = await admin.ask("GET", "/audit?limit=2")
    assert [each["object"] for each in page["data"]] == ["test:4", "test:3"]
    page = await admin.ask("GET", f"/audit?limit=3&after={page['next']}")
    assert [each["object"] for each in page["data"]] == ["test:2", "test:1", "test:0"]
    assert page["next"] is None
    assert len(await events(admin, "?object=test:3&actor=system&action=test.done")) == 1
    assert await events(admin, "?actor=nobody") == []
    error = await admin.error("GET", "/audit?order=digest", status=400)
    assert error["code"] == "unknown_parameter"


async def test_an_untouched_chain_is_intact(admin: Api, db: Database) -> None:
    empty = await admin.ask("GET", "/audit/verify")
    assert empty == {"is_intact": True, "count": 0, "head": None, "broken_at": None}
    detail = {"b": [1, {"ы": None}], "a": {"z": True, "10": "x"}}
    await write(db, 3, detail=detail, organization="default")
    found = await admin.ask("GET", "/audit/verify")
    newest = (await events(admin))[0]
    assert found == {"is_intact": True, "count": 3, "head": newest["digest"], "broken_at": None}
    assert newest["detail"] == detail


async def test_the_chain_is_one_chain_also_for_many_at_once(
    admin: Api, db: Database, db_url: str
) -> None:
    other = Database(db_url) if db.dialect == "postgresql" else db
    await asyncio.gather(*(write(each, 5) for each in (db, other) * 4))
    found = await admin.ask("GET", "/audit/verify")
    assert (found["is_intact"], found["count"]) == (True, 40)
    if other is not db:
        await other.close()


async def test_what_was_undone_is_not_in_the_log(admin: Api, db: Database) -> None:
    await write(db, 1)

    async def fail() -> None:
        async with db.write() as session:
            await audit.record(session, action="test.undone", object="test:x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    await write(db, 1)
    assert await actions(admin) == ["test.done", "test.done"]
    assert (await admin.ask("GET", "/audit/verify"))["is_intact"]


@pytest.mark.parametrize(
    "statement,broken",
    [
        ("UPDATE audit_log SET actor = 'user:other' WHERE object = 'test:2'", "test:2"),
        ("UPDATE audit_log SET detail = '{\"a\": 2}' WHERE object = 'test:0'", "test:0"),
        ("UPDATE audit_log SET ip = '10.0.0.1' WHERE object = 'test:4'", "test:4"),
        ("UPDATE audit_log SET organization = 'two' WHERE object = 'test:1'", "test:1"),
        ("UPDATE audit_log SET action = 'test.not_done' WHERE object = 'test:1'", "test:1"),
        ("UPDATE audit_log SET at = '2020-01-01 00:00:00' WHERE object = 'test:3'", "test:3"),
        ("DELETE FROM audit_log WHERE object = 'test:1'", "test:2"),
        ("DELETE FROM audit_log WHERE object = 'test:0'", "test:1"),
        ("UPDATE audit_log SET object = 'test:9' WHERE object = 'test:2'", "test:9"),
    ],
)
async def test_a_change_of_the_past_is_found(
    admin: Api, db: Database, statement: str, broken: str
) -> None:
    await write(db, 5)
    await tamper(db, statement)
    found = await admin.ask("GET", "/audit/verify")
    assert not found["is_intact"]
    async with db.read() as session:
        query = select(AuditRow.object).where(AuditRow.id == found["broken_at"])
        assert await session.scalar(query) == broken


async def test_a_log_that_is_cut_off_has_another_head(admin: Api, db: Database) -> None:
    await write(db, 3)
    before = await admin.ask("GET", "/audit/verify")
    await tamper(db, "DELETE FROM audit_log WHERE object = 'test:2'")
    after = await admin.ask("GET", "/audit/verify")
    assert (after["count"], before["count"]) == (2, 3)
    assert after["head"] != before["head"]


@pytest.mark.parametrize("statement", ["UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log"])
async def test_the_database_refuses_to_change_the_log(db: Database, statement: str) -> None:
    await write(db, 1)
    with pytest.raises(DBAPIError):
        async with db.write() as session:
            await session.execute(text(statement))


async def test_what_people_do_with_themselves_is_written_down(operator: Browser) -> None:
    await operator.ask("PATCH", "/auth/me", json={"name": "New", "language": "en"})
    await operator.ask("PATCH", "/auth/me", json={"name": "New"})
    wrong = {"current": "wrong password", "password": "another good password"}
    await operator.error("POST", "/auth/password", json=wrong, status=400)
    found = (await events(operator))[:2]
    me = f"user:{operator.user_id}"
    assert [(e["action"], e["actor"], e["object"]) for e in found] == [
        ("password.refuse", me, me),
        ("user.change", me, me),
    ]
    changed = {
        "before": {"name": "Op", "language": "ru"},
        "after": {"name": "New", "language": "en"},
    }
    assert found[1]["detail"] == changed
    assert "good password" not in str(found)
