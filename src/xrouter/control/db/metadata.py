"""All tables in one place, for migrations to be compared with."""

from __future__ import annotations

from sqlalchemy import MetaData

from xrouter.control.db.tables import (
    billing,
    catalog,
    health,
    identity,
    oauth,
    people,
    releases,
    routing,
    usage,
)
from xrouter.control.db.tables.base import Base

WATCHED = (
    catalog.ProviderRow.__tablename__,
    catalog.EndpointRow.__tablename__,
    catalog.ModelRow.__tablename__,
    catalog.VersionRow.__tablename__,
    identity.KeyRow.__tablename__,
    routing.RouteRow.__tablename__,
    routing.RouteTargetRow.__tablename__,
    routing.PriceRow.__tablename__,
    routing.RateRow.__tablename__,
    releases.ReleaseRow.__tablename__,
    health.EndpointStateRow.__tablename__,
    people.OrganizationRow.__tablename__,
    people.ProjectRow.__tablename__,
    oauth.GrantRow.__tablename__,
    oauth.RevokedRow.__tablename__,
    billing.LimitRow.__tablename__,
)
"""Tables whose every change raises the catalog's revision."""

STAMPED = (identity.KeyRow.__tablename__,)
"""Tables whose rows say in which revision they changed."""

EVENTS = usage.UsageRow.__tablename__


def metadata() -> MetaData:
    """The tables as the code knows them."""
    return Base.metadata
