"""Who asks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from abc import ABC, abstractmethod

from msgspec import Struct

from xrouter.domain.bounds import Bounds

PREFIX = "sk-xr-"
_SECRET_BYTES = 32
_CHECKSUM_BYTES = 4


class Principal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The owner of a request: an API key of a project.

    key_id: public id of the key, safe to log. rpm: requests a minute, None for no limit.
    groups: access groups whose models and routes it may use. bounds: None for a key that is held
    to nothing. user: who allowed an access token, for a key none.
    """

    key_id: str
    name: str
    project: str = "default"
    rpm: int | None = None
    groups: tuple[str, ...] = ()
    user: str | None = None
    bounds: Bounds | None = None


class KeyRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the data plane knows of a key: its MAC (HMAC-SHA-256 with the pepper), never the key.

    expires_at: unix seconds or None. is_replaced: the secret before a rotation. row: the number of
    the key in the database, the same for all of its secrets; 0 where nobody asks for it.
    """

    mac: bytes
    principal: Principal
    expires_at: float | None = None
    is_replaced: bool = False
    row: int = 0


class KeyShelf(ABC):
    """Very many keys, apart from the snapshot. What is on it never changes."""

    @abstractmethod
    def find(self, mac: bytes) -> KeyRecord | None:
        """By MAC; never waits. Raises NotReady when the shelf is damaged there."""

    @abstractmethod
    def named(self, key_id: str) -> KeyRecord | None:
        """By its public id. Raises NotReady when the shelf is damaged there."""


def new_key() -> str:
    """A fresh API key: `sk-xr-` + 256 random bits + a checksum, base64url without padding."""
    secret = secrets.token_bytes(_SECRET_BYTES)
    return PREFIX + base64.urlsafe_b64encode(secret + _checksum(secret)).decode().rstrip("=")


def well_formed(key: str) -> bool:
    """Whether the text can be one of our keys: prefix, length and checksum. Cheap; no secret."""
    if not key.startswith(PREFIX) or not key.isascii():
        return False
    text = key[len(PREFIX) :]
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return False
    if len(raw) != _SECRET_BYTES + _CHECKSUM_BYTES:
        return False
    return raw[_SECRET_BYTES:] == _checksum(raw[:_SECRET_BYTES])


def _checksum(secret: bytes) -> bytes:
    return hashlib.sha256(b"xrouter-key-v1" + secret).digest()[:_CHECKSUM_BYTES]
