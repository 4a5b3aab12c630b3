"""Passwords: argon2id in threads, a few at a time; what is too easy is refused.

A check for a user who does not exist costs what any check costs.
"""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from xrouter.domain.errors import InvalidRequest, RateLimited

SHORTEST = 10
LONGEST = 1024
AT_ONCE = 4
WAITING = 64
"""Checks that may wait for their turn; more are refused."""
MEMORY_KIB = 19 * 1024
ROUNDS = 2
LANES = 1
_FEW = 4
"""Different characters a password must have."""

T = TypeVar("T")

_COMMON_TEXT = """
    1234567890 12345678910 0123456789 0987654321 9876543210 123456789a 123456789q 1q2w3e4r5t
    1q2w3e4r5t6y 1qaz2wsx3edc qwertyuiop qwerty1234 qwerty12345 qwerty123456 qwertyuiop123
    1234qwerasdf asdfghjkl1 zxcvbnm123 password12 password123 password1234 passw0rd123 p@ssw0rd123
    password01 mypassword welcome123 welcome1234 letmein123 iloveyou123 iloveyou12 administrator
    administrator1 admin12345 admin123456 adminadmin superadmin changeme123 changemenow
    trustno1trustno1 football123 baseball123 basketball sunshine123 princess123 dragon12345
    abcdefghij abcdefghijk abcd123456 abc1234567 abcdef123456 q1w2e3r4t5 q1w2e3r4t5y6 1234567890q
    0000000000 1111111111 1212121212 1122334455 112233445566 123123123123 1231231234 123321123321
    qazwsxedcrfv qazwsx123456 michael123 jennifer123 liverpool1 manchester chocolate1 everything
    internet123 computer123 testtest123 test123456 testpassword userpassword rootroot123
    secret1234 secretpassword p@ssword123 pa55word123 xrouter123 xrouterxrouter
    йцукенгшщз йцукенгшщзхъ йцукен12345 йцукен123456 фывапролдж пароль1234 пароль12345 парольпароль
    привет1234 привет12345 пароль123456 gfhjkmgfhjkm gfhjkm12345 ghbdtn12345 qwertyqwerty
"""
_COMMON = frozenset(_COMMON_TEXT.split())


class Passwords:
    """hasher: None for ours, with the parameters that OWASP names."""

    def __init__(self, hasher: PasswordHasher | None = None, at_once: int = AT_ONCE) -> None:
        self._hasher = hasher or PasswordHasher(ROUNDS, MEMORY_KIB, LANES)
        self._turn = asyncio.Semaphore(at_once)
        self._waiting = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """The hash to keep. Raises RateLimited."""
        return await self._in_turn(lambda: self._hasher.hash(_normal(password)))

    async def check(self, kept: str | None, password: str) -> bool:
        """Whether it is the password of the hash; no hash is no password's. Raises RateLimited."""
        if self._nobodys is None:
            self._nobodys = await self.hash(secrets.token_urlsafe())
        against = kept or self._nobodys
        is_right = await self._in_turn(lambda: self._verify(against, password))
        return is_right and kept is not None

    def is_stale(self, kept: str) -> bool:
        """Whether the hash was made with other parameters than ours."""
        return self._hasher.check_needs_rehash(kept)

    def _verify(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, _normal(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _in_turn(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING:
            raise RateLimited("Too many people sign in at this moment.", retry_after=1.0)
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


def require_good(password: str, email: str) -> None:
    """Refuse what would be guessed. Raises InvalidRequest that names `password`."""
    plain = _normal(password).casefold()
    reason = None
    if len(plain) < SHORTEST:
        reason = f"it has fewer than {SHORTEST} characters"
    elif plain in _COMMON or len(set(plain)) < _FEW:
        reason = "it is one of the first that are guessed"
    elif plain in (email, email.partition("@")[0]):
        reason = "it is the e-mail address"
    if reason is not None:
        raise InvalidRequest(
            f"Invalid value for 'password': {reason}.", param="password", code="weak_password"
        )


def _normal(password: str) -> str:
    """One text for what looks the same on every keyboard."""
    return unicodedata.normalize("NFKC", password)
