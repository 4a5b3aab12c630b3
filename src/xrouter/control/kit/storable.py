"""What JSON can say and a database cannot keep: refused at the door, with its place."""

from __future__ import annotations

import math
from typing import Any, NoReturn

from pydantic_core import PydanticCustomError

KIND = "unstorable"
MAX_DEPTH = 32

_Step = str | int


def refuse_unstorable(data: Any) -> None:
    """Look through all of it. Raises PydanticCustomError of type KIND with `place` in its context.

    Refused: NUL and lone surrogates in text, numbers that are none, more than 32 levels.
    """
    stack: list[tuple[Any, tuple[_Step, ...]]] = [(data, ())]
    while stack:
        value, place = stack.pop()
        if len(place) > MAX_DEPTH:
            _refuse(place[:1], f"has more than {MAX_DEPTH} levels")
        if isinstance(value, str):
            _check_text(value, place)
        elif isinstance(value, float) and not math.isfinite(value):
            _refuse(place, "is not a finite number")
        elif isinstance(value, dict):
            for name, item in value.items():
                _check_text(str(name), place)
                stack.append((item, (*place, str(name))))
        elif isinstance(value, list):
            stack += [(item, (*place, index)) for index, item in enumerate(value)]


def _check_text(text: str, place: tuple[_Step, ...]) -> None:
    if "\x00" in text or not _encodable(text):
        _refuse(place, "holds a character that is none")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(place: tuple[_Step, ...], reason: str) -> NoReturn:
    raise PydanticCustomError(KIND, "{reason}", {"reason": reason, "place": place})
