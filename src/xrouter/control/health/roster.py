"""Which endpoints there are to look after: those that the data plane may ask."""

from __future__ import annotations

from msgspec import Struct, ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import repository, rows
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import EndpointRow, ModelRow, ProviderRow, VersionRow
from xrouter.domain.catalog import Model, Version
from xrouter.domain.errors import XRouterError
from xrouter.domain.plan import Target
from xrouter.providers.base import BaseAPIAdapter
from xrouter.stores.vault import Vault


class Seat(Struct, frozen=True):
    """An endpoint that is in use. probed: whether it has something cheap to ask.

    target: its first chat model, None where its provider has none.
    """

    id: int
    provider: str
    name: str
    adapter: BaseAPIAdapter
    probed: bool
    target: Target | None


class Roster:
    """Read anew when the catalog's revision has changed."""

    def __init__(self, db: Database, vault: Vault, adapters: Adapters) -> None:
        self._db = db
        self._vault = vault
        self._adapters = adapters
        self._revision: int | None = None
        self._seats: dict[int, Seat] = {}

    async def read(self) -> dict[int, Seat]:
        """Enabled endpoints of enabled providers by id; those that cannot be used are left out.

        Raises DatabaseError.
        """
        async with self._db.read() as session:
            revision = await repository.revision(session)
            if revision != self._revision:
                providers = [p for p in await repository.providers(session) if p.is_enabled]
                models = await _first_models(session)
                self._seats = {
                    seat.id: seat
                    for provider in providers
                    for row in provider.endpoints
                    if row.is_enabled and (seat := self._seat(row, provider, models)) is not None
                }
                self._revision = revision
        return self._seats

    def _seat(
        self, row: EndpointRow, provider: ProviderRow, models: dict[str, Model]
    ) -> Seat | None:
        """None for a row that the publisher leaves out, too: it is the one who says why."""
        try:
            secrets = rows.unseal(self._vault, row)
            endpoint = rows.endpoint(row, provider.adapter_class, secrets)
            adapter = self._adapters.build(endpoint)
            probed = adapter.discover() is not None
        except (XRouterError, ValidationError):
            return None
        model = models.get(provider.name)
        target = None if model is None else Target(endpoint, model, model.versions[0])
        return Seat(row.id, row.provider, row.name, adapter, probed, target)


async def _first_models(session: AsyncSession) -> dict[str, Model]:
    """One chat model of each provider: the one that was there first, as far as asking it goes."""
    query = (
        select(ModelRow, VersionRow)
        .outerjoin(VersionRow, VersionRow.llm_model_id == ModelRow.id)
        .where(ModelRow.kind == "chat", ModelRow.is_available)
        .order_by(ModelRow.id.desc(), VersionRow.position.desc(), VersionRow.id.desc())
    )
    found: dict[str, Model] = {}
    for row, version in await session.execute(query):
        if version is None or version.status != "retired":
            found[row.provider] = _model(row, version)
    return found


def _model(row: ModelRow, version: VersionRow | None) -> Model:
    name = row.model_id.partition("/")[2]
    label, upstream = ("", name) if version is None else (version.label, version.upstream)
    return Model(
        model_id=row.model_id,
        provider=row.provider,
        adapter_class=row.adapter_class,
        display_name=row.display_name,
        context_length=row.context_length,
        versions=(Version(label=label, upstream=upstream),),
    )
