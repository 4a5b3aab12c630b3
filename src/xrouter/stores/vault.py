"""Secrets at rest: sealed blobs and the keyed hash of API keys, both from one master key.

A blob is  version (1 byte) | key id (8) | nonce (12) | AES-256-GCM ciphertext and tag.
Its context (table, row and field) is authenticated with it, so that a blob moved elsewhere does not
open. The key id tells a wrong master key from a damaged blob.
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

from xrouter.domain.errors import OperatorError
from xrouter.telemetry.logs import log

MASTER_KEY_BYTES = 32
VERSION = 1
_ID = slice(1, 9)
_NONCE = slice(9, 21)
_HEAD_BYTES = 21
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


class Vault:
    """Seals and opens with keys derived from one master key of 32 bytes.

    pepper: the key of `mac`. key_id: eight bytes that name the master key and tell nothing of it.
    """

    def __init__(self, master_key: bytes) -> None:
        """Raises VaultError for a master key of another size."""
        if len(master_key) != MASTER_KEY_BYTES:
            raise VaultError(
                f"The master key has {len(master_key)} bytes, not {MASTER_KEY_BYTES}.",
                hint="Restore the key file from your backup; without it nothing can be opened.",
            )
        self.pepper = _derive(master_key, b"api-keys")
        self.key_id = _derive(master_key, b"key-id")[:8]
        self._mac = hmac.new(self.pepper, digestmod=sha256)
        self._cipher = AESGCM(_derive(master_key, b"seal"))

    @property
    def pepper_id(self) -> str:
        """Names the pepper, and with it the master key, in 16 hexadecimal digits."""
        return self.key_id.hex()

    def seal(self, plain: bytes, context: str) -> bytes:
        """Encrypt. context: where the blob will lie; the same is needed to open it."""
        nonce = os.urandom(12)
        head = bytes((VERSION,)) + self.key_id + nonce
        return head + self._cipher.encrypt(nonce, plain, _associated(head, context))

    def open(self, blob: bytes, context: str) -> bytes:
        """Decrypt. Raises WrongMasterKey, or VaultError for a damaged or misplaced blob."""
        if len(blob) < _HEAD_BYTES or blob[0] != VERSION:
            raise VaultError(f"The sealed value of {context} is damaged.")
        if blob[_ID] != self.key_id:
            raise WrongMasterKey(
                f"The sealed value of {context} belongs to master key {blob[_ID].hex()}; "
                f"this process has {self.pepper_id}.",
                hint="Start with the master key file that belongs to this database.",
            )
        head = blob[:_HEAD_BYTES]
        try:
            return self._cipher.decrypt(
                blob[_NONCE], blob[_HEAD_BYTES:], _associated(head, context)
            )
        except InvalidTag:
            raise VaultError(
                f"The sealed value of {context} is damaged or was moved there.",
                hint="Enter the secret again.",
            ) from None

    def mac(self, key: str) -> bytes:
        """HMAC-SHA-256 of an API key with the pepper: what is stored and looked up."""
        mac = self._mac.copy()
        mac.update(key.encode("utf-8", "surrogatepass"))
        return mac.digest()


def sealed_with(blob: bytes) -> str:
    """Names the master key of a sealed value, as `Vault.pepper_id` does."""
    return blob[_ID].hex()


def load_or_create(path: Path) -> Vault:
    """The vault of a key file; a missing file is created, readable by its owner only.

    Warns of a file that others can read. Raises VaultError when it cannot be read or is no key.
    """
    try:
        with suppress(FileExistsError):
            _create(path)
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            master_key = file.read(MASTER_KEY_BYTES + 1)
    except OSError as error:
        raise VaultError(
            f"The master key file {path} cannot be used: {error.strerror}.",
            hint="It must be a file of 32 random bytes that this user can read.",
        ) from None
    if len(master_key) != MASTER_KEY_BYTES:
        raise VaultError(
            f"{path} is not a master key: it must have exactly {MASTER_KEY_BYTES} bytes.",
            hint="Restore it from your backup; a new key cannot open what the old one sealed.",
        )
    if mode & _OTHERS:
        log.warning("master_key_open_to_others", file=str(path), hint=f"chmod 600 {path}")
    return Vault(master_key)


def _create(path: Path) -> None:
    """Write whole, then link into place: nobody sees half a key. Raises FileExistsError."""
    if path.exists():
        raise FileExistsError(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(os.urandom(MASTER_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, path)
    finally:
        fresh.unlink()


def _derive(master_key: bytes, purpose: bytes) -> bytes:
    """HKDF-SHA-256 (RFC 5869), one block, no salt."""
    extracted = hmac.digest(bytes(32), master_key, sha256)
    return hmac.digest(extracted, b"xrouter/v1/" + purpose + b"\x01", sha256)


def _associated(head: bytes, context: str) -> bytes:
    return head + context.encode()
