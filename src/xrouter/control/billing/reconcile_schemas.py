"""Shapes of comparing statements with our books, and of settling them."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from xrouter.control.billing.amounts import Money
from xrouter.control.billing.schemas import When
from xrouter.control.kit.schemas import In, Name, Out


class ReconcileIn(In):
    """A provider's statement. csv: with a header that has `day`, `model`, and `tokens` or `amount`;
    or, by call, `call`, `at`, `model`, and `tokens_in` and `tokens_out`, or `amount`.

    endpoints: whose account's statement it is, [] for all of the provider's. time_zone: of its
    days. cached_tokens: whether the provider counts those from its cache. settle: book what
    differs, so that the ledger says what the statement says. since, until: when the calls were
    made that it is about; without them, from its first to its last.
    """

    provider: Name
    csv: Annotated[str, StringConstraints(min_length=1, max_length=3_000_000)]
    endpoints: Annotated[list[Name], Field(default_factory=list, max_length=100)]
    time_zone: Annotated[str, StringConstraints(min_length=1, max_length=64)] = "Europe/Moscow"
    cached_tokens: bool = False
    settle: bool = False
    since: When | None = None
    until: When | None = None


class DifferenceOut(Out):
    """A day and model on which the statement and our books differ; ours - theirs.

    Of tokens or money that the statement does not tell, theirs and the difference are None.
    """

    day: date
    model: str
    our_tokens: int
    their_tokens: int | None
    tokens: int | None
    our_cost: Money
    their_cost: Money | None
    cost: Money | None


class CallOut(Out):
    """A call on which both sides differ. what: `differs`; `not_billed`: the bill has not got it;
    `not_ours`: we have not; `unnamed`: of ours, and nobody has told how the provider calls it.

    call: the provider's name of it; several, where an attempt was several calls.
    """

    what: Literal["differs", "not_billed", "not_ours", "unnamed"]
    call: str | None
    event_id: str | None
    attempt: int | None
    at: float
    model: str
    is_estimated: bool
    our_tokens: int | None
    their_tokens: int | None
    our_cost: Money | None
    their_cost: Money | None


class CallsOut(Out):
    """What a comparison by call has found: how many of each. unpriced: of which nobody knows what
    they cost. settled: attempts that were made exact; in_packages: those that were not, because
    prepaid tokens have paid for them. adjusted: by how much the provider gets more for those;
    unattributed: for what is no request's.
    """

    agreed: int
    differ: int
    not_billed: int
    not_ours: int
    unnamed: int
    unpriced: int
    settled: int
    in_packages: int
    adjusted: Money
    unattributed: Money
    data: list[CallOut]


class ReconciledOut(Out):
    """What a comparison has found. agreed: days and models that are the same in both. booked: by
    how much the provider gets more, where that was asked for. calls: of a statement by call.
    """

    provider: str
    agreed: int
    data: list[DifferenceOut]
    tokens: int | None
    cost: Money | None
    booked: Money | None = None
    calls: CallsOut | None = None
