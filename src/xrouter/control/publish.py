"""From the database to the data plane: snapshots, built when the catalog's revision changes."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, get_args

import msgspec
from msgspec import Struct, ValidationError
from sqlalchemy import Row, Select, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import repository, rows
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import EndpointRow, ModelRow, ProviderRow, VersionRow
from xrouter.control.db.tables.identity import KeyRow
from xrouter.domain.abilities import Abilities, Degree, Feature
from xrouter.domain.catalog import Endpoint, Kind, Model, Version
from xrouter.domain.errors import XRouterError
from xrouter.domain.identity import KeyRecord, Principal
from xrouter.domain.snapshot import Snapshot
from xrouter.stores.vault import Vault, VaultError, WrongMasterKey
from xrouter.telemetry.logs import log

EVERY_S = 0.25
FAILING_S = 1.0
TURN_S = 60.0
DEFAULT_LABEL = "default"
_PART = 1000
_NAMED = 10
_KINDS = frozenset(get_args(Kind))
_RETIRED = "retired"

_MODELS = select(
    ModelRow.id,
    ModelRow.model_id,
    ModelRow.provider,
    ModelRow.adapter_class,
    ModelRow.display_name,
    ModelRow.kind,
    ModelRow.context_length,
    ModelRow.is_available,
    ModelRow.created_at,
    ModelRow.listed,
    ModelRow.capabilities,
).order_by(ModelRow.model_id)
_VERSIONS = select(
    VersionRow.llm_model_id,
    VersionRow.label,
    VersionRow.upstream,
    VersionRow.channel,
    VersionRow.status,
).order_by(VersionRow.llm_model_id, VersionRow.position, VersionRow.id)
_KEYS = select(
    KeyRow.mac,
    KeyRow.pepper_id,
    KeyRow.key_id,
    KeyRow.name,
    KeyRow.project,
    KeyRow.rpm,
    KeyRow.expires_at,
).where(KeyRow.revoked_at.is_(None))


class _Tables(Struct):
    """What was read, all of one moment."""

    revision: int
    providers: Sequence[ProviderRow]
    models: list[Row[Any]]
    versions: list[Row[Any]]
    keys: list[Row[Any]]


async def build_snapshot(db: Database, vault: Vault, adapters: Adapters) -> Snapshot:
    """The catalog and the keys as they are now. Rows that make no sense are logged and left out.

    Raises DatabaseError, and WrongMasterKey when nothing secret in the database can be opened.
    """
    async with db.read() as session:
        tables = _Tables(
            revision=await repository.revision(session),
            providers=await repository.providers(session),
            models=await _all(session, _MODELS),
            versions=await _all(session, _VERSIONS),
            keys=await _all(session, _KEYS),
        )
    return await asyncio.to_thread(_Builder(vault, adapters).build, tables)


async def _all(session: AsyncSession, query: Select[*tuple[Any, ...]]) -> list[Row[Any]]:
    """All rows, in parts: others get their turn between them."""
    result = await session.stream(query.execution_options(yield_per=_PART))
    found: list[Row[Any]] = []
    async for part in result.partitions():
        found += part
    return found


class _Builder:
    """Makes one snapshot; runs in a thread."""

    def __init__(self, vault: Vault, adapters: Adapters) -> None:
        self._vault = vault
        self._adapters = adapters
        self._skipped: dict[str, list[str]] = defaultdict(list)
        self._abilities: dict[tuple[str, str, bytes], Abilities] = {}
        self._opened = 0
        self._foreign: WrongMasterKey | None = None

    def build(self, tables: _Tables) -> Snapshot:
        """Raises WrongMasterKey."""
        enabled = {row.name for row in tables.providers if row.is_enabled}
        snapshot = Snapshot(
            revision=tables.revision,
            built_at=time.time(),
            models=self._models(tables, enabled),
            endpoints={
                row.name: self._endpoints(row) for row in tables.providers if row.is_enabled
            },
            keys=self._keys(tables.keys),
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

    def _models(self, tables: _Tables, enabled: set[str]) -> dict[str, Model]:
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
        served = [version for version in versions if version.status != _RETIRED]
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
            versions=_versions(row, served or versions),
        )

    def _able(self, row: Row[Any]) -> Abilities:
        """Models of which the same is said share it."""
        told = msgspec.json.encode([row.listed, row.capabilities])
        said = (row.provider, row.adapter_class, told)
        if said not in self._abilities:
            self._abilities[said] = _abilities(row, self._adapters)
        return self._abilities[said]

    def _keys(self, found: list[Row[Any]]) -> dict[bytes, KeyRecord]:
        keys: dict[bytes, KeyRecord] = {}
        for row in found:
            if row.pepper_id != self._vault.pepper_id:
                self._foreign = WrongMasterKey(
                    "The API keys were made with another master key.",
                    hint="Start with the master key file that belongs to this database.",
                )
                self._skipped["API key made with another master key"].append(row.key_id)
                continue
            self._opened += 1
            keys[row.mac] = KeyRecord(
                mac=row.mac,
                principal=Principal(
                    key_id=row.key_id, name=row.name, project=row.project, rpm=row.rpm
                ),
                expires_at=None if row.expires_at is None else row.expires_at.timestamp(),
            )
        return keys


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


def _versions(model: Row[Any], found: list[Row[Any]]) -> tuple[Version, ...]:
    """A model without versions means what its name says."""
    if not found:
        return (Version(label=DEFAULT_LABEL, upstream=model.model_id.partition("/")[2]),)
    return tuple(Version(label=v.label, upstream=v.upstream, channel=v.channel) for v in found)


def _nobody(_stale: bool) -> None:  # noqa: FBT001 - the shape of a callback
    return


class Publisher:
    """Looks at the revision four times a second and delivers a snapshot when it has changed.

    stale: told True when the database cannot be asked any more, False when it can again. The last
    snapshot stays in use meanwhile.
    """

    def __init__(
        self,
        db: Database,
        vault: Vault,
        adapters: Adapters,
        deliver: Callable[[Snapshot], Awaitable[None]],
        *,
        stale: Callable[[bool], None] = _nobody,
        every_s: float = EVERY_S,
    ) -> None:
        self._db = db
        self._vault = vault
        self._adapters = adapters
        self._deliver = deliver
        self._stale = stale
        self._every_s = every_s
        self._poked = asyncio.Event()
        self._failing = False
        self._delivered: int | None = None
        self._turn = asyncio.Lock()

    def poke(self) -> None:
        """Look at once: something was written."""
        self._poked.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._poked.clear()
            await self.turn()
            try:
                async with asyncio.timeout(FAILING_S if self._failing else self._every_s):
                    await self._poked.wait()
            except TimeoutError:
                continue

    async def turn(self) -> None:
        """Look once, and deliver if there is something new. Failures are logged, not raised."""
        try:
            async with self._turn, asyncio.timeout(TURN_S):
                await self._publish()
        except (XRouterError, SQLAlchemyError, OSError) as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 - a defect must not end the publishing
            if not self._failing:
                log.exception("snapshot_defect")
            self._failed(error)
        else:
            self._worked()

    async def _publish(self) -> None:
        async with self._db.read() as session:
            revision = await repository.revision(session)
        if revision == self._delivered:
            return
        snapshot = await build_snapshot(self._db, self._vault, self._adapters)
        await self._deliver(snapshot)
        self._delivered = snapshot.revision
        log.info(
            "snapshot_delivered",
            revision=snapshot.revision,
            models=len(snapshot.models),
            keys=len(snapshot.keys),
        )

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            hint = getattr(error, "hint", None)
            log.error("catalog_not_read", error=str(error) or type(error).__name__, hint=hint)
        self._failing = True
        self._stale(True)

    def _worked(self) -> None:
        if self._failing:
            log.info("catalog_read_again", revision=self._delivered)
            self._stale(False)
        self._failing = False
