"""Routes: virtual models over targets; prices and exchange rates that strategies compare."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint, text, true
from sqlalchemy.orm import Mapped, mapped_column, relationship

from xrouter.control.db.tables.base import Base, Dated, utc_now

_EMPTY = text("'{}'")
_NONE = text("'[]'")


class RouteRow(Dated, Base):
    """A virtual model `route/<name>`; aliases: names that mean it as they stand (`auto`).

    policy: the fields of `domain.routes.Policy`; what is absent has the default.
    """

    __tablename__ = "routes"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    display_name: Mapped[str]
    aliases: Mapped[list[str]] = mapped_column(default=list, server_default=_NONE)
    policy: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=_EMPTY)
    access_group: Mapped[str | None]
    is_enabled: Mapped[bool] = mapped_column(default=True, server_default=true())

    targets: Mapped[list[RouteTargetRow]] = relationship(
        lazy="raise",
        order_by="RouteTargetRow.position, RouteTargetRow.id",
        cascade="all, delete-orphan",
        passive_deletes=True,
    )


class RouteTargetRow(Base):
    """Where a route may go. model: `provider/model`, with `:channel` or `:label`, or `route/x`.

    endpoint: only this one of the provider's, None for all. priority: smaller is tried first.
    """

    __tablename__ = "route_targets"

    id: Mapped[int] = mapped_column(primary_key=True)
    route_id: Mapped[int] = mapped_column(ForeignKey("routes.id", ondelete="CASCADE"), index=True)
    position: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    model: Mapped[str]
    endpoint: Mapped[str | None]
    weight: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    priority: Mapped[int] = mapped_column(default=0, server_default=text("0"))


class PriceRow(Base):
    """What a model costs from a moment on; the latest row that has begun counts.

    version: label, None for all versions without a row of their own. mode: `sync` or `deferred`.
    Amounts are billionths of the currency's unit: per million tokens, per request, per image.
    What is None costs what `input` (cached_input, cache_write) or `output` (reasoning) costs.
    """

    __tablename__ = "prices"
    __table_args__ = (Index(None, "llm_model_id", "effective_from"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    llm_model_id: Mapped[int] = mapped_column(ForeignKey("llm_models.id", ondelete="CASCADE"))
    version: Mapped[str | None]
    mode: Mapped[str] = mapped_column(default="sync", server_default="sync")
    effective_from: Mapped[datetime]
    currency: Mapped[str]
    input: Mapped[int] = mapped_column(BigInteger)
    output: Mapped[int] = mapped_column(BigInteger)
    cached_input: Mapped[int | None] = mapped_column(BigInteger)
    cache_write: Mapped[int | None] = mapped_column(BigInteger)
    reasoning: Mapped[int | None] = mapped_column(BigInteger)
    request: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    image: Mapped[int | None] = mapped_column(BigInteger)
    source: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class RateRow(Base):
    """The Bank of Russia's rate of a day: billionths of a ruble for one unit of the currency."""

    __tablename__ = "currency_rates"
    __table_args__ = (UniqueConstraint("currency", "day"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    currency: Mapped[str]
    day: Mapped[date]
    rubles: Mapped[int] = mapped_column(BigInteger)
