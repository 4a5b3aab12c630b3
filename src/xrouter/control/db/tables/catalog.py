"""Providers, their endpoints, models and their versions; the revision of all of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    LargeBinary,
    UniqueConstraint,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from xrouter.control.db.tables.base import Base, Dated

_EMPTY = text("'{}'")


class ProviderRow(Dated, Base):
    """A party that serves models. adapter_class: of endpoints and models that name none.

    country: where its machines stand, ISO 3166 (`RU`), None when unknown. settings: the fields of
    `control.catalog.schemas.ProviderSettings`; what is absent has the default.
    """

    __tablename__ = "providers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    display_name: Mapped[str]
    adapter_class: Mapped[str]
    is_enabled: Mapped[bool] = mapped_column(default=True, server_default=true())
    country: Mapped[str | None]
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=_EMPTY)

    endpoints: Mapped[list[EndpointRow]] = relationship(
        lazy="raise",
        order_by="EndpointRow.priority, EndpointRow.id",
        cascade="all, delete-orphan",
        passive_deletes=True,
    )


class EndpointRow(Dated, Base):
    """One base URL with one credential of a provider.

    credential: a sealed JSON object (see `xrouter.control.catalog.seals`), None for none.
    timeouts: seconds by the names of `domain.catalog.Timeouts`; what is absent has the default.
    max_running, max_waiting: calls at a time and in the queue, None for no limit of ours.
    country: where it differs from the provider's.
    """

    __tablename__ = "provider_endpoints"
    __table_args__ = (UniqueConstraint("provider", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    provider: Mapped[str] = mapped_column(
        ForeignKey("providers.name", ondelete="CASCADE", onupdate="CASCADE")
    )
    name: Mapped[str]
    base_url: Mapped[str]
    adapter_class: Mapped[str | None]
    priority: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    options: Mapped[dict[str, str]] = mapped_column(default=dict, server_default=_EMPTY)
    credential: Mapped[bytes | None] = mapped_column(LargeBinary)
    timeouts: Mapped[dict[str, float]] = mapped_column(default=dict, server_default=_EMPTY)
    ca_bundle: Mapped[str | None]
    client_cert: Mapped[str | None]
    client_key: Mapped[str | None]
    proxy: Mapped[str | None]
    max_running: Mapped[int | None]
    max_waiting: Mapped[int | None]
    country: Mapped[str | None]
    is_enabled: Mapped[bool] = mapped_column(default=True, server_default=true())


class ModelRow(Dated, Base):
    """A model. `model_id` is canonical: `provider/name`.

    origin: who made the row: `operator`, the adapter's own list (`shipped`) or the provider's
    (`live`). vanished_at: since when that list lacks it. listed: what that list says of it:
    `features`, `max_output`, `prices`; capabilities: the operator's word on the same, which stands.
    policy: the fields of `domain.routes.Policy`; what is absent has the default.
    """

    __tablename__ = "llm_models"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(unique=True)
    provider: Mapped[str] = mapped_column(
        ForeignKey("providers.name", ondelete="CASCADE", onupdate="CASCADE"), index=True
    )
    adapter_class: Mapped[str]
    display_name: Mapped[str]
    kind: Mapped[str] = mapped_column(default="chat", server_default="chat")
    context_length: Mapped[int | None]
    is_available: Mapped[bool] = mapped_column(default=True, server_default=true())
    listed: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=_EMPTY)
    capabilities: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=_EMPTY)
    access_group: Mapped[str | None]
    limits: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=_EMPTY)
    policy: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=_EMPTY)
    origin: Mapped[str] = mapped_column(default="operator", server_default="operator")
    vanished_at: Mapped[datetime | None]

    versions: Mapped[list[VersionRow]] = relationship(
        lazy="raise",
        order_by="VersionRow.position, VersionRow.id",
        cascade="all, delete-orphan",
        passive_deletes=True,
    )


class VersionRow(Base):
    """What a model is at one time. The first active one (by position) is the bare model id.

    upstream: the provider's own name for it. status: `active`, `deprecated` or `retired`; retired
    ones are not served. weight: its share where versions split the traffic. origin: as of models.
    successor: what callers of a deprecated one should ask for instead, a model name.
    """

    __tablename__ = "llm_model_versions"
    __table_args__ = (UniqueConstraint("llm_model_id", "label"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    llm_model_id: Mapped[int] = mapped_column(ForeignKey("llm_models.id", ondelete="CASCADE"))
    label: Mapped[str]
    upstream: Mapped[str]
    channel: Mapped[str | None]
    status: Mapped[str] = mapped_column(default="active", server_default="active")
    released_at: Mapped[datetime | None]
    retires_at: Mapped[datetime | None]
    weight: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    position: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    successor: Mapped[str | None]
    origin: Mapped[str] = mapped_column(default="operator", server_default="operator")


class CatalogState(Base):
    """One row. revision: raised by triggers with every change of the catalog or the keys."""

    __tablename__ = "catalog_state"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
