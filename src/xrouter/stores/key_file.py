"""Very many keys on disk, shared by all processes of the machine through its page cache.

A file is made once and never changes. Its keys lie in buckets by the first bits of their MACs; a
bucket is sealed whole with a key of its file alone, so that what is found in it is true, and what
is not found is not there. Behind the buckets is the table of where each begins (numbers of eight
bytes, little-endian). What is needed to open a file is in the snapshot that names it.

One look reads one bucket: some two kilobytes, which nearly always are in memory. Read, not mapped:
a file that is cut short or a disk that fails must not end the process.
"""

from __future__ import annotations

import os
import sys
import tempfile
import weakref
from array import array
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Raw, Struct
from typing_extensions import override

from xrouter.domain.errors import NotReady
from xrouter.domain.identity import KeyRecord, KeyShelf
from xrouter.domain.secret import Secret
from xrouter.stores.vault import VaultError
from xrouter.telemetry.logs import log

HITS, MISSES = 20_000, 20_000
"""How many are remembered, at most: keys decoded, and MACs of which there is no key."""
_IN_BUCKET = 16
_PARTS_BITS, _MOST_BITS = 8, 24
_PLACE_BYTES, _PLACE_BITS, _SHORT_BYTES = 4, 32, 16
_IN_MEMORY = 50_000
_BUCKET, _SPILL = 0, 1

Found = TypeVar("Found")
_Entries = list[tuple[bytes, bytes]]

_bucket = msgspec.msgpack.Decoder(dict[bytes, Raw]).decode
_record = msgspec.msgpack.Decoder(KeyRecord).decode
_named = msgspec.msgpack.Decoder(bytes).decode
_entries = msgspec.msgpack.Decoder(_Entries).decode
_encode = msgspec.msgpack.encode


class KeyFileInfo(Struct, frozen=True, kw_only=True):
    """What opens a file. key: 32 bytes in hexadecimal digits, never used for another file.

    bits: of a MAC, to find its bucket. table: where the table begins.
    """

    name: str
    key: Secret
    bits: int
    table: int


class KeyFile(KeyShelf):
    """One file, open. It stays readable when it is removed; closed when nobody has it any more."""

    def __init__(self, folder: Path, info: KeyFileInfo) -> None:
        """Raises OSError, and VaultError for a file that is not whole."""
        self.info = info
        self.is_damaged = False
        self._cipher = _cipher(info.key)
        self._fd = os.open(folder / info.name, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._fd)
        self._begins = array("Q")
        size = ((1 << info.bits) + 1) * self._begins.itemsize
        read = os.pread(self._fd, size, info.table)
        if len(read) != size:
            raise VaultError(f"The key file {info.name} is not whole.")
        self._begins.frombytes(read)
        _little(self._begins)
        self._hits: _Recent[KeyRecord] = _Recent(HITS)
        self._misses: _Recent[bool] = _Recent(MISSES)

    @override
    def find(self, mac: bytes) -> KeyRecord | None:
        record = self._hits.get(mac)
        if record is None and not self._misses.get(mac):
            record = self._look(mac)
            if record is None:
                self._misses.put(mac, True)
            else:
                self._hits.put(mac, record)
        return record

    @override
    def named(self, key_id: str) -> KeyRecord | None:
        alias = _alias(key_id)
        told = self._read(alias).get(alias)
        if told is None:
            return None
        short = _named(told)
        found = self._read(short).get(short)
        return None if found is None else _record(found)

    def _look(self, mac: bytes) -> KeyRecord | None:
        found = self._read(mac).get(mac[:_SHORT_BYTES])
        record = None if found is None else _record(found)
        return record if record is not None and record.mac == mac else None

    def _read(self, mac: bytes) -> Mapping[bytes, Raw]:
        """The bucket of a MAC. Raises NotReady."""
        number = _place(mac, self.info.bits)
        begins, ends = self._begins[number], self._begins[number + 1]
        try:
            sealed = os.pread(self._fd, max(0, ends - begins), begins)
            return _bucket(self._cipher.decrypt(_nonce(_BUCKET, number), sealed, None))
        except (InvalidTag, ValueError, OverflowError, MemoryError, OSError) as error:
            self._damaged(error)
            raise NotReady(
                "The API key cannot be checked at the moment. Try again.",
                retry_after=5.0,
                hint="The file of keys is damaged.",
            ) from None

    def _damaged(self, error: Exception) -> None:
        if not self.is_damaged:
            what = type(error).__name__
            hint = "The server makes a new one; restart it if this does not end."
            log.error("key_file_damaged", file=self.info.name, error=what, hint=hint)
        self.is_damaged = True


class KeyFileWriter:
    """Makes a file of keys that come in any order; only a part of them is in memory at a time.

    Those that were put aside lie sealed in a file without a name until `finish`.
    """

    def __init__(self, path: Path, key: Secret) -> None:
        """Raises OSError."""
        self._path = path
        self._cipher = _cipher(key)
        self._parts: list[_Entries] = [[] for _ in range(1 << _PARTS_BITS)]
        self._held = 0
        self._count = 0
        self._aside = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - `finish` closes it
        self._segments: list[list[tuple[int, int, int]]] = [[] for _ in self._parts]
        self._spills = 0

    def add(self, record: KeyRecord) -> None:
        """Put in one of a key's secrets; of those with the same MAC the last one counts."""
        short = record.mac[:_SHORT_BYTES]
        self._put(short, _encode(record))
        if not record.is_replaced:
            self._put(_alias(record.principal.key_id), _encode(short))

    def finish(self) -> tuple[int, int]:
        """Write it all, safe against a crash. Returns `bits` and `table`. Raises OSError."""
        self._spill()
        bits = (self._count // _IN_BUCKET).bit_length()
        bits = max(_PARTS_BITS, min(_MOST_BITS, bits))
        begins = array("Q", (0,))
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file, self._aside:
            for part in range(len(self._parts)):
                for bucket in self._buckets(part, bits):
                    plain = _encode(bucket)
                    number = len(begins) - 1
                    file.write(self._cipher.encrypt(_nonce(_BUCKET, number), plain, None))
                    begins.append(file.tell())
            table = begins[-1]
            _little(begins)
            file.write(begins.tobytes())
            file.flush()
            os.fsync(file.fileno())
        return bits, table

    def _put(self, short: bytes, told: bytes) -> None:
        self._parts[_place(short, _PARTS_BITS)].append((short, told))
        self._count += 1
        self._held += 1
        if self._held >= _IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        """Put aside what is in memory."""
        for part, entries in enumerate(self._parts):
            if entries:
                sealed = self._cipher.encrypt(_nonce(_SPILL, self._spills), _encode(entries), None)
                self._segments[part].append((self._spills, self._aside.tell(), len(sealed)))
                self._aside.write(sealed)
                self._spills += 1
                entries.clear()
        self._held = 0

    def _buckets(self, part: int, bits: int) -> list[dict[bytes, Raw]]:
        """All buckets of a part, in their order."""
        rest = bits - _PARTS_BITS
        buckets: list[dict[bytes, Raw]] = [{} for _ in range(1 << rest)]
        first = part << rest
        for number, begins, size in self._segments[part]:
            self._aside.seek(begins)
            sealed = self._aside.read(size)
            for short, told in _entries(self._cipher.decrypt(_nonce(_SPILL, number), sealed, None)):
                buckets[_place(short, bits) - first][short] = Raw(told)
        return buckets


class _Recent(Generic[Found]):
    """Remembers what was used of late: in two halves, of which the older one is forgotten."""

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._young: dict[bytes, Found] = {}
        self._old: dict[bytes, Found] = {}

    def get(self, mac: bytes) -> Found | None:
        found = self._young.get(mac)
        if found is None:
            found = self._old.get(mac)
            if found is not None:
                self.put(mac, found)
        return found

    def put(self, mac: bytes, found: Found) -> None:
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[mac] = found


def _cipher(key: Secret) -> AESGCM:
    return AESGCM(bytes.fromhex(key.reveal()))


def _nonce(kind: int, number: int) -> bytes:
    """Twelve bytes that no other part of the same file has."""
    return bytes((kind,)) + number.to_bytes(11)


def _place(mac: bytes, bits: int) -> int:
    """The number of the bucket."""
    return int.from_bytes(mac[:_PLACE_BYTES]) >> _PLACE_BITS - bits


def _alias(key_id: str) -> bytes:
    """Where the MAC of a key is told, by its public id."""
    return sha256(b"key-id " + key_id.encode()).digest()[:_SHORT_BYTES]


def _little(numbers: array[int]) -> None:
    if sys.byteorder == "big":
        numbers.byteswap()
