from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from xrouter.domain.errors import Forbidden, NotReady, Unauthenticated
from xrouter.domain.identity import KeyRecord, Principal, new_key, well_formed
from xrouter.domain.limits import Tenant
from xrouter.domain.snapshot import EMPTY, Snapshot
from xrouter.stores.memory.answers import MemoryAnswers
from xrouter.stores.memory.keys import MemoryKeyBook
from xrouter.stores.memory.snapshots import MemorySnapshots


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def mac(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def snapshot(*records: KeyRecord, stale: bool = False) -> Snapshot:
    keys = {record.mac: record for record in records}
    return Snapshot(revision=1, built_at=0.0, models={}, endpoints={}, keys=keys, stale=stale)


ME = Principal(key_id="k1", name="me")


def test_a_known_key_is_found() -> None:
    key = new_key()
    found = MemoryKeyBook(mac).find(key, snapshot(KeyRecord(mac=mac(key), principal=ME)))
    assert found is ME


def test_a_key_of_a_project_that_is_switched_off_opens_nothing() -> None:
    key = new_key()
    state = snapshot(KeyRecord(mac=mac(key), principal=ME))
    tenant = Tenant(project=ME.project, organization="acme", is_active=False)
    off = replace(state, tenants={ME.project: tenant})
    with pytest.raises(Forbidden) as refused:
        MemoryKeyBook(mac).find(key, off)
    assert refused.value.code == "project_inactive"
    on = replace(state, tenants={ME.project: replace(tenant, is_active=True)})
    assert MemoryKeyBook(mac).find(key, on) is ME


def test_a_key_has_the_groups_of_its_organisation_too() -> None:
    key, me = new_key(), replace(ME, groups=("own",))
    state = snapshot(KeyRecord(mac=mac(key), principal=me))
    tenant = Tenant(project=me.project, organization="acme", groups=("lab",))
    found = MemoryKeyBook(mac).find(key, replace(state, tenants={me.project: tenant}))
    assert found.groups == ("own", "lab")


def test_an_expired_key_is_refused() -> None:
    key, clock = new_key(), Clock()
    record = KeyRecord(mac=mac(key), principal=ME, expires_at=1001.0)
    book = MemoryKeyBook(mac, clock)
    assert book.find(key, snapshot(record)) is ME
    clock.now = 1001.0
    with pytest.raises(Unauthenticated, match="expired"):
        book.find(key, snapshot(record))


def test_an_unknown_key_is_refused_and_masked() -> None:
    key = new_key()
    with pytest.raises(Unauthenticated) as refused:
        MemoryKeyBook(mac).find(key, snapshot())
    assert refused.value.status == 401
    assert key not in refused.value.message


@pytest.mark.parametrize("state", [EMPTY, snapshot(stale=True)], ids=["empty", "stale"])
def test_an_unknown_key_is_503_while_the_database_is_away(state: Snapshot) -> None:
    with pytest.raises(NotReady):
        MemoryKeyBook(mac).find(new_key(), state)


@pytest.mark.parametrize("state", [EMPTY, snapshot(stale=True)], ids=["empty", "stale"])
@pytest.mark.parametrize(
    "key", ["", "x", "sk-xr-short", "sk-xr-" + "A" * 48, "k" * 10_000, "ключ\n"]
)
def test_what_cannot_be_a_key_is_401_at_any_time(state: Snapshot, key: str) -> None:
    with pytest.raises(Unauthenticated):
        MemoryKeyBook(mac).find(key, state)


GOOD = new_key()


@pytest.mark.parametrize(
    "key",
    [
        new_key(),
        GOOD[:-1],
        GOOD[:-1] + ("A" if GOOD[-1] != "A" else "B"),
        GOOD + "\n",
        " " + GOOD,
        GOOD.upper(),
        GOOD.replace("sk-xr-", "sk-"),
        GOOD + "\u200b",
        GOOD * 1000,
        "k" * (1 << 20),
        "sk-xr-" + "\ud800" * 48,
        "sk-xr-" + "я" * 48,
        "' OR '1'='1",
        "\x00",
    ],
    ids=[str(number) for number in range(14)],  # keys are random: workers must name them alike
)
def test_what_is_nearly_a_key_is_none(key: str) -> None:
    found = snapshot(KeyRecord(mac=mac(GOOD), principal=ME))
    book = MemoryKeyBook(mac)
    assert MemoryKeyBook(mac).find(GOOD, found) is ME
    with pytest.raises(Unauthenticated) as refused:
        book.find(key, found)
    assert refused.value.message.isascii()
    assert len(refused.value.message) < 100


def test_a_key_that_was_replaced_says_so() -> None:
    old, new, clock = new_key(), new_key(), Clock()
    replaced = KeyRecord(mac=mac(old), principal=ME, expires_at=1001.0, is_replaced=True)
    found, book = (
        snapshot(KeyRecord(mac=mac(new), principal=ME), replaced),
        MemoryKeyBook(mac, clock),
    )
    assert book.find(old, found) is book.find(new, found) is ME
    clock.now = 1001.0
    with pytest.raises(Unauthenticated) as refused:
        book.find(old, found)
    assert refused.value.code == "api_key_rotated"
    assert book.find(new, found) is ME


@given(st.text())
def test_only_real_keys_are_well_formed(text: str) -> None:
    assert not well_formed(text)
    key = new_key()
    assert well_formed(key)
    assert not well_formed(key[:-1])
    assert not well_formed(key + "A")
    assert not well_formed(key[:20] + ("A" if key[20] != "A" else "B") + key[21:])


def test_snapshots_are_swapped_and_marked() -> None:
    held = MemorySnapshots()
    assert held.current is EMPTY
    held.mark_stale(stale=True)
    assert held.current is EMPTY
    one = snapshot()
    held.replace(one)
    held.mark_stale(stale=True)
    assert held.current.stale
    assert held.current.keys is one.keys
    held.mark_stale(stale=False)
    assert not held.current.stale


async def test_answers_are_kept_for_their_time_and_within_the_bytes() -> None:
    now = [0.0]
    store = MemoryAnswers(max_bytes=16_000, clock=lambda: now[0])
    await store.put(b"a", b"x" * 900, ttl=10)
    assert await store.get(b"a") == b"x" * 900
    for number in range(20):
        await store.put(b"%d" % number, b"x" * 800, ttl=10)
        assert store.size <= 16_000
    assert await store.get(b"a") is None
    assert await store.get(b"19") is not None
    now[0] = 10.0
    assert await store.get(b"19") is None
    await store.put(b"large", b"x" * 17_000, ttl=10)
    assert await store.get(b"large") is None
