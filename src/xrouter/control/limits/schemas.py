"""Shapes of limits. Amounts of money are rubles as text, all others are integers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from xrouter.control.kit.etag import TaggedOut
from xrouter.control.kit.schemas import In, Moment, Out, PageQuery, Title, Word, unset
from xrouter.control.routing.schemas import Amount
from xrouter.domain.limits import Meter, Window

MOST = 2**62

Subject = Annotated[Title, StringConstraints(max_length=300)]
Whole = Annotated[int, Field(ge=0, le=MOST)]
Percent = Annotated[int, Field(ge=1, le=100)]
Zone = Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")]
MONEY = "money"


class LimitIn(In):
    """How much somebody may.

    subject: `key:<id>`, `project:<slug>`, `organization:<slug>`, `user:<end user>`, `model:<id>`,
    `version:<id>:<label>`; or `<kind>:*` for each of a kind. model: counts only what this model
    answers. warn_at: percent.
    """

    subject: Subject
    model: Word | None = None
    meter: Meter
    window: Window
    amount: Whole | Amount
    time_zone: Zone = "Europe/Moscow"
    warn_at: Percent | None = None
    is_enabled: bool = True


class LimitPatch(In):
    """What to change of a limit; whose and of what it is stays."""

    amount: Whole | Amount = unset()
    time_zone: Zone = unset()
    warn_at: Percent | None = unset()
    is_enabled: bool = unset()


class LimitOut(TaggedOut):
    """A limit. missing: subjects that it names and that are not there: it counts nothing."""

    id: int
    subject: str
    model: str | None
    meter: Meter
    window: Window
    amount: int | str
    time_zone: str
    warn_at: int | None
    is_enabled: bool
    created_at: Moment
    updated_at: Moment
    missing: list[str]


class LimitQuery(PageQuery):
    """Which limits: all, or those of one subject."""

    subject: Subject | None = None


class StateQuery(In):
    """Of whom: needed for limits of a whole kind. project: needed for end users."""

    of: Subject | None = None
    project: Word | None = None


class LimitState(Out):
    """How a limit stands. resets_in_s: None where it never does, or nothing is used."""

    id: int
    subject: str
    amount: int | str
    used: int | str
    remaining: int | str
    resets_in_s: float | None
