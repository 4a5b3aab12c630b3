"""More keys than a snapshot carries, at real servers: on a shelf that the gateway shares."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from tests.e2e.fixtures import Servers
from tests.e2e.harness import Server, until

from xrouter.control.publish.shelving import MOST
from xrouter.domain.identity import new_key
from xrouter.stores.vault import Vault, load_or_create

KNOWN = 20
SOON_S = 3.0
"""Seconds. A second is the promise; the machine has much to do."""

MADE = "2026-01-01 00:00:00.000000"
TRIGGERS = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'api_keys'"
COLUMNS = "key_id, name, pepper_id, mac, last4, created_at"


def fill(data: Path, vault: Vault) -> list[str]:
    """More keys than are read at once; the secrets of some. As they were before migration 0009."""
    known = [new_key() for _ in range(KNOWN)]
    macs = [vault.mac(key) for key in known] + [os.urandom(32) for _ in range(MOST)]
    rows = [
        (f"key_m{n}", f"n{n}", vault.pepper_id, mac, "abcd", MADE) for n, mac in enumerate(macs)
    ]
    with sqlite3.connect(data / "xrouter.db") as database:
        triggers = database.execute(TRIGGERS).fetchall()
        for name, _ in triggers:
            database.execute(f"DROP TRIGGER {name}")
        database.executemany(f"INSERT INTO api_keys ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", rows)
        for _, sql in triggers:
            database.execute(sql)
        database.execute("UPDATE catalog_state SET revision = revision + 1")
    database.close()
    return known


def status(server: Server, key: str) -> int:
    """404 for a key that is good: the model is not there."""
    return server.chat("none/none", key=key).status


def test_many_keys_with_a_gateway_and_without_the_database(servers: Servers) -> None:
    main = servers().start()
    main.stop()
    known = fill(main.data, load_or_create(main.data / "master.key"))
    main.start()
    gateway = servers(bare=True).start("--role", "gateway")
    both = (main, gateway)
    until(lambda: status(gateway, known[0]) == 404, "the gateway has the keys")
    (shelf,) = main.data.glob("keys-*.sealed")
    assert all(status(each, key) == 404 for each in both for key in (*known, main.key))
    assert [status(each, new_key()) for each in both] == [401, 401]

    main.control("POST", "/keys/key_m3/revoke")
    fresh = main.control("POST", "/keys/key_m4/rotate", {})["key"]
    until(lambda: {status(each, known[3]) for each in both} == {401}, "a key is revoked", SOON_S)
    until(lambda: {status(each, fresh) for each in both} == {404}, "a key is rotated", SOON_S)
    assert {main.chat("none/none", key=known[4]).error["code"]} == {"api_key_rotated"}
    told = main.control("POST", "/explain", {"model": "openai/gpt-4o-mini", "key_id": "key_m5"})
    assert told["error"] is None
    assert list(main.data.glob("keys-*")) == [shelf], "no new shelf for that"

    main.kill()
    (main.data / "xrouter.db").rename(main.folder / "xrouter.db")
    (main.data / "xrouter.db").mkdir()
    main.start()
    until(lambda: {status(each, new_key()) for each in both} == {503}, "nobody can ask")
    assert {status(each, key) for each in both for key in (known[0], fresh)} == {404}
    assert {status(each, known[3]) for each in both} == {503}
