"""Addresses as logs show them: people put keys into them by mistake."""

from __future__ import annotations

import re

_LONGEST = 300
_HIDDEN = "***"
_RUN = re.compile(r"[A-Za-z0-9_-]{24,}")


def veiled(path: str) -> str:
    """The path without what looks like a secret: long, of small letters, capitals and digits."""
    shown = _RUN.sub(lambda run: _HIDDEN if _is_random(run[0]) else run[0], path)
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…"


def _is_random(text: str) -> bool:
    small = any("a" <= char <= "z" for char in text)
    return small and any("A" <= c <= "Z" for c in text) and any("0" <= c <= "9" for c in text)
