"""The pictures that the simulated GigaChat draws: grey squares, as real JPEG files."""

from __future__ import annotations

import zlib

_JFIF = b"JFIF\0\1\1\0\0\1\0\1\0\0"
_FLAT = b"\0" + b"\1" * 64
_FRAME = b"\10\0\10\0\10\1\1\x11\0"
_CATEGORIES = bytes((0, 0, 0, 0, 12)) + bytes(12) + bytes(range(12))
"""Huffman table for the square's grey: category n has the code n in four bits."""
_END = b"\x10\1" + bytes(15) + b"\0"
"""Huffman table for the rest of the square, which is always its end: one bit 0."""
_SCAN = b"\1\1\0\0\x3f\0"


def picture(text: str) -> bytes:
    """An 8x8 JPEG whose grey comes of the text."""
    level = 8 * (zlib.crc32(text.encode()) % 256 - 128)
    size = abs(level).bit_length()
    bits = f"{size:04b}"
    if size:
        bits += f"{level if level > 0 else level + (1 << size) - 1:0{size}b}"
    bits += "0"
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    parts = ((0xE0, _JFIF), (0xDB, _FLAT), (0xC0, _FRAME), (0xC4, _CATEGORIES), (0xC4, _END))
    head = b"".join(_segment(*part) for part in (*parts, (0xDA, _SCAN)))
    return b"\xff\xd8" + head + data + b"\xff\xd9"


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content
