"""Objects of the catalog as documents: what an export holds and what changes remember.

Fields have the names of the columns. Times are ISO 8601. `sealed` of an endpoint is its credential
as only the same master key can open it: `<endpoint id>:<base64>`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from xrouter.control.db.tables.catalog import EndpointRow, ModelRow, ProviderRow, VersionRow
from xrouter.control.db.tables.routing import PriceRow, RouteRow, RouteTargetRow

Document = dict[str, Any]

PROVIDER = ("display_name", "adapter_class", "is_enabled", "country", "settings")
ENDPOINT = (
    *("base_url", "adapter_class", "priority", "options", "timeouts", "ca_bundle"),
    *("client_cert", "client_key", "proxy", "max_running", "max_waiting", "country", "is_enabled"),
)
MODEL = (
    *("provider", "adapter_class", "display_name", "kind", "context_length", "is_available"),
    *("listed", "capabilities", "access_group", "limits", "policy", "origin", "vanished_at"),
)
VERSION = (
    *("upstream", "channel", "status", "released_at", "retires_at", "weight", "successor"),
    "origin",
)
ROUTE = ("display_name", "aliases", "policy", "access_group", "is_enabled")
TARGET = ("model", "endpoint", "weight", "priority")
PRICE = (
    *("version", "mode", "effective_from", "currency", "input", "output", "cached_input"),
    *("cache_write", "reasoning", "request", "image", "source"),
)


def provider(row: ProviderRow) -> Document:
    """With its endpoints, by name."""
    ordered = sorted(row.endpoints, key=lambda each: each.name)
    endpoints = [endpoint(each) for each in ordered]
    return {"name": row.name, **_fields(row, PROVIDER), "endpoints": endpoints}


def endpoint(row: EndpointRow) -> Document:
    """With its credential, sealed."""
    return {"name": row.name, **_fields(row, ENDPOINT), "sealed": sealed(row)}


def model(row: ModelRow) -> Document:
    """With its versions: the first one is what the bare model id means."""
    versions: list[VersionRow] = sorted(row.versions, key=lambda each: each.position)
    shown = [{"label": each.label, **_fields(each, VERSION)} for each in versions]
    return {"model_id": row.model_id, **_fields(row, MODEL), "versions": shown}


def prices(model_id: str, rows: Iterable[PriceRow]) -> Document:
    """All prices of a model."""
    shown = sorted((_fields(row, PRICE) for row in rows), key=price_key)
    return {"model_id": model_id, "prices": shown}


def route(row: RouteRow) -> Document:
    """With its targets."""
    targets: Sequence[RouteTargetRow] = sorted(row.targets, key=lambda each: each.position)
    shown = [_fields(each, TARGET) for each in targets]
    return {"name": row.name, **_fields(row, ROUTE), "targets": shown}


def price_key(price: Document) -> tuple[str, str, str]:
    """What tells a price from the others of its model."""
    return price.get("version") or "", price.get("mode") or "sync", str(price["effective_from"])


def sealed(row: EndpointRow) -> str | None:
    """The credential as documents hold it."""
    if row.credential is None:
        return None
    return f"{row.id}:{base64.b64encode(row.credential).decode()}"


def unpacked(text: str) -> tuple[int, bytes]:
    """The id of the endpoint for which a credential was sealed, and the sealed bytes.

    Raises ValueError.
    """
    number, colon, packed = text.partition(":")
    if not colon:
        raise ValueError("it must be '<endpoint id>:<base64>'")
    return int(number), base64.b64decode(packed, validate=True)


def _fields(row: object, names: Iterable[str]) -> Document:
    return {name: _value(getattr(row, name)) for name in names}


def _value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
