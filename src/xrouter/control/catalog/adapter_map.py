"""Which adapter serves which model."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import select

from xrouter.control.catalog.adapters import AdapterClass, Adapters, supported
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import ModelRow, ProviderRow
from xrouter.telemetry.logs import log

_NAMED = 10


async def build_model_adapter_map(
    db: Database, adapters: Adapters | None = None
) -> dict[str, AdapterClass]:
    """{model id: adapter class} of the models that are switched on, of providers that are.

    adapters: None for those of this installation. Rows with a class that is not supported are
    logged and left out.
    """
    classes = (adapters or supported()).classes
    query = (
        select(ModelRow.model_id, ModelRow.adapter_class)
        .join(ProviderRow, ProviderRow.name == ModelRow.provider)
        .where(ModelRow.is_available, ProviderRow.is_enabled)
        .order_by(ModelRow.model_id)
    )
    async with db.read() as session:
        rows = (await session.execute(query)).all()
    found: dict[str, AdapterClass] = {}
    unknown: dict[str, list[str]] = defaultdict(list)
    for model_id, path in rows:
        kind = classes.get(path)
        if kind is None:
            unknown[path].append(model_id)
        else:
            found[model_id] = kind
    for path, ids in unknown.items():
        reason = f"unknown adapter class {path}"
        log.error("rows_skipped", reason=reason, count=len(ids), first=ids[:_NAMED])
    return found
