"""From rows to the snapshot. Rows that make no sense are logged and left out."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, get_args

import msgspec
from msgspec import ValidationError
from msgspec.structs import replace
from sqlalchemy import Row

from xrouter.control.catalog import rows
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import EndpointRow, ProviderRow
from xrouter.control.publish import tenants, tokens
from xrouter.control.publish.accounts import accounts
from xrouter.control.publish.routing import Routing
from xrouter.control.publish.stock import Keys, KeyStock
from xrouter.control.publish.tables import DEFERRED, Tables, read
from xrouter.domain.abilities import Abilities, Degree, Feature
from xrouter.domain.catalog import Endpoint, Kind, Model, Status, Version
from xrouter.domain.routes import CHAIN, Policy
from xrouter.domain.snapshot import Snapshot
from xrouter.stores.vault import Vault, VaultError, WrongMasterKey
from xrouter.telemetry.logs import log

DEFAULT_LABEL = "default"
_NAMED = 10
_KINDS = frozenset(get_args(Kind))
_STATUSES = frozenset(get_args(Status))
_RETIRED: Status = "retired"
_RC, _LATEST, _DEPRECATED = CHAIN


async def build_snapshot(
    db: Database,
    vault: Vault,
    adapters: Adapters,
    now: float | None = None,
    *,
    issuer: str = "",
    stock: KeyStock | None = None,
) -> Snapshot:
    """The catalog and the keys as they are. now: unix seconds, None for those of the clock.

    issuer: of access tokens, empty where none is good. stock: what is known of the keys already,
    None for nothing.
    Raises DatabaseError, and WrongMasterKey when nothing secret in the database can be opened.
    """
    stock = stock or KeyStock(vault.pepper_id)
    tables = await read(db, stock)
    builder = _Builder(vault, adapters, tables, now or time.time(), issuer)
    return await asyncio.to_thread(builder.build, stock)


class _Builder:
    """Makes one snapshot; runs in a thread."""

    def __init__(
        self, vault: Vault, adapters: Adapters, tables: Tables, now: float, issuer: str
    ) -> None:
        self._vault = vault
        self._adapters = adapters
        self._tables = tables
        self._now = now
        self._issuer = issuer
        self._skipped: dict[str, list[str]] = defaultdict(list)
        self._abilities: dict[tuple[str, str, bytes], Abilities] = {}
        self._opened = 0
        self._foreign: WrongMasterKey | None = None
        self._routing = Routing(tables, self._now, self._skip)

    def _skip(self, reason: str, name: str) -> None:
        self._skipped[reason].append(name)

    def build(self, stock: KeyStock) -> Snapshot:
        """Raises WrongMasterKey."""
        tables, routing, keys = self._tables, self._routing, self._keys(stock)
        enabled = {row.name for row in tables.providers if row.is_enabled}
        models = self._models(tables, enabled)
        endpoints = {row.name: self._endpoints(row) for row in tables.providers if row.is_enabled}
        snapshot = Snapshot(
            revision=tables.revision,
            built_at=self._now,
            models=models,
            endpoints=endpoints,
            keys=keys.good,
            shelf=keys.shelf,
            unshelved=keys.unshelved,
            stale=keys.is_partial,
            routes=routing.routes(tables.routes, models),
            rates=routing.rates,
            canaries=routing.canaries,
            limits=tenants.limits(tables.limits, self._skip),
            tenants=tenants.tenants(tables.tenants),
            tokens=tokens.trust(tables.tokens, self._vault, self._issuer, self._skip),
            accounts=accounts(
                tables.credentials, endpoints, self._adapters, self._vault, self._skip
            ),
            valid_until=routing.later,
        )
        if self._foreign is not None and not self._opened:
            raise self._foreign
        for reason, names in self._skipped.items():
            log.error("rows_skipped", reason=reason, count=len(names), first=names[:_NAMED])
        return snapshot

    def _endpoints(self, provider: ProviderRow) -> tuple[Endpoint, ...]:
        made = (self._endpoint(row, provider) for row in provider.endpoints if row.is_enabled)
        return tuple(endpoint for endpoint in made if endpoint is not None)

    def _endpoint(self, row: EndpointRow, provider: ProviderRow) -> Endpoint | None:
        name = f"{row.provider}/{row.name}"
        try:
            secrets = rows.unseal(self._vault, row)
            made = rows.endpoint(row, provider.adapter_class, secrets)
            made = replace(
                made,
                country=self._routing.country(row.provider, row.country),
                state=self._routing.state(row.id),
            )
        except WrongMasterKey as error:
            self._foreign = error
            self._skipped["credential sealed with another master key"].append(name)
            return None
        except (VaultError, ValidationError) as error:
            self._skipped[f"endpoint cannot be used: {error}"].append(name)
            return None
        self._opened += row.credential is not None
        if made.adapter_class not in self._adapters.classes:
            self._skipped[f"unknown adapter class {made.adapter_class}"].append(name)
            return None
        return made

    def _models(self, tables: Tables, enabled: set[str]) -> dict[str, Model]:
        versions: dict[int, list[Row[Any]]] = defaultdict(list)
        for row in tables.versions:
            versions[row.llm_model_id].append(row)
        made = (self._model(row, versions.get(row.id, []), enabled) for row in tables.models)
        return {model.model_id: model for model in made if model is not None}

    def _model(self, row: Row[Any], versions: list[Row[Any]], enabled: set[str]) -> Model | None:
        if row.adapter_class not in self._adapters.classes:
            self._skipped[f"unknown adapter class {row.adapter_class}"].append(row.model_id)
            return None
        if row.kind not in _KINDS:
            self._skipped[f"unknown kind {row.kind}"].append(row.model_id)
            return None
        try:
            policy = self._routing.policy(row.model_id, row.provider, row.policy)
        except ValidationError as error:
            self._skipped[f"policy that forbids in a way of no sense: {error}"].append(row.model_id)
            return None
        found = [self._version(version) for version in versions]
        served = _led([version for version in found if version.status != _RETIRED], policy)
        return Model(
            model_id=row.model_id,
            provider=row.provider,
            adapter_class=row.adapter_class,
            display_name=row.display_name,
            kind=row.kind,
            context_length=row.context_length,
            is_available=row.is_available
            and row.provider in enabled
            and (bool(served) or not versions),
            created=int(row.created_at.timestamp()),
            abilities=self._able(row),
            access_group=row.access_group,
            policy=policy,
            versions=served or tuple(found) or (self._only(row),),
            retired={v.label: v.successor for v in found if served and v.status == _RETIRED},
            variants=self._adapters.classes[row.adapter_class].variants,
            vanished=row.vanished_at is not None,
        )

    def _version(self, row: Sequence[Any]) -> Version:
        model, label, upstream, channel, status, weight, released, retires, successor = row
        retires_at = _seconds(retires)
        gone = retires_at is not None and self._routing.has_begun(retires_at)
        return Version(
            label=label,
            upstream=upstream,
            channel=channel,
            status=_RETIRED if gone else status if status in _STATUSES else "active",
            weight=weight,
            released_at=_seconds(released),
            retires_at=retires_at,
            successor=successor,
            price=self._routing.price(model, label),
            deferred=self._routing.price(model, label, DEFERRED),
        )

    def _only(self, model: Row[Any]) -> Version:
        """A model without versions means what its name says."""
        upstream = model.model_id.partition("/")[2]
        price = self._routing.price(model.id, DEFAULT_LABEL)
        later = self._routing.price(model.id, DEFAULT_LABEL, DEFERRED)
        return Version(label=DEFAULT_LABEL, upstream=upstream, price=price, deferred=later)

    def _able(self, row: Row[Any]) -> Abilities:
        """Models of which the same is said share it."""
        told = msgspec.json.encode([row.listed, row.capabilities])
        said = (row.provider, row.adapter_class, told)
        if said not in self._abilities:
            self._abilities[said] = _abilities(row, self._adapters)
        return self._abilities[said]

    def _keys(self, stock: KeyStock) -> Keys:
        keys = stock.take(self._tables.keys, self._skip)
        self._opened += keys.known
        if keys.foreign:
            self._foreign = WrongMasterKey(
                "The API keys were made with another master key.",
                hint="Start with the master key file that belongs to this database.",
            )
        return keys


def _led(served: list[Version], policy: Policy | None) -> tuple[Version, ...]:
    """With what the bare name means as the first: never `rc` where there is anything else.

    In the place of `rc` stands what the policy names, else `latest`, `deprecated` or the next.
    """
    if not served or served[0].channel != _RC:
        return tuple(served)
    named = () if policy is None or policy.versions is None else policy.versions
    by_channel = {version.channel: version for version in reversed(served)}
    wanted = [by_channel[word] for word in (_LATEST, *named, _DEPRECATED) if word in by_channel]
    first = next((v for v in (*wanted, *served) if v.channel != _RC or _RC in named), served[0])
    return (first, *(version for version in served if version is not first))


def _abilities(row: Row[Any], adapters: Adapters) -> Abilities:
    """The adapter's word, the list's above it, the operator's above both.

    Rows may be written by anybody: what makes no sense is left out.
    """
    features: dict[Feature, Degree] = adapters.features(row.provider, row.adapter_class)
    max_output: int | None = None
    for said in (row.listed, row.capabilities):
        try:
            told = msgspec.convert(said, Abilities)
        except ValidationError:
            continue
        features |= told.features
        max_output = told.max_output or max_output
    return Abilities(features=features, max_output=max_output)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
