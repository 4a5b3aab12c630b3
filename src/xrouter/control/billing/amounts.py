"""Money as people and programs write it: rubles as text, with up to nine decimals."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from xrouter.control.kit.schemas import Out
from xrouter.domain.money import BILLION

_RUBLES = re.compile(r"^-?\d{1,9}(\.\d{1,9})?$")
_PLACES = 9


class Money(Out):
    """An amount of rubles. rubles: exact, as text. billionths: the same as an integer."""

    rubles: str
    billionths: int


def money(billionths: int) -> Money:
    """As it is shown."""
    return Money(rubles=rubles(billionths), billionths=billionths)


def rubles(billionths: int) -> str:
    """Billionths as a decimal text without needless zeros, two places at least."""
    whole, part = divmod(abs(billionths), BILLION)
    decimals = f"{part:0{_PLACES}d}".rstrip("0").ljust(2, "0")
    return f"{'-' if billionths < 0 else ''}{whole}.{decimals}"


def billionths(text: str) -> int:
    """A decimal text as billionths."""
    whole, _, part = text.removeprefix("-").partition(".")
    amount = int(whole) * BILLION + int(part.ljust(_PLACES, "0"))
    return -amount if text.startswith("-") else amount


def _rubles(text: str) -> str:
    if not _RUBLES.match(text):
        raise ValueError("must be rubles as text, like '1500.50', with at most nine places")
    return text


def _positive(text: str) -> str:
    if billionths(text) <= 0:
        raise ValueError("must be above 0")
    return text


def _not_negative(text: str) -> str:
    if billionths(text) < 0:
        raise ValueError("must not be below 0")
    return text


Rubles = Annotated[str, AfterValidator(_rubles)]
Positive = Annotated[Rubles, AfterValidator(_positive)]
NotNegative = Annotated[Rubles, AfterValidator(_not_negative)]
