"""What usage events have come since: a place in them, and how far it is safe to read.

Ids of events sort by the moment at which the requests ended, while `at` is when they began: a long
request would be missed by a cursor over `at`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row

from xrouter.control.db.engine import Database
from xrouter.control.releases import repository

LAG_S = 3.0
"""Events of several processes arrive in turn: what is younger may not be all there."""

BATCH = 1000
BATCHES = 20
"""At most so many in one turn; the next one goes on."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_STAMP = 10


class Tail:
    """Reads on from a moment (unix seconds). conditions: which events are wanted."""

    def __init__(self, db: Database, since: float, *conditions: ColumnElement[bool]) -> None:
        self._db = db
        self._conditions = conditions
        self._cursor = stamp(since)
        self.caught_up = False

    async def read(self, now: float) -> Sequence[Row[*tuple[Any, ...]]]:
        """The next batch, at most BATCH events; sets `caught_up` when no more are there."""
        until = stamp(now - LAG_S)
        if until <= self._cursor:
            self.caught_up = True
            return ()
        async with self._db.read() as session:
            found = await repository.events(session, self._cursor, until, BATCH, *self._conditions)
        self.caught_up = len(found) < BATCH
        self._cursor = until if self.caught_up else found[-1].event_id
        return found


def stamp(at: float) -> str:
    """What ids of events that ended at this moment (unix seconds) or later are greater than."""
    left, text = max(0, int(at * 1000)), ""
    for _ in range(_STAMP):
        text = _ALPHABET[left & 31] + text
        left >>= 5
    return text
