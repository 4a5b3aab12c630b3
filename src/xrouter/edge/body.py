"""Reading a request body: bounded in size, in time, and in what it inflates to."""

from __future__ import annotations

import asyncio
import zlib

from zstandard import ZstdDecompressor, ZstdError

from xrouter.domain.deadline import Deadline
from xrouter.domain.errors import (
    ClientGone,
    InvalidRequest,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMedia,
)
from xrouter.edge.asgi import Headers, Message, Receive
from xrouter.edge.limits import DoorLimits

_MAX_DIGITS = 19
_GZIP = 16 + zlib.MAX_WBITS
_DEFLATE = zlib.MAX_WBITS
_RAW_DEFLATE = -zlib.MAX_WBITS
_WINDOWS = {b"gzip": (_GZIP,), b"x-gzip": (_GZIP,), b"deflate": (_DEFLATE, _RAW_DEFLATE)}
_ZSTD = b"zstd"
_ZSTD_WINDOW = 8 << 20
_KNOWN = frozenset({*_WINDOWS, _ZSTD})


async def read_body(
    receive: Receive, headers: Headers, limits: DoorLimits, declared: int | None = None
) -> bytes:
    """The whole body, inflated. declared: its length, None where nobody has looked.

    Raises PayloadTooLarge (before anything is read where the length is declared), RequestTimeout,
    UnsupportedMedia, InvalidRequest for a broken encoding, ClientGone.
    """
    encoding = headers.get(b"content-encoding")
    if encoding is not None:
        encoding = encoding.strip().lower()
        if encoding and encoding != b"identity" and encoding not in _KNOWN:
            raise _unknown(encoding)
    if declared is None:
        declared = declared_length(headers)
    if declared > limits.max_body:
        raise _too_large(limits.max_body)
    try:
        with Deadline(limits.body_timeout):
            message = await receive()
            body: bytes = message.get("body", b"")
            if message["type"] != "http.request" or message.get("more_body", False):
                body = await _collect(receive, limits.max_body, message)
            elif len(body) > limits.max_body:
                raise _too_large(limits.max_body)
    except TimeoutError:
        raise RequestTimeout(
            f"The request body did not arrive within {limits.body_timeout:g} s."
        ) from None
    if encoding is not None and encoding in _KNOWN:
        return await asyncio.to_thread(_inflate, body, encoding, limits.max_body)
    return body


def declared_length(headers: Headers) -> int:
    """`content-length` in bytes; 0 when there is none. Raises InvalidRequest."""
    text = headers.get(b"content-length")
    if text is None:
        return 0
    if not text.isdigit() or len(text) > _MAX_DIGITS:
        raise InvalidRequest("The content-length header is not a number.")
    return int(text)


async def _collect(receive: Receive, cap: int, message: Message) -> bytes:
    """A body of several pieces. message: the first."""
    pieces: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise ClientGone("The caller left while sending the request.")
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > cap:
            raise _too_large(cap)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)
        message = await receive()


def _inflate(body: bytes, encoding: bytes, cap: int) -> bytes:
    """Runs in a thread: a body may inflate to a thousand times its size."""
    if encoding == _ZSTD:
        return _inflate_zstd(body, cap)
    for window in _WINDOWS[encoding]:
        inflater = zlib.decompressobj(window)
        try:
            plain = inflater.decompress(body, cap + 1)
        except zlib.error:
            continue
        if len(plain) > cap:
            raise _too_large(cap)
        if inflater.eof and not inflater.unused_data:
            return plain
    raise _broken(encoding)


def _inflate_zstd(body: bytes, cap: int) -> bytes:
    """Twice: the first time only to see that it stays within the cap."""
    decompressor = ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    try:
        with decompressor.stream_reader(body) as reader:
            if len(reader.read(cap + 1)) > cap:
                raise _too_large(cap)
        inflater = decompressor.decompressobj()
        plain = inflater.decompress(body)
    except ZstdError:
        raise _broken(_ZSTD) from None
    if not inflater.eof or inflater.unused_data:
        raise _broken(_ZSTD)
    return plain


def _broken(encoding: bytes) -> InvalidRequest:
    return InvalidRequest(
        f"The request body is not valid {encoding.decode()} data.", code="invalid_encoding"
    )


def _too_large(cap: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The request body is larger than the {cap} bytes allowed.",
        hint="XROUTER_MAX_BODY sets the limit.",
    )


def _unknown(encoding: bytes) -> UnsupportedMedia:
    name = encoding[:40].decode("latin-1")
    return UnsupportedMedia(
        f"The content encoding '{name}' is not supported.",
        code="unsupported_content_encoding",
        hint="Send the body plain, or with gzip, deflate or zstd.",
    )
