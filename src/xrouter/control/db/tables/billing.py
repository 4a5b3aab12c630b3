"""Limits; charges, the ledger, prepaid packages, closed months. Money: billionths of a ruble."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Double, ForeignKey, Index, Integer, UniqueConstraint, text, true
from sqlalchemy.orm import Mapped, mapped_column

from xrouter.control.db.tables.base import Base, Dated, utc_now

_NONE = text("'[]'")
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


class LimitRow(Dated, Base):
    """How much somebody may. subject: `key:<id>`, `project:<slug>`, `organization:<slug>`,
    `user:<end user>`, `model:<id>` or `version:<id>:<label>`; or `*` for all of a kind (`key:*`).

    model: counts only what it answers, None for all. meter: `requests`, `tokens`, `running`,
    `streams` or `money`. window: `minute`, `day`, `month`, `total`, or `now` for `running` and
    `streams`. warn_at: percent.
    """

    __tablename__ = "limits"
    __table_args__ = (UniqueConstraint("subject", "model", "meter", "window"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str]
    model: Mapped[str | None]
    meter: Mapped[str]
    window: Mapped[str]
    amount: Mapped[int] = mapped_column(BigInteger)
    time_zone: Mapped[str] = mapped_column(default="Europe/Moscow", server_default="Europe/Moscow")
    warn_at: Mapped[int | None]
    is_enabled: Mapped[bool] = mapped_column(default=True, server_default=true())


class ChargeRow(Base):
    """What one request cost its project. at: unix seconds.

    cost: what the provider takes; margin, vat: put on it; total: the sum. month: `2026-11` in the
    organisation's time zone. is_estimated: the provider did not say the tokens. price_id: None
    where the price is unknown, and all is 0 until it is priced by hand. settled_at: when the
    provider told afterwards what it has charged. What that changed of a closed month is a row of
    its own, `<event_id>~<revision of its settlement>`.
    """

    __tablename__ = "charges"
    __table_args__ = (
        Index(None, "project", "at"),
        Index(None, "organization", "month"),
        Index(None, "model", "at"),
        Index(
            "ix_charges_estimated",
            "at",
            postgresql_where=text("is_estimated"),
            sqlite_where=text("is_estimated = 1"),
        ),
    )

    event_id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(Double)
    month: Mapped[str]
    organization: Mapped[str]
    project: Mapped[str]
    key_id: Mapped[str | None]
    end_user: Mapped[str | None]
    provider: Mapped[str]
    model: Mapped[str]
    version: Mapped[str | None]
    price_id: Mapped[int | None]
    currency: Mapped[str | None]
    rate: Mapped[int | None] = mapped_column(BigInteger)
    cost: Mapped[int] = mapped_column(BigInteger)
    margin: Mapped[int] = mapped_column(BigInteger)
    vat: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[int] = mapped_column(BigInteger)
    is_estimated: Mapped[bool]
    settled_at: Mapped[float | None] = mapped_column(Double)


class ChargeAttemptRow(Base):
    """What one attempt of a request cost, where more than one may be charged. number: from 1.

    Without such rows the charge is that of the one call there was, or of what has been settled.
    calls: made by it; upstream_ids: those of them that the provider has named, between spaces.
    """

    __tablename__ = "charge_attempts"

    event_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    provider: Mapped[str]
    endpoint: Mapped[str]
    model: Mapped[str]
    version: Mapped[str | None]
    tokens_in: Mapped[int] = mapped_column(BigInteger)
    tokens_out: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str | None]
    rate: Mapped[int | None] = mapped_column(BigInteger)
    price_id: Mapped[int | None]
    cost: Mapped[int] = mapped_column(BigInteger)
    is_estimated: Mapped[bool]
    calls: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    upstream_ids: Mapped[str | None]


class SettlementRow(Base):
    """What a provider has told afterwards of an attempt; or, where event_id is None, by how much
    its bill differs from what cannot be matched with it (number, revision and before are 0 then).

    revision: from 1, for each request. at: when it was written, used_at: when it was used, both
    unix seconds. source: `asked`, `statement` or `days`. cost: what the provider charges; before:
    what we had. transfer: of the ledger, None where both are the same. The last one of an attempt
    counts. Those of unmatched attempts of ours keep their cost, and say by which transfer the
    difference of all of them was booked.
    """

    __tablename__ = "settlements"
    __table_args__ = (
        UniqueConstraint("event_id", "number", "revision"),
        Index(None, "provider", "used_at"),
    )

    id: Mapped[int] = mapped_column(_NUMBER, primary_key=True)
    event_id: Mapped[str | None]
    number: Mapped[int]
    revision: Mapped[int]
    at: Mapped[float] = mapped_column(Double)
    used_at: Mapped[float] = mapped_column(Double)
    source: Mapped[str]
    provider: Mapped[str]
    endpoint: Mapped[str]
    model: Mapped[str]
    tokens_in: Mapped[int] = mapped_column(BigInteger)
    tokens_out: Mapped[int] = mapped_column(BigInteger)
    cost: Mapped[int] = mapped_column(BigInteger)
    before: Mapped[int] = mapped_column(BigInteger)
    transfer: Mapped[str | None]


class BilledCallRow(Base):
    """A call on a provider's bill that is none of ours, and has been booked as such."""

    __tablename__ = "billed_calls"

    provider: Mapped[str] = mapped_column(primary_key=True)
    call: Mapped[str] = mapped_column(primary_key=True)
    transfer: Mapped[str]


class LookupRow(Base):
    """An attempt whose provider was asked what it cost, in vain so far. next_at: unix seconds."""

    __tablename__ = "lookups"

    event_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    tries: Mapped[int]
    next_at: Mapped[float] = mapped_column(Double)


class LineRow(Base):
    """A line of the ledger. All lines of one transfer sum to zero. account: `project:<slug>`,
    `provider:<name>`, `margin`, `vat`, `bank`, `package:<id>` ...

    kind: `charge`, `top_up`, `adjustment`, `package`, `reversal`. author: who, `drain` for charges.
    """

    __tablename__ = "ledger_lines"
    __table_args__ = (
        Index(None, "account", "id"),
        UniqueConstraint("transfer", "account"),
    )

    id: Mapped[int] = mapped_column(_NUMBER, primary_key=True)
    transfer: Mapped[str]
    at: Mapped[float] = mapped_column(Double)
    kind: Mapped[str]
    account: Mapped[str]
    amount: Mapped[int] = mapped_column(BigInteger)
    memo: Mapped[str | None]
    author: Mapped[str]


class PackageRow(Dated, Base):
    """Tokens bought in advance from a provider. models: whose tokens come from it.

    bought, left: tokens. paid: billionths of a ruble for the whole of it.
    """

    __tablename__ = "packages"
    __table_args__ = (Index(None, "provider", "expires_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    provider: Mapped[str]
    endpoint_id: Mapped[int | None] = mapped_column(
        ForeignKey("provider_endpoints.id", ondelete="SET NULL")
    )
    models: Mapped[list[str]] = mapped_column(default=list, server_default=_NONE)
    bought: Mapped[int] = mapped_column(BigInteger)
    left: Mapped[int] = mapped_column(BigInteger)
    paid: Mapped[int] = mapped_column(BigInteger)
    starts_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]


class ClosedMonthRow(Base):
    """A month (`2026-11`) of an organisation whose figures do not change any more."""

    __tablename__ = "closed_months"

    organization: Mapped[str] = mapped_column(primary_key=True)
    month: Mapped[str] = mapped_column(primary_key=True)
    closed_at: Mapped[datetime] = mapped_column(default=utc_now)
    author: Mapped[str]
    total: Mapped[int] = mapped_column(BigInteger)
    requests: Mapped[int] = mapped_column(BigInteger)
