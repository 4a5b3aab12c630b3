from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xrouter.domain.multipart import boundary_of, read_field, replace_field

BOUNDARY = b"----b0undary"
BODY = (
    b"------b0undary\r\n"
    b'Content-Disposition: form-data; name="file"; filename="model"\r\n'
    b"Content-Type: audio/wav\r\n\r\n"
    b"RIFF\r\n\r\n\x00\xff\r\n"
    b"------b0undary\r\n"
    b'content-disposition: form-data; name="model"\r\n\r\n'
    b"whisper-1\r\n"
    b"------b0undary--\r\n"
)


def test_the_boundary() -> None:
    assert boundary_of("multipart/form-data; boundary=----b0undary") == BOUNDARY
    assert boundary_of('Multipart/Form-Data; charset=x; boundary="a b"') == b"a b"
    for other in ("application/json", "multipart/form-data", "multipart/mixed; boundary=x", ""):
        assert boundary_of(other) is None


def test_a_field_is_read_and_replaced_and_the_rest_stays() -> None:
    assert read_field(BODY, BOUNDARY, "model") == "whisper-1"
    assert read_field(BODY, BOUNDARY, "filename") is None
    replaced = replace_field(BODY, BOUNDARY, "model", "другая")
    assert read_field(replaced, BOUNDARY, "model") == "другая"
    assert replaced == BODY.replace(b"whisper-1", "другая".encode())
    assert replace_field(BODY, BOUNDARY, "none", "x") == BODY


def test_a_field_that_is_there_twice_is_none() -> None:
    """Another reader may take the other one."""
    second = b"------b0undary\r\nContent-Disposition: form-data; name=model\r\n\r\nother\r\n"
    twice = second + BODY
    assert read_field(twice, BOUNDARY, "model") is None
    assert replace_field(twice, BOUNDARY, "model", "x") == twice
    assert boundary_of("multipart/form-data; xboundary=a") is None


def test_a_preamble_is_skipped() -> None:
    assert read_field(b"hello\r\n" + BODY, BOUNDARY, "model") == "whisper-1"


@given(st.integers(0, len(BODY)), st.binary(max_size=20))
def test_damage_is_no_field(cut: int, garbage: bytes) -> None:
    damaged = BODY[:cut] + garbage
    found = read_field(damaged, BOUNDARY, "model")
    assert found is None or isinstance(found, str)
    assert isinstance(replace_field(damaged, BOUNDARY, "model", "x"), bytes)
