"""The script of the limits: what it is told, and what it says. See meters.lua."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from msgspec import Struct

from xrouter.domain.choices import Choices
from xrouter.domain.ports import Level, Spent, Want
from xrouter.domain.windows import FOREVER, span

PREFIX = "xr:{limits}:"
"""All in one slot of a cluster: a request's limits are taken together."""
SCRIPT = files("xrouter.stores.redis").joinpath("meters.lua").read_text(encoding="utf-8")
ENDED = -1
"""A hold that has ended before it was taken."""
_SECOND = 1_000_000
_HEAD = 6
_FIELDS = 3
_END_HEAD = 3
_END_FIELDS = 2
_NONE = "0"


class Told(Struct):
    """refused: the place of a want, -1 for none, or below. at: microseconds of Redis.

    mates: processes that live. era: since when Redis knows what was spent, "" where it does not.
    marks: of windows. left: of each limit; below 0 where more was granted than there was.
    opened: the ways of the choices that are.
    """

    refused: int
    wait_s: float
    mates: int
    at: int
    era: str
    levels: list[Level]
    marks: list[str]
    left: list[int]
    opened: tuple[int, ...] = ()


class Ended(Struct, frozen=True):
    """left: of each limit, as in `Told`, and in which window; of rates 0 and an empty text."""

    era: str
    at: int
    left: list[tuple[int, str]]


def keys(wants: Sequence[Want], hold_id: str = "") -> list[str]:
    """Two for each, and the four that all share."""
    found: list[str] = []
    for want in wants:
        found += [f"{PREFIX}c:{want.counter}", holders(want)]
    return found + shared_keys(hold_id)


def holders(want: Want) -> str:
    """Where it is kept who holds how much of a limit."""
    return f"{PREFIX}h:{want.counter}"


def shared_keys(hold_id: str = "") -> list[str]:
    """Of whatever the script is asked."""
    return [
        f"{PREFIX}d:{hold_id}",
        f"{PREFIX}processes",
        f"{PREFIX}known",
        f"{PREFIX}telling",
    ]


def kind(want: Want) -> str:
    """As the script names it."""
    return {"minute": "rate", "now": "now"}.get(want.window, "count")


def bounds(want: Want, now: float) -> tuple[int, int, int, int]:
    """Where the windows before, of and after this moment begin, and the next; 0 for none."""
    starts, ends = span(want.window, want.time_zone, now)
    if ends == FOREVER:
        return 0, 0, 0, 0
    before, _ = span(want.window, want.time_zone, starts - 1)
    _, after = span(want.window, want.time_zone, ends)
    return int(before), int(starts), int(ends), int(after)


def of_now(spent: Iterable[Spent], now: float) -> list[tuple[Want, int]]:
    """What was used of windows that are not over, as wants of nothing."""
    return [
        (Want(each.counter, "requests", each.window, 0, 0, each.time_zone), each.amount)
        for each in spent
        if span(each.window, each.time_zone, now)[0] <= each.at
    ]


def marks(wants: Sequence[Want], now: float) -> list[str]:
    """As Redis would say them: of windows their starts, of rates nothing."""
    return [_NONE if w.window == "minute" else str(bounds(w, now)[1]) for w in wants]


def ways(choices: Choices | None) -> str:
    """As the script reads them: how many are main, and the places of each, from 1."""
    if choices is None:
        return ""
    each = (",".join(str(at + 1) for at in way) for way in choices.ways)
    return f"{choices.main}:" + "".join(f"{way};" for way in each)


def micros(seconds: float) -> int:
    """The script's unit of time."""
    return round(seconds * _SECOND)


def told(raw: list[Any], wants: Sequence[Want]) -> Told:
    """What `take` and `look` answer."""
    if raw[0] == ENDED:
        return Told(0, 0.0, 0, 0, "", [Level(0, 0.0)] * len(wants), [], [])
    levels: list[Level] = []
    found: list[str] = []
    left: list[int] = []
    for place in range(_HEAD, _HEAD + len(wants) * _FIELDS, _FIELDS):
        amount, reset, mark = raw[place : place + _FIELDS]
        left.append(int(amount))
        levels.append(Level(max(0, left[-1]), _seconds(reset)))
        found.append(mark.decode())
    refused, wait, mates, at, era, opened = raw[:_HEAD]
    ways = tuple(int(number) - 1 for number in opened.split())
    seconds, alive = _seconds(wait), max(1, mates)
    return Told(refused - 1, seconds, alive, at, era.decode(), levels, found, left, ways)


def wait(told: Told, wants: Sequence[Want]) -> float:
    """Seconds, of a refusal: not for ever, only because something is kept free that Redis does not
    know of.
    """
    want = wants[told.refused]
    if told.wait_s == FOREVER and want.amount <= want.limit:
        return told.levels[told.refused].reset_s
    return told.wait_s


def ended(raw: list[Any]) -> Ended:
    """What `end` answers."""
    left = [
        (int(raw[place]), raw[place + 1].decode())
        for place in range(_END_HEAD, len(raw), _END_FIELDS)
    ]
    return Ended(raw[1].decode(), raw[2], left)


def _seconds(microseconds: bytes | int) -> float:
    found = int(microseconds)
    return FOREVER if found < 0 else found / _SECOND
