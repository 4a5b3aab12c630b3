from __future__ import annotations

import msgspec
import pytest

from xrouter.domain.secret import Secret
from xrouter.stores import plain


class Letter(msgspec.Struct):
    secret: Secret


def test_secrets_come_back() -> None:
    data = msgspec.json.encode(Letter(Secret("s3")), enc_hook=plain.written)
    assert data == b'{"secret":"s3"}'
    assert msgspec.json.decode(data, type=Letter, dec_hook=plain.read) == Letter(Secret("s3"))


def test_what_has_no_place_there_is_named() -> None:
    with pytest.raises(TypeError, match="complex cannot be written"):
        msgspec.json.encode({"n": 1j}, enc_hook=plain.written)
    with pytest.raises(msgspec.ValidationError, match="complex cannot be read"):
        msgspec.json.decode(b"1", type=complex, dec_hook=plain.read)
