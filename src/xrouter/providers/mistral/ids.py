"""Ids of tool calls: the provider takes nine letters and digits, clients have ids of any shape."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from itertools import count

LENGTH = 9
_FITS = re.compile(r"[a-zA-Z0-9]{9}")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class CallIds:
    """The ids of one request. One that fits is kept; any other becomes its hash, always the same.

    Two ids of a request never become one: when hashes meet, the later one is hashed again.
    """

    def __init__(self, given: Iterable[str]) -> None:
        """given: all ids of the request, so that no hash takes the place of one that is kept."""
        self._known = {one: one for one in given if _FITS.fullmatch(one)}
        self._taken = set(self._known)

    def of(self, given: str) -> str:
        """The provider's id for the client's."""
        found = self._known.get(given)
        if found is None:
            tries = (hashed(given, salt) for salt in count())
            found = next(one for one in tries if one not in self._taken)
            self._known[given] = found
            self._taken.add(found)
        return found


def hashed(text: str, salt: int = 0) -> str:
    """Nine letters and digits that are always the same for this text."""
    salted = text if salt == 0 else f"{text}#{salt}"
    number = int.from_bytes(hashlib.sha256(salted.encode(errors="replace")).digest(), "big")
    digits = []
    for _ in range(LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(digits)
