"""Inflates bodies that come compressed although nobody asked, without trusting what they claim."""

from __future__ import annotations

import zlib

from xrouter.domain.errors import UpstreamMalformed

PIECE = 256 << 10
"""Most bytes that come out at once."""

FREE = 1 << 20
"""Below this many bytes no compression ratio is suspicious."""

RATIO = 200
"""Beyond that, how many bytes may come out for each that went in. JSON text stays under 30."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP = zlib.MAX_WBITS + 16
_ZLIB = zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS


class Inflater:
    """Inflates one body, a bounded piece at a time.

    encoding: in lower case; `gzip` or `deflate`, all others are refused.
    limit: most bytes the whole body may have. Every method raises UpstreamMalformed.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        name = encoding.removeprefix("x-")
        if name not in ("gzip", "deflate"):
            raise UpstreamMalformed(
                "The provider's answer has a content encoding that was not asked for.",
                hint="A proxy in between may compress answers; let it pass them unchanged.",
            )
        self._gzip = name == "gzip"
        self._limit = limit
        self._machine = zlib.decompressobj(_GZIP) if self._gzip else None
        self._input = b""
        self._full = False  # the last piece filled its bound: more may be ready
        self._bytes_in = 0
        self._bytes_out = 0

    def feed(self, data: bytes) -> None:
        """Add compressed bytes. Call `take` until it gives b"" before the next."""
        self._bytes_in += len(data)
        self._input += data

    def take(self) -> bytes:
        """The next inflated piece, b"" when more input is needed."""
        while self._input or self._full:
            machine = self._current()
            if machine is None:
                return b""
            try:
                piece = machine.decompress(self._input, PIECE)
            except zlib.error:
                raise UpstreamMalformed(
                    "The provider's answer is not compressed the way it says."
                ) from None
            self._full = len(piece) == PIECE
            self._input = machine.unused_data if machine.eof else machine.unconsumed_tail
            if piece:
                self._count(len(piece))
                return piece
        return b""

    def end(self) -> None:
        """The compressed body is over: was it whole?"""
        if self._input or (self._bytes_in and not (self._machine and self._machine.eof)):
            raise UpstreamMalformed("The provider's compressed answer broke off before its end.")

    def _current(self) -> zlib._Decompress | None:
        """The decompressor for what comes next; None while its kind cannot be told."""
        if self._machine is None:
            if len(self._input) < 2:  # noqa: PLR2004 - a zlib header has two bytes
                return None
            self._machine = zlib.decompressobj(_ZLIB if _is_zlib(self._input) else _RAW)
        elif self._machine.eof:
            if not self._gzip or not self._input.startswith(_GZIP_MAGIC[: len(self._input)]):
                raise UpstreamMalformed("The provider's compressed answer goes on after its end.")
            self._machine = zlib.decompressobj(_GZIP)
        return self._machine

    def _count(self, size: int) -> None:
        self._bytes_out += size
        bomb = self._bytes_out > FREE and self._bytes_out > RATIO * self._bytes_in
        if bomb or self._bytes_out > self._limit:
            raise UpstreamMalformed("The provider's compressed answer inflates to too much.")


def _is_zlib(data: bytes) -> bool:
    """Whether "deflate" means the zlib format here, as it should, and not raw deflate."""
    return data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
