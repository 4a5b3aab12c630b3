"""Reasoning that leaves and comes back: `encrypted_content` of reasoning items.

It is not secret, only opaque: providers that sign their reasoning want it back as it was, and
clients that keep no state on the server send it back in the items of the conversation.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from msgspec import Struct

from xrouter.edge.voice import encode

_MARK = "xr1."


class Thought(Struct):
    """What a model thought: text, and the provider's own objects where it has any."""

    text: str = ""
    details: list[dict[str, Any]] = []


_decode = msgspec.json.Decoder(Thought).decode


def packed(thought: Thought) -> str:
    """As `encrypted_content`."""
    return _MARK + base64.urlsafe_b64encode(encode(thought)).decode()


def unpacked(text: str) -> Thought | None:
    """The thought, None for content that is not ours."""
    if not text.startswith(_MARK):
        return None
    try:
        return _decode(base64.urlsafe_b64decode(text[len(_MARK) :]))
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        return None
