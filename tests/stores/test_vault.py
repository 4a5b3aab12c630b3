from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from xrouter.stores.vault import (
    MOST_KEYS,
    Vault,
    VaultError,
    WrongMasterKey,
    load_or_create,
    load_ring,
    save_ring,
    single,
)
from xrouter.telemetry.logs import log

MASTER = bytes(range(32))


def test_what_is_sealed_opens_in_the_same_context_only() -> None:
    vault = Vault(MASTER)
    blob = vault.seal(b"secret", "provider_endpoints/1/credential")
    assert b"secret" not in blob
    assert Vault(MASTER).open(blob, "provider_endpoints/1/credential") == b"secret"
    with pytest.raises(VaultError, match="damaged or was moved"):
        vault.open(blob, "provider_endpoints/2/credential")


def test_sealing_twice_gives_different_blobs() -> None:
    vault = Vault(MASTER)
    assert vault.seal(b"same", "x") != vault.seal(b"same", "x")


def test_every_changed_byte_is_noticed() -> None:
    vault = Vault(MASTER)
    blob = vault.seal(b"secret", "x")
    for at in range(len(blob)):
        changed = blob[:at] + bytes((blob[at] ^ 1,)) + blob[at + 1 :]
        with pytest.raises(VaultError):
            vault.open(changed, "x")
    for short in (b"", blob[:10], blob[:21], blob[:-1]):
        with pytest.raises(VaultError):
            vault.open(short, "x")


def test_the_wrong_master_key_is_told_from_damage() -> None:
    blob = Vault(MASTER).seal(b"secret", "x")
    with pytest.raises(WrongMasterKey, match="belongs to master key") as caught:
        Vault(bytes(32)).open(blob, "x")
    assert caught.value.hint is not None
    assert caught.value.blame == "operator"


def test_keys_are_derived_by_the_standard() -> None:
    def derived(purpose: bytes) -> bytes:
        info = b"xrouter/v1/" + purpose
        return HKDF(SHA256(), 32, salt=None, info=info).derive(MASTER)

    vault = Vault(MASTER)
    assert vault.pepper == derived(b"api-keys")
    assert vault.key_id == derived(b"key-id")[:8]


def test_mac_depends_on_key_and_pepper_and_takes_any_text() -> None:
    vault = Vault(MASTER)
    assert vault.mac("a") == Vault(MASTER).mac("a") != vault.mac("b")
    assert vault.mac("a") != Vault(bytes(32)).mac("a")
    assert len(vault.mac("ключ\ud800")) == 32


def test_the_key_file_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "master.key"
    first = load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == 32
    assert load_or_create(path).pepper == first.pepper
    assert [p.name for p in path.parent.iterdir()] == ["master.key"]


@pytest.mark.parametrize("size", [0, 31, 33, 4096])
def test_a_file_of_another_size_is_refused_and_left_alone(tmp_path: Path, size: int) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(os.urandom(size))
    before = path.read_bytes()
    with pytest.raises(VaultError, match="exactly 32 bytes"):
        load_or_create(path)
    assert path.read_bytes() == before


def test_a_file_open_to_others_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(MASTER)
    path.chmod(0o644)
    with log.captured() as logs:
        load_or_create(path)
    assert [entry["event"] for entry in logs] == ["master_key_open_to_others"]


def test_a_folder_in_its_place_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(VaultError, match="cannot be used"):
        load_or_create(tmp_path)


def test_a_master_key_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(VaultError, match="16 bytes"):
        Vault(bytes(16))


def test_a_ring_seals_with_the_newest_and_opens_with_all(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    old = load_or_create(path)
    blob = old.seal(b"secret", "x")
    save_ring(path, load_ring(path).turned())
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["master.key"]
    ring = load_or_create(path)
    assert ring.key_ids[1:] == old.key_ids
    assert (ring.pepper_id, ring.mac("a key")) == (old.pepper_id, old.mac("a key"))
    assert ring.open(blob, "x") == b"secret"
    renewed = ring.renewed(blob, "x")
    assert ring.renewed(renewed, "x") == renewed
    save_ring(path, load_ring(path).newest())
    alone = load_or_create(path)
    assert alone.key_ids == ring.key_ids[:1]
    assert alone.mac("a key") == old.mac("a key")
    assert alone.open(renewed, "x") == b"secret"
    with pytest.raises(WrongMasterKey):
        alone.open(blob, "x")
    with pytest.raises(WrongMasterKey):
        old.open(renewed, "x")


def test_a_ring_does_not_grow_for_ever() -> None:
    ring = single(MASTER)
    for _ in range(MOST_KEYS - 1):
        ring = ring.turned()
    with pytest.raises(VaultError, match="already"):
        ring.turned()


@pytest.mark.parametrize("harm", ["cut", "no pepper", "no key", "short key", "other word"])
def test_a_damaged_ring_is_refused(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "master.key"
    save_ring(path, single(MASTER).turned())
    text = path.read_bytes()
    lines = text.splitlines(keepends=True)
    harmed = {
        "cut": text[:-1],
        "no pepper": b"".join(lines[:-1]),
        "no key": lines[0] + lines[-1],
        "short key": text.replace(lines[1], lines[1][:-3] + b"\n"),
        "other word": text.replace(b"master-keys-1", b"master-keys-2"),
    }
    path.write_bytes(harmed[harm])
    with pytest.raises(VaultError, match="not a master key"):
        load_or_create(path)
