"""`xrouter master-key`: a new key, the old one dropped, and everything goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.harness import Shell
from tests.e2e.fixtures import Servers
from tests.e2e.harness import until

from xrouter.app.presence import ServerLock
from xrouter.stores.vault import WrongMasterKey, load_or_create

MODEL = "openai/gpt-4o-mini"


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_rotated_retired_and_everything_goes_on(
    servers: Servers, request: pytest.FixtureRequest, database: str
) -> None:
    more = {}
    if database == "postgresql":
        more["XROUTER_DATABASE_URL"] = request.getfixturevalue("empty_postgres_url")
    server = servers(**more).start()
    shell = Shell(server.data, more)
    key = server.control("POST", "/keys", {"name": "k"})["key"]
    until(lambda: server.chat(MODEL, "hi", key=key).status == 200, "the key is known")
    asked = {"model": MODEL, "input": "hi"}
    kept = server.ask("POST", "/v1/responses", asked, key).json["id"]
    assert "already uses this data folder" in shell.refused("master-key", "rotate")
    server.stop()
    file = server.data / "master.key"
    first, was = file.read_bytes(), shell.json("master-key", "show")

    done = shell.json("master-key", "rotate")
    assert done["left"] == {}
    assert done["done"]["provider_endpoints"] > 0
    assert (done["done"]["responses"], done["done"]["snapshot"]) == (1, 1)
    assert done["keys"][1:] == was["opens"]
    assert "sealed anew" not in shell.out("master-key", "retire")
    shown = shell.json("master-key", "show")
    assert shown == {"seals": done["keys"][0], "opens": done["keys"][:1], "pepper": was["pepper"]}

    server.start()
    assert server.chat(MODEL, "hi", key=key).status == 200
    assert server.ask("GET", f"/v1/responses/{kept}", key=key).status == 200
    server.stop()

    file.write_bytes(first)
    with pytest.raises(WrongMasterKey):
        load_or_create(file).open((server.data / "snapshot.sealed").read_bytes(), "snapshot-file")
    assert "filled with another master key" in shell.refused("providers", "list")


def test_what_is_refused(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "var")
    assert "There is no" in shell.refused("master-key", "show")
    shell.run("keys", "create", "first")
    before = (shell.data / "master.key").read_bytes()
    lock = ServerLock(shell.data)
    try:
        for command in ("rotate", "retire"):
            assert "already uses" in shell.refused("master-key", command)
    finally:
        lock.release()
    assert (shell.data / "master.key").read_bytes() == before
    assert "still opens" in shell.out("master-key", "rotate")
    assert "pepper" in shell.out("master-key", "show")
    (shell.data / "master.key").write_bytes(b"nonsense")
    assert "not a master key" in shell.refused("master-key", "show")
