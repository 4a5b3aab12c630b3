"""Reading the provider's JSON: broken characters, string integers, doubles that were integers."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from xrouter.domain.errors import UpstreamMalformed

_SURROGATE = re.compile("[\ud800-\udfff]")
_EXACT = 2**53
_MOST_TOKENS = 10**12


def read_object(data: bytes) -> dict[str, Any]:
    """A JSON object. Half a character (a lone surrogate, cut UTF-8) becomes U+FFFD.

    Raises UpstreamMalformed for anything else.
    """
    try:
        value = _decode(data)
    except (ValueError, RecursionError) as error:
        raise UpstreamMalformed("The provider's answer is not JSON.") from error
    if not isinstance(value, dict):
        raise UpstreamMalformed("The provider's answer is not a JSON object.")
    return value


def _decode(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = json.loads(data.decode("utf-8", "replace"), parse_constant=_no_constant)
        return json.loads(_SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False)))


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are no JSON


def as_dict(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """The value if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str | None:
    """The value if it is a string that says something."""
    return value if isinstance(value, str) and value else None


def as_count(value: Any) -> int:
    """A count of tokens: int64 comes as a string; what is no sensible number is 0."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 16 else 0  # noqa: PLR2004 - digits of an exact double
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(min(max(value, 0), _MOST_TOKENS))


def arguments_text(arguments: Any) -> str:
    """Arguments of a call as JSON text: an object is written out, text is kept.

    A protobuf Struct knows only doubles, so integral ones become integers again.
    Raises UpstreamMalformed for nesting that cannot be followed.
    """
    if isinstance(arguments, str):
        return arguments
    try:
        return msgspec.json.encode(_integral({} if arguments is None else arguments)).decode()
    except RecursionError as error:
        raise UpstreamMalformed("The arguments of a tool call are nested too deeply.") from error


def _integral(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, dict):
        return {key: _integral(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_integral(item) for item in value]
    return value
