"""Another master key: all that the database holds is sealed anew, and the way back stays open."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from tests.control.conftest import Api
from tests.control.registry.conftest import joined

from xrouter.control import master
from xrouter.control.catalog import rows
from xrouter.control.catalog.objects import unpacked
from xrouter.control.credentials import own
from xrouter.control.db.engine import Database
from xrouter.control.db.errors import DatabaseError
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.catalog import EndpointRow
from xrouter.control.db.tables.health import InstanceRow
from xrouter.control.db.tables.identity import CredentialRow
from xrouter.control.db.tables.oauth import SigningKeyRow
from xrouter.control.db.tables.releases import ChangeRow
from xrouter.control.oauth import signing
from xrouter.control.rekey import reseal
from xrouter.control.server import Services
from xrouter.domain.secret import Secret
from xrouter.stores.vault import Vault, WrongMasterKey, sealed_with, single

RING = single(bytes(range(32))).turned()
"""The vault of the tests, rotated."""


async def fill(api: Api, db: Database, vault: Vault) -> None:
    """Something in each place that holds what is sealed."""
    await api.acme()
    changed = {"credential": {"api_key": "second"}}
    await api.ask("PATCH", "/providers/acme/endpoints/primary", json=changed)
    now = utc_now()
    async with db.write() as session:
        session.add(
            CredentialRow(
                project="default",
                provider="acme",
                credential=own.seal(vault, "default", "acme", {"api_key": Secret("theirs")}),
                last4="",
            )
        )
        session.add(
            SigningKeyRow(
                kid="k1",
                algorithm="ES256",
                private=vault.seal(b"{}", signing.context("k1")),
                signs_from=now + timedelta(days=1),
            )
        )


async def blobs(db: Database) -> list[bytes]:
    async with db.read() as session:
        found: list[Any] = []
        for column in (EndpointRow.credential, CredentialRow.credential, SigningKeyRow.private):
            found += await session.scalars(select(column))
        return found


def _inside(*documents: Any) -> list[bytes]:
    """The sealed values of what a change remembers."""
    return [
        unpacked(endpoint["sealed"])[1]
        for document in documents
        for endpoint in (document or {}).get("endpoints", ())
        if endpoint["sealed"] is not None
    ]


async def test_everything_is_sealed_anew_and_opens(api: Api, db: Database, vault: Vault) -> None:
    await fill(api, db, vault)
    before = await blobs(db)
    done = await reseal(db, Vault(RING))
    assert done.left == {}
    assert {name: number > 0 for name, number in done.done.items()} == dict.fromkeys(
        ("provider_endpoints", "project_credentials", "signing_keys", "catalog_changes"), True
    )
    newest = Vault(RING.newest())
    found = await blobs(db)
    assert len(found) == len(before) == 3
    assert {sealed_with(blob) for blob in found} == set(newest.key_ids)
    async with db.read() as session:
        endpoint = (await session.scalars(select(EndpointRow))).one()
        theirs = (await session.scalars(select(CredentialRow))).one()
        key = (await session.scalars(select(SigningKeyRow))).one()
        history = (await session.scalars(select(ChangeRow))).all()
    assert rows.unseal(newest, endpoint) == {"api_key": Secret("second")}
    assert own.unseal(newest, theirs) == {"api_key": Secret("theirs")}
    assert newest.open(key.private, signing.context("k1")) == b"{}"
    with pytest.raises(WrongMasterKey):
        rows.unseal(vault, endpoint)
    sealers = {sealed_with(blob) for row in history for blob in _inside(row.before, row.after)}
    assert sealers == set(newest.key_ids)
    again = await reseal(db, Vault(RING))
    assert (again.done, again.left) == ({}, {})


async def test_what_was_changed_before_can_still_be_undone(
    api: Api, db: Database, vault: Vault, services: Services
) -> None:
    await fill(api, db, vault)
    newest = Vault(RING.newest())
    await reseal(db, Vault(RING))
    changes = (await api.ask("GET", "/changes"))["data"]
    async with joined(services, vault=newest) as client:
        past = Api(client)
        path = f"/revisions/{changes[-1]['revision']}/restore"
        assert (await past.ask("POST", path))["warnings"] == []
    async with db.read() as session:
        endpoint = (await session.scalars(select(EndpointRow))).one()
    assert rows.unseal(newest, endpoint) == {"api_key": Secret("k")}


async def test_what_no_key_opens_stays(api: Api, db: Database) -> None:
    await api.acme()
    stranger = Vault(bytes(32))
    async with db.write() as session:
        endpoint = (await session.scalars(select(EndpointRow))).one()
        endpoint.credential = rows.seal(stranger, endpoint.id, {"api_key": Secret("x")})
    done = await reseal(db, Vault(RING))
    assert done.left == {"provider_endpoints": 1}
    async with db.read() as session:
        endpoint = (await session.scalars(select(EndpointRow))).one()
    assert rows.unseal(stranger, endpoint) == {"api_key": Secret("x")}


async def test_a_copy_of_the_old_key_is_turned_away(api: Api, db: Database, vault: Vault) -> None:
    await api.ask("POST", "/keys", json={"name": "k"}, status=201)
    await master.prove(db, vault)  # a key alone, and the pepper is ours
    await api.acme()
    await reseal(db, Vault(RING))
    await master.prove(db, Vault(RING))
    await master.prove(db, Vault(RING.newest()))
    with pytest.raises(WrongMasterKey):
        await master.prove(db, vault)


async def test_not_while_a_server_runs(api: Api, db: Database) -> None:
    await api.acme()
    before = await blobs(db)
    async with db.write() as session:
        now = time.time()
        session.add(
            InstanceRow(
                instance_id="i",
                host="h",
                pid=1,
                role="all",
                revision=1,
                started_at=now,
                seen_at=now,
            )
        )
    with pytest.raises(DatabaseError, match="Servers use this database"):
        await reseal(db, Vault(RING))
    assert await blobs(db) == before
