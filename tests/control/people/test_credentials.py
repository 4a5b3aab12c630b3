"""Projects' own credentials for providers: who sees and changes them, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text, update
from tests.control.conftest import Api
from tests.control.fakes import AcmeAdapter, adapters
from tests.control.people.conftest import Browser, Invited

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.identity import CredentialRow
from xrouter.control.publish.build import build_snapshot
from xrouter.domain.secret import Secret
from xrouter.domain.snapshot import Snapshot
from xrouter.stores.snapshot_file import SnapshotFile
from xrouter.stores.vault import Vault

PATH = "/projects/default/credentials"
KEY = "acme-key-of-the-project-1234"
OURS = {"credential": {"api_key": KEY}}


@pytest.fixture
async def acme(admin: Api) -> Any:
    options = {"organization": "routers", "quick": "yes"}
    return await admin.acme(options=options, client_cert="/c.pem", client_key="/k.pem")


async def snapshot(db: Database, vault: Vault) -> Snapshot:
    return await build_snapshot(db, vault, adapters())


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("role", ["owner", "admin"])
async def test_heads_set_list_and_remove_one_and_it_is_never_shown(
    invited: Invited, admin: Api, role: str, changes: list[None]
) -> None:
    person = await invited("p@a.test", role)
    before = len(changes)
    made = await person.ask("PUT", PATH + "/acme", json=OURS)
    told = (made["project"], made["provider"], made["fields"], made["last4"], made["is_only"])
    assert told == ("default", "acme", ["api_key"], "1234", False)
    assert await person.ask("GET", PATH) == {"data": [made], "next": None}
    reply = await person.http.get("/control/v1" + PATH + "/acme")
    assert reply.json() == made
    assert reply.headers["etag"] == f'"{made["etag"]}"'
    assert KEY not in reply.text
    await person.ask("DELETE", PATH + "/acme")
    assert (await person.error("GET", PATH + "/acme", status=404))["code"] == "credential_not_found"
    assert len(changes) == before + 2
    log = await admin.ask("GET", "/audit?limit=50")
    noted = [
        (each["action"], each["object"], each["organization"])
        for each in log["data"]
        if each["action"].startswith("credential.")
    ]
    assert sorted(noted) == [
        ("credential.remove", "credential:default/acme", "default"),
        ("credential.set", "credential:default/acme", "default"),
    ]
    assert KEY not in str(log)


@pytest.mark.usefixtures("acme")
async def test_it_is_replaced_whole_or_its_switches_alone(admin: Api, operator: Browser) -> None:
    first = await operator.ask("PUT", PATH + "/acme", json=OURS)
    only = await operator.ask("PUT", PATH + "/acme", json={"is_only": True})
    assert (only["last4"], only["is_only"]) == ("1234", True)
    stale = {"if-match": f'"{first["etag"]}"'}
    await operator.error("PUT", PATH + "/acme", json=OURS, headers=stale, status=412)
    await operator.error("DELETE", PATH + "/acme", headers=stale, status=412)
    short = {"credential": {"api_key": "short"}}
    assert (await admin.ask("PUT", PATH + "/acme", json=short))["last4"] == ""
    error = await operator.error("PUT", PATH + "/homely", json={}, status=400)
    assert error["param"] == "credential"


@pytest.mark.usefixtures("acme")
async def test_others_of_the_project_do_not_see_them(invited: Invited, operator: Browser) -> None:
    made = await operator.ask("PUT", PATH + "/acme", json=OURS)
    for role in ("developer", "viewer", "billing"):
        person = await invited(f"{role}@a.test", role)
        for method, where, body in (
            ("GET", PATH, None),
            ("GET", PATH + "/acme", None),
            ("PUT", PATH + "/acme", OURS),
            ("DELETE", PATH + "/acme", None),
        ):
            await person.error(method, where, json=body, status=403)
    assert await operator.ask("GET", PATH + "/acme") == made


@pytest.mark.usefixtures("acme")
async def test_those_of_other_tenants_are_not_there(invited: Invited, operator: Browser) -> None:
    await operator.ask("POST", "/organizations", json={"slug": "other", "name": "O"}, status=201)
    given = {"slug": "secret", "name": "S"}
    await operator.ask("POST", "/organizations/other/projects", json=given, status=201)
    await operator.ask("PUT", "/projects/secret/credentials/acme", json=OURS)
    person = await invited("p@a.test", "owner")
    for slug in ("secret", "none"):
        where = f"/projects/{slug}/credentials"
        for method, path, body in (
            ("GET", where, None),
            ("GET", where + "/acme", None),
            ("PUT", where + "/acme", OURS),
            ("PUT", where + "/nobody", OURS),
            ("DELETE", where + "/acme", None),
        ):
            error = await person.error(method, path, json=body, status=404)
            assert error["code"] == "project_not_found"
    assert len((await operator.ask("GET", "/projects/secret/credentials"))["data"]) == 1


@pytest.mark.usefixtures("acme")
async def test_what_the_provider_does_not_take_is_refused(admin: Api) -> None:
    for credential, param in (
        ({}, "credential"),
        ({"api_key": ""}, "credential.api_key"),
        ({"api_key": "x" * 65537}, "credential.api_key"),
        ({"Api Key": "x"}, "credential"),
        ({"api_key": "x", "other": "y"}, "credential.other"),
        ({"proxy_auth": "x:y"}, "credential.proxy_auth"),
        ({"api_key": 5}, "credential.api_key"),
    ):
        given = {"credential": credential}
        error = await admin.error("PUT", PATH + "/acme", json=given, status=400)
        assert error["param"].startswith(param)
        assert "xxxx" not in str(error)


async def test_the_adapter_says_what_is_missing(
    admin: Api, acme: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert acme["name"] == "acme"
    monkeypatch.setattr(AcmeAdapter, "own_options", frozenset({"scope"}))
    given = {"credential": {"scope": "mine"}}
    error = await admin.error("PUT", PATH + "/acme", json=given, status=400)
    assert error["param"] == "credential.api_key"
    error = await admin.error("PUT", PATH + "/nobody", json=OURS, status=404)
    assert error["code"] == "provider_not_found"


async def test_where_nobody_is_asked_for_one_none_is_taken(
    admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or whoever asks would pay nothing for what costs the router."""
    monkeypatch.setattr(AcmeAdapter, "validate", classmethod(lambda _cls, _endpoint: None))
    monkeypatch.setattr(AcmeAdapter, "own_options", frozenset({"api_key"}))
    await admin.acme(credential={})
    error = await admin.error("PUT", PATH + "/acme", json=OURS, status=400)
    assert "takes no credential" in error["message"]


@pytest.mark.usefixtures("acme")
async def test_the_snapshot_has_the_routers_endpoint_on_the_projects_account(
    admin: Api, db: Database, vault: Vault, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(AcmeAdapter, "account_options", frozenset({"organization", "team"}))
    monkeypatch.setattr(AcmeAdapter, "own_options", frozenset({"team"}))
    assert (await snapshot(db, vault)).accounts == {}
    given = {"credential": {"api_key": KEY, "team": "blue"}, "is_only": True}
    await admin.ask("PUT", PATH + "/acme", json=given)
    found = await snapshot(db, vault)
    ours = found.endpoints["acme"][0]
    own = found.accounts["default"][ours.id]
    assert own.id < 0
    assert own == replace(
        ours,
        id=own.id,
        name="primary@own",
        credential={"api_key": Secret(KEY)},
        options={"quick": "yes", "team": "blue"},
        client_cert=None,
        client_key=None,
        owner="default",
        is_only=True,
    )
    file = SnapshotFile(tmp_path / "snapshot", vault)
    file.save(found)
    loaded = file.load()
    assert loaded is not None
    assert loaded.accounts == found.accounts
    await admin.ask("PUT", PATH + "/acme", json={"is_enabled": False})
    assert (await snapshot(db, vault)).accounts == {}


@pytest.mark.usefixtures("acme")
async def test_another_secret_is_another_account(admin: Api, db: Database, vault: Vault) -> None:
    async def account() -> int:
        found = await snapshot(db, vault)
        return next(iter(found.accounts["default"].values())).id

    await admin.ask("PUT", PATH + "/acme", json=OURS)
    first = await account()
    assert await account() == first
    await admin.ask("PUT", PATH + "/acme", json={"credential": {"api_key": KEY + "5"}})
    assert await account() != first


@pytest.mark.usefixtures("acme")
async def test_what_cannot_be_opened_opens_nothing_not_even_the_routers_account(
    admin: Api, db: Database, vault: Vault
) -> None:
    await admin.project("thief")
    await admin.ask("PUT", PATH + "/acme", json=OURS | {"is_only": True})
    for project, spoiled in (("thief", {}), ("thief", {"credential": b"\x01junk"})):
        async with db.write() as session:
            await session.execute(update(CredentialRow).values(project=project, **spoiled))
        found = await snapshot(db, vault)
        own = found.accounts[project][found.endpoints["acme"][0].id]
        assert (own.credential, own.is_only) == ({}, True)
        shown = await admin.ask("GET", f"/projects/{project}/credentials/acme")
        assert shown["fields"] is None
    async with db.read() as session:
        raw = (await session.execute(text("SELECT * FROM project_credentials"))).all()
    assert KEY not in str(raw)
