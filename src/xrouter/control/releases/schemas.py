"""Shapes of the releases' API."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from xrouter.control.kit.schemas import MAX_PAGE, In, Moment, Out, Title, Word
from xrouter.control.releases.moves import LATEST

Status = Literal["planned", "canary", "done", "rolled_back", "cancelled", "failed"]
Share = Annotated[float, Field(ge=0, le=1)]


class CanaryIn(In):
    """A share of the requests that the version gets first, and the bounds it must keep.

    by: what makes the choice stick. max_errors, max_refusals: shares of its attempts;
    max_slowdown: of its first token in relation to that of the version in use (1.5: half as long
    again). min_requests: attempts after which the bounds count.
    """

    share: Annotated[float, Field(gt=0, le=1)]
    by: Literal["key", "user", "request"] = "key"
    max_errors: Share = 0.05
    max_slowdown: Annotated[float, Field(ge=1, le=1000)] | None = None
    max_refusals: Share | None = None
    min_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 50


class ReleasePlan(In):
    """The version `label` becomes `channel` at `at`; the one it replaces retires at `retire_at`.

    canary_from: when a canary begins, at once unless given.
    """

    model_id: Word
    label: Word
    channel: Word = LATEST
    at: Moment
    retire_at: Moment | None = None
    canary: CanaryIn | None = None
    canary_from: Moment | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.canary_from is not None and self.canary is None:
            raise ValueError("'canary_from' needs 'canary'")
        if self.canary is not None and self.channel != LATEST:
            raise ValueError(f"a canary is possible for the channel '{LATEST}' alone")
        if self.canary_from is not None and self.canary_from >= self.at:
            raise ValueError("'canary_from' must be before 'at'")
        if self.retire_at is not None and self.retire_at <= self.at:
            raise ValueError("'retire_at' must be after 'at'")
        return self


class ReleaseIn(ReleasePlan):
    """dry_run: only tell what would happen."""

    dry_run: bool = False


class RollbackIn(In):
    """reason: for the records."""

    reason: Title | None = None


class ReleaseQuery(In):
    """Which releases, and which part of them: those before the release `after`."""

    model_id: str | None = None
    status: Status | None = None
    after: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100


class StepOut(Out):
    """A place of the model that changes at a moment. path: as `versions[v2].channel`."""

    at: Moment
    path: str
    old: JsonValue
    new: JsonValue


class ReleaseOut(Out):
    """A release. id: None for one that was not written. replaced: the label of the version before.

    diff: what it changes, or would; empty once it is over.
    """

    id: int | None
    model_id: str
    label: str
    channel: str
    at: Moment
    retire_at: Moment | None
    canary: JsonValue
    canary_from: Moment | None
    status: str
    replaced: str | None
    reason: str | None
    author: str
    diff: list[StepOut] = Field(default=[])


class BuildQuery(In):
    """Which builds, and which part of them: those behind the build `after`."""

    model_id: str | None = None
    after: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = MAX_PAGE


class BuildOut(Out):
    """A build that has answered. Times are unix seconds; answers: about how many.

    first_seen: when it came, or came back after another one had taken its place for a while.
    """

    id: int
    model_id: str
    version: str
    provider: str
    endpoint: str
    build: str
    first_seen: float
    last_seen: float
    answers: int


class DriftOut(Out):
    """A build that appeared behind a name. old: the one that appeared before it."""

    model_id: str
    version: str
    provider: str
    endpoint: str
    old: str
    new: str
    first_seen: float


Document = dict[str, Any]
