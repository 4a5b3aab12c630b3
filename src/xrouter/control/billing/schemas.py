"""Shapes of the billing API. Times of charges and lines are unix seconds."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, WithJsonSchema, model_validator

from xrouter.control.billing.amounts import Money, NotNegative, Positive
from xrouter.control.kit.schemas import MAX_PAGE, In, Moment, Name, Out, Title, Word, unset

When = Annotated[
    Moment,
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]}),
]
"""ISO 8601 with a zone, or unix seconds."""

MOST_GROUPS = 1_000_000

GroupBy = Literal["project", "organization", "key", "model", "provider", "day", "month", "end_user"]
Form = Literal["json", "csv"]
Encoding = Literal["utf-8", "cp1251"]
Language = Literal["ru", "en"]
Month = Annotated[str, StringConstraints(pattern=r"^(19|2\d)\d\d-(0[1-9]|1[0-2])$")]
"""`2026-11`."""

Account = Annotated[
    str,
    StringConstraints(
        max_length=200,
        pattern=r"^(bank|margin|vat|revenue|unattributed|(project|organization|provider|package):[!-~]+)$",
    ),
]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
"""Of a write: whoever sends it again gets the same answer, and nothing is written twice."""


class ChargeFilter(In):
    """Which charges. until: not included."""

    organization: Name | None = None
    project: str | None = None
    key_id: str | None = None
    model: str | None = None
    provider: str | None = None
    end_user: str | None = None
    month: Month | None = None
    since: When | None = None
    until: When | None = None


class ChargeQuery(ChargeFilter):
    """Which charges, and which part of them: behind the charge `after`."""

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100
    format: Form = "json"
    language: Language = "ru"
    encoding: Encoding = "utf-8"


class BillQuery(ChargeFilter):
    """Which charges, and what to sum them by. after: how many groups to leave out; not of days."""

    group_by: GroupBy = "project"
    after: Annotated[int, Field(ge=0, le=MOST_GROUPS)] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = MAX_PAGE


class ChargeOut(Out):
    """What one request costs. cost, margin: shown to operators alone. rate: None where the price
    was unknown. is_estimated: the provider did not say the tokens. settled_at: when it has told
    afterwards what it charged.
    """

    event_id: str
    at: float
    month: str
    organization: str
    project: str
    key_id: str | None
    end_user: str | None
    provider: str
    model: str
    version: str | None
    currency: str | None
    rate: int | None
    cost: Money | None
    margin: Money | None
    vat: Money
    total: Money
    is_estimated: bool
    settled_at: float | None


class BillRow(Out):
    """Sums of a group. unknown: requests whose price nobody knew."""

    group: str | None
    requests: int
    unknown: int
    estimated: int
    cost: Money | None
    margin: Money | None
    vat: Money
    total: Money


class BillOut(Out):
    """Groups, the dearest first; days and months, the latest first. next: `after` of the rest."""

    group_by: GroupBy
    data: list[BillRow]
    next: int | None = None


class StatementRow(Out):
    """Requests of one project to one model. is_correction: of a month that was closed by then.

    unknown: those whose price nobody knew; they cost nothing.
    """

    project: str
    model: str
    is_correction: bool
    requests: int
    unknown: int
    tokens_in: int
    tokens_out: int
    net: Money
    vat: Money
    total: Money


class StatementOut(Out):
    """A month of an organisation, or of one project of it.

    Of the account: opening + top_ups + adjustments - charged = closing.
    """

    organization: str
    project: str | None
    month: str
    time_zone: str
    is_closed: bool
    requests: int
    unknown: int
    opening: Money
    top_ups: Money
    adjustments: Money
    charged: Money
    closing: Money
    data: list[StatementRow]


class StatementQuery(In):
    """Of which project, and how it is written."""

    project: Name | None = None
    format: Form = "json"
    language: Language = "ru"
    encoding: Encoding = "utf-8"


class MonthOut(Out):
    """A month of an organisation. closed_at: None while it is open and its figures may grow.

    unknown: requests whose price nobody knew; they cost nothing.
    """

    organization: str
    month: str
    requests: int
    unknown: int
    total: Money
    closed_at: Moment | None = None
    author: str | None = None


class TopUpIn(In):
    """Money that has come in, for a project or an organisation. at: now where it is not sent."""

    project: Name | None = None
    organization: Name | None = None
    amount: Positive
    memo: Title | None = None
    at: When | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.project is None) == (self.organization is None):
            raise ValueError("must name either a project or an organization")
        return self


class AdjustmentIn(In):
    """Money that moves between two accounts, and why."""

    source: Account
    target: Account
    amount: Positive
    memo: Title
    at: When | None = None

    @model_validator(mode="after")
    def _two(self) -> Self:
        if self.source == self.target:
            raise ValueError("must move money between two accounts")
        return self


class ReversalIn(In):
    """Why a transfer is taken back."""

    memo: Title


class LineOut(Out):
    """A line of the ledger. id: as `after` of the following page."""

    id: int
    transfer: str
    at: float
    kind: str
    account: str
    amount: Money
    memo: str | None
    author: str


class TransferOut(Out):
    """A transfer; its lines sum to zero."""

    id: str
    at: float
    kind: str
    memo: str | None
    author: str
    lines: list[LineOut]


class BalanceOut(Out):
    """What an account holds. A project's is what it has left."""

    account: str
    balance: Money


class LineQuery(In):
    """Which part of an account's lines, the newest first: behind the line `after`."""

    after: Annotated[int | None, Field(ge=1, le=2**53)] = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100


class LinesOut(Out):
    """Lines, the newest first. next: `after` of the following page."""

    data: list[LineOut]
    next: int | None = None


class PackageIn(In):
    """Tokens bought in advance. models: whose tokens come from it, [] for all of the provider.

    endpoint: name of the only one whose credential it belongs to. paid: rubles for the whole.
    """

    provider: Name
    endpoint: Name | None = None
    models: Annotated[list[Word], Field(default_factory=list, max_length=200)]
    bought: Annotated[int, Field(ge=1, le=10**15)]
    paid: NotNegative
    starts_at: When | None = None
    expires_at: When


class PackagePatch(In):
    """What to change of a package; what it holds and costs is as it was bought."""

    models: Annotated[list[Word], Field(max_length=200)] = unset()
    starts_at: When = unset()
    expires_at: When = unset()


class PackageOut(Out):
    """A package. value: what is left of what was paid."""

    id: int
    provider: str
    endpoint: str | None
    models: list[str]
    bought: int
    left: int
    paid: Money
    value: Money
    starts_at: Moment
    expires_at: Moment
    created_at: Moment


class Left(In):
    """What a provider says is left. usage: what for, mostly a model's name. value: tokens."""

    usage: Title
    value: Annotated[int, Field(ge=0, le=10**15)]


class BalanceIn(In):
    """Whose packages. endpoint: the first one, unless it is named. balance: as the provider has
    told it; without it the provider is asked.
    """

    provider: Name
    endpoint: Name | None = None
    balance: Annotated[list[Left], Field(min_length=1, max_length=1000)] | None = None


class LeftOut(Out):
    """Tokens left by our books and by the provider's; ours - theirs. packages: ours, by id.

    usage: the provider's name, `*` for packages of all models.
    """

    usage: str
    packages: list[int]
    ours: int
    theirs: int
    tokens: int


class BalanceComparedOut(Out):
    """What a comparison of packages has found."""

    provider: str
    endpoint: str
    data: list[LeftOut]
