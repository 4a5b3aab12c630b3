"""Secrets at rest: sealed blobs and the keyed hash of API keys, both from one master key.

A blob is  version (1 byte) | key id (8) | nonce (12) | AES-256-GCM ciphertext and tag.
Its context (table, row and field) is authenticated with it, so that a blob moved elsewhere does not
open. The key id tells a wrong master key from a damaged blob.

The key file is 32 random bytes. Once the key was rotated it is a ring: a line of text for each key,
the newest first, and one for the pepper, which never changes (docs/decisions/0016-master-key.md).
"""

from __future__ import annotations

import hmac
import os
import stat
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from xrouter.domain.errors import OperatorError
from xrouter.telemetry.logs import log

MASTER_KEY_BYTES = 32
VERSION = 1
_ID = slice(1, 9)
_NONCE = slice(9, 21)
_HEAD_BYTES = 21
MOST_KEYS = 16
_RING = "xrouter-master-keys-1"
_MOST_BYTES = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class VaultError(OperatorError):
    """503: the master key is missing or wrong, or a sealed value is damaged."""

    status = 503
    type = "service_unavailable_error"
    default_code = "vault_error"
    fallback = False


class WrongMasterKey(VaultError):
    """The value was sealed with another master key."""

    default_code = "wrong_master_key"


class Ring(Struct, frozen=True):
    """Master keys, the newest first: it seals, all of them open. pepper_id: of 8 bytes."""

    keys: tuple[bytes, ...]
    pepper_id: bytes
    pepper: bytes

    def turned(self) -> Ring:
        """With a fresh key in front. Raises VaultError for a full ring."""
        if len(self.keys) >= MOST_KEYS:
            raise VaultError(
                f"The key file holds {MOST_KEYS} master keys already.",
                hint="xrouter master-key retire drops the old ones.",
            )
        return Ring((os.urandom(MASTER_KEY_BYTES), *self.keys), self.pepper_id, self.pepper)

    def newest(self) -> Ring:
        """With the first key alone."""
        return Ring(self.keys[:1], self.pepper_id, self.pepper)

    def text(self) -> bytes:
        """As the key file holds it."""
        lines = [_RING, *(f"key {key.hex()}" for key in self.keys)]
        lines.append(f"pepper {self.pepper_id.hex()} {self.pepper.hex()}")
        return "".join(f"{line}\n" for line in lines).encode()


def single(master_key: bytes) -> Ring:
    """The ring of one key that was never rotated: its pepper is its own. Raises VaultError."""
    if len(master_key) != MASTER_KEY_BYTES:
        raise VaultError(
            f"The master key has {len(master_key)} bytes, not {MASTER_KEY_BYTES}.",
            hint="Restore the key file from your backup; without it nothing can be opened.",
        )
    return Ring((master_key,), key_id(master_key), _derive(master_key, b"api-keys"))


class Vault:
    """Seals and opens with keys derived from master keys of 32 bytes: the newest, or a whole ring.

    pepper: the key of `mac`. key_id: eight bytes that name the key that seals and tell nothing of
    it. key_ids: of all that open, in hexadecimal digits, the newest first.
    """

    def __init__(self, given: bytes | Ring) -> None:
        """Raises VaultError for a master key of another size."""
        ring = single(given) if isinstance(given, bytes) else given
        self.pepper = ring.pepper
        self.key_id = key_id(ring.keys[0])
        self.key_ids = tuple(key_id(key).hex() for key in ring.keys)
        self._pepper_id = ring.pepper_id.hex()
        self._mac = hmac.new(self.pepper, digestmod="sha256")  # by name: the whole of it in C
        self._ciphers = {key_id(key): AESGCM(_derive(key, b"seal")) for key in ring.keys}
        self._cipher = self._ciphers[self.key_id]

    @property
    def pepper_id(self) -> str:
        """Names the pepper, by the master key that it was made of, in 16 hexadecimal digits."""
        return self._pepper_id

    def seal(self, plain: bytes, context: str) -> bytes:
        """Encrypt. context: where the blob will lie; the same is needed to open it."""
        nonce = os.urandom(12)
        head = bytes((VERSION,)) + self.key_id + nonce
        return head + self._cipher.encrypt(nonce, plain, _associated(head, context))

    def open(self, blob: bytes, context: str) -> bytes:
        """Decrypt. Raises WrongMasterKey, or VaultError for a damaged or misplaced blob."""
        if len(blob) < _HEAD_BYTES or blob[0] != VERSION:
            raise VaultError(f"The sealed value of {context} is damaged.")
        cipher = self._ciphers.get(blob[_ID])
        if cipher is None:
            raise WrongMasterKey(
                f"The sealed value of {context} belongs to master key {blob[_ID].hex()}; "
                f"this process has {', '.join(self.key_ids)}.",
                hint="Start with the master key file that belongs to this database.",
            )
        head = blob[:_HEAD_BYTES]
        try:
            return cipher.decrypt(blob[_NONCE], blob[_HEAD_BYTES:], _associated(head, context))
        except InvalidTag:
            raise VaultError(
                f"The sealed value of {context} is damaged or was moved there.",
                hint="Enter the secret again.",
            ) from None

    def renewed(self, blob: bytes, context: str) -> bytes:
        """The blob as the newest key seals it; itself when that has sealed it. Raises VaultError.

        What the newest key has sealed is not looked at.
        """
        if blob[_ID] == self.key_id:
            return blob
        return self.seal(self.open(blob, context), context)

    def mac(self, key: str) -> bytes:
        """HMAC-SHA-256 of an API key with the pepper: what is stored and looked up."""
        mac = self._mac.copy()
        mac.update(key.encode("utf-8", "surrogatepass"))
        return mac.digest()


def sealed_with(blob: bytes) -> str:
    """Names the master key of a sealed value, as `Vault.key_ids` does."""
    return blob[_ID].hex()


def key_id(master_key: bytes) -> bytes:
    """Eight bytes that name a master key and tell nothing of it."""
    return _derive(master_key, b"key-id")[:8]


def load_or_create(path: Path) -> Vault:
    """The vault of a key file; a missing file is created, readable by its owner only.

    Warns of a file that others can read. Raises VaultError when it cannot be read or is no key.
    """
    return Vault(load_ring(path))


def load_ring(path: Path) -> Ring:
    """What a key file holds, as `load_or_create` does it."""
    try:
        with suppress(FileExistsError):
            _create(path)
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MOST_BYTES)
    except OSError as error:
        raise VaultError(
            f"The master key file {path} cannot be used: {error.strerror}.",
            hint="It must be a file of 32 random bytes that this user can read.",
        ) from None
    ring = single(data) if len(data) == MASTER_KEY_BYTES else _parsed(data)
    if ring is None:
        raise VaultError(
            f"{path} is not a master key: it must have exactly {MASTER_KEY_BYTES} bytes, or the "
            f"lines of a key that was rotated.",
            hint="Restore it from your backup; a new key cannot open what the old one sealed.",
        )
    if mode & _OTHERS:
        log.warning("master_key_open_to_others", file=str(path), hint=f"chmod 600 {path}")
    return ring


def save_ring(path: Path, ring: Ring) -> None:
    """Replace a key file: whole and atomically. Raises VaultError."""
    try:
        fresh = _written(path, ring.text())
        fresh.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise VaultError(f"{path} could not be written: {error.strerror}.") from None


def _parsed(data: bytes) -> Ring | None:
    """The ring of a key file's text; None for what is none."""
    try:
        first, *lines, last = data.decode("ascii").splitlines()
        keys = tuple(bytes.fromhex(line.removeprefix("key ")) for line in lines)
        word, name, pepper = last.split()
        ring = Ring(keys, bytes.fromhex(name), bytes.fromhex(pepper))
    except ValueError:
        return None
    sizes = {len(key) for key in (*keys, ring.pepper)}
    is_whole = (first, word) == (_RING, "pepper") and data.endswith(b"\n")
    return ring if is_whole and keys and sizes == {MASTER_KEY_BYTES} else None


def _create(path: Path) -> None:
    """Write whole, then link into place: nobody sees half a key. Raises FileExistsError."""
    if path.exists():
        raise FileExistsError(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = _written(path, os.urandom(MASTER_KEY_BYTES))
    try:
        os.link(fresh, path)
    finally:
        fresh.unlink()


def _written(path: Path, data: bytes) -> Path:
    """A new file beside the path, on the disk, for its owner only. Raises OSError."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    return fresh


def _derive(master_key: bytes, purpose: bytes) -> bytes:
    """HKDF-SHA-256 (RFC 5869), one block, no salt."""
    extracted = hmac.digest(bytes(32), master_key, sha256)
    return hmac.digest(extracted, b"xrouter/v1/" + purpose + b"\x01", sha256)


def _associated(head: bytes, context: str) -> bytes:
    return head + context.encode()
