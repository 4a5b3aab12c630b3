"""Thinking blocks, and the objects that they are made of and become again.

A client sees text and a signature (or sealed data) and sends both back as they were. What another
provider's object holds besides is packed into them, for it must come back, too. A block with an
empty signature is told by us alone: no provider has signed it.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from xrouter.edge.dialects.anthropic.types import Block
from xrouter.edge.voice import encode

Detail = dict[str, Any]

FORMAT = "anthropic-claude-v1"
TEXT, SUMMARY, SEALED = "reasoning.text", "reasoning.summary", "reasoning.encrypted"
_MARK = "xr1."
_SAID = {TEXT: "text", SUMMARY: "summary", SEALED: "data"}
_PLAIN = frozenset({"type", "text", "data", "signature", "format", "index"})


def is_open(detail: Detail) -> bool:
    """Whether the object tells what was thought; all others are passed through sealed."""
    return detail.get("type") in (TEXT, SUMMARY)


def said(detail: Detail) -> str:
    """The text of an object, "" for none."""
    text = detail.get(_key_of(detail)) if is_open(detail) else None
    return text if isinstance(text, str) else ""


def signature_of(detail: Detail) -> str:
    """What stands for the object beside its text."""
    if not _is_plain(detail):
        return _packed({k: v for k, v in detail.items() if k != _key_of(detail)})
    signature = detail.get("signature")
    return signature if isinstance(signature, str) else ""


def sealed_block(detail: Detail) -> Block:
    """The block of a sealed object."""
    data = detail.get("data")
    plain = _is_plain(detail) and isinstance(data, str)
    return {"type": "redacted_thinking", "data": data if plain else _packed(detail)}


def detail_of(block: Block) -> Detail | None:
    """The object of a thinking or redacted_thinking block; None for one that nobody signed."""
    if block["type"] == "redacted_thinking":
        data = str(block.get("data") or "")
        return _unpacked(data) or {"type": SEALED, "data": data, "format": FORMAT}
    text, signature = str(block.get("thinking") or ""), str(block.get("signature") or "")
    if not signature:
        return None
    detail = _unpacked(signature)
    if detail is None:
        return {"type": TEXT, "text": text, "signature": signature, "format": FORMAT}
    return {**detail, _key_of(detail): text}


def _key_of(detail: Detail) -> str:
    """Where an object has its text."""
    return _SAID.get(str(detail.get("type")), "text")


def _is_plain(detail: Detail) -> bool:
    """Whether text, signature and data are all there is to it."""
    if detail.get("type") not in (TEXT, SEALED) or detail.get("format") not in (None, FORMAT):
        return False
    return all(name in _PLAIN or value is None for name, value in detail.items())


def _packed(detail: Detail) -> str:
    return _MARK + base64.urlsafe_b64encode(encode(detail)).decode()


def _unpacked(text: str) -> Detail | None:
    if not text.startswith(_MARK):
        return None
    try:
        detail = msgspec.json.decode(base64.urlsafe_b64decode(text[len(_MARK) :]))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return detail if isinstance(detail, dict) and isinstance(detail.get("type"), str) else None
