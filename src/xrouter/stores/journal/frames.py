"""How events lie in a journal segment: length, CRC-32, JSON payload; torn ends are recognised."""

from __future__ import annotations

import struct
from zlib import crc32

import msgspec

from xrouter.domain.usage import UsageEvent

HEAD = struct.Struct(">II")
MAX_EVENT = 64 * 1024
SUFFIX = ".journal"

_pack = HEAD.pack
_decode = msgspec.json.Decoder(UsageEvent).decode


def frame(payload: bytes) -> bytes:
    """One record."""
    return _pack(len(payload), crc32(payload)) + payload


def read_frame(data: bytes, at: int) -> tuple[UsageEvent, int] | None:
    """The event at this offset and the offset behind it; None when it is torn or not all there.

    Raises ValueError when what is there is whole but not a record of ours.
    """
    if at + HEAD.size > len(data):
        return None
    length, crc = HEAD.unpack_from(data, at)
    if not 0 < length <= MAX_EVENT:
        raise ValueError(f"no record at offset {at}")
    start, end = at + HEAD.size, at + HEAD.size + length
    if end > len(data):
        return None
    payload = data[start:end]
    if crc32(payload) != crc:
        raise ValueError(f"damaged record at offset {at}")
    return _decode(payload), end


def next_frame(data: bytes, at: int) -> int | None:
    """The offset of the next whole record from here on, None when there is none: for damage."""
    for offset in range(at, len(data) - HEAD.size):
        length, crc = HEAD.unpack_from(data, offset)
        start, end = offset + HEAD.size, offset + HEAD.size + length
        if 0 < length <= MAX_EVENT and end <= len(data) and crc32(data[start:end]) == crc:
            return offset
    return None
