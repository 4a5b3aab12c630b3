from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from xrouter.stores.vault import Vault, VaultError, WrongMasterKey, load_or_create
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
