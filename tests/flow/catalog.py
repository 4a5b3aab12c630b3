"""Catalogs for tests of the flow."""

from __future__ import annotations

from typing import Any

from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.snapshot import Snapshot


def model(model_id: str, *versions: Version, **changes: object) -> Model:
    given_versions = versions or (Version(label="default", upstream=model_id),)
    fields: dict[str, object] = {
        "model_id": model_id,
        "provider": model_id.split("/", maxsplit=1)[0],
        "adapter_class": "x.Y",
        "display_name": model_id,
        "versions": given_versions,
    }
    return Model(**(fields | changes))  # type: ignore[arg-type] # a builder for tests


def endpoint(number: int, provider: str, priority: int = 0, **changes: Any) -> Endpoint:
    return Endpoint(
        id=number,
        provider=provider,
        name=f"e{number}",
        adapter_class="x.Y",
        base_url="http://x",
        priority=priority,
        **changes,
    )


def snapshot(*models: Model, endpoints: tuple[Endpoint, ...] = (), **changes: Any) -> Snapshot:
    """Of these rows. changes: further fields of the snapshot."""
    by_provider: dict[str, tuple[Endpoint, ...]] = {}
    for each in endpoints:
        by_provider[each.provider] = (*by_provider.get(each.provider, ()), each)
    return Snapshot(
        revision=1,
        built_at=0.0,
        models={m.model_id: m for m in models},
        endpoints=by_provider,
        keys={},
        **changes,
    )
