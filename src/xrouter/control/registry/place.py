"""Documents into rows: makes, changes and deletes until the rows say what the documents say.

Fields that a document does not have stay as they are, or get their default in a new row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import objects
from xrouter.control.catalog import rows as words
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.catalog.objects import Document
from xrouter.control.db.tables.catalog import EndpointRow, ModelRow, ProviderRow, VersionRow
from xrouter.control.db.tables.routing import PriceRow, RouteRow, RouteTargetRow
from xrouter.control.registry.documents import Rows
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.domain.secret import Secret
from xrouter.stores.vault import Vault

DEFAULT_LABEL = "default"
_MOMENTS = frozenset({"released_at", "retires_at", "vanished_at", "effective_from"})


class Placer:
    """Works in one transaction. prune: lists inside of objects lose what their documents lack."""

    def __init__(
        self, session: AsyncSession, rows: Rows, vault: Vault, adapters: Adapters, *, prune: bool
    ) -> None:
        self._session = session
        self._rows = rows
        self._vault = vault
        self._adapters = adapters
        self._prune = prune
        self.warnings: list[str] = []

    async def delete(self, kind: str, name: str) -> None:
        """Delete an object, if it is there."""
        rows = self._rows
        if kind == "prices":
            for row in rows.prices.pop(name, []):
                await self._session.delete(row)
        else:
            tables: dict[str, dict[str, Any]] = {
                "provider": rows.providers,
                "model": rows.models,
                "route": rows.routes,
            }
            found = tables[kind].pop(name, None)
            if found is not None:
                await self._session.delete(found)
        await self._session.flush()

    async def put(self, kind: str, name: str, document: Document) -> None:
        """Make or change an object. Raises InvalidRequest, VaultError."""
        match kind:
            case "provider":
                await self._provider(name, document)
            case "model":
                await self._model(name, document)
            case "prices":
                await self._prices(name, document)
            case _:
                await self._route(name, document)

    async def _provider(self, name: str, given: Document) -> None:
        row = self._rows.providers.get(name)
        if row is None:
            row = ProviderRow(name=name, display_name=name, endpoints=[])
            self._rows.providers[name] = row
            self._session.add(row)
        _set(row, given, objects.PROVIDER)
        self._adapters.require(row.adapter_class)
        await self._session.flush()
        if "endpoints" not in given:
            return
        known = {endpoint.name: endpoint for endpoint in row.endpoints}
        for place, endpoint in enumerate(given["endpoints"]):
            old = known.pop(endpoint["name"], None)
            try:
                await self._endpoint(row, old, endpoint)
            except InvalidRequest as error:
                error.param = f"{name}.endpoints[{place}].{error.param or 'name'}"
                raise
        if self._prune:
            for gone in known.values():
                await self._session.delete(gone)
        await self._session.flush()

    async def _endpoint(self, owner: ProviderRow, row: EndpointRow | None, given: Document) -> None:
        secrets = {} if row is None else self._opened(row)
        if row is None:
            row = EndpointRow(provider=owner.name, name=given["name"], is_enabled=True)
            self._session.add(row)
        _set(row, given, objects.ENDPOINT)
        await self._session.flush()
        secrets = self._secrets(row, given, secrets)
        if secrets is None:
            return
        if not secrets and given.get("is_enabled", True):
            self._try_without(owner, row)
        else:
            self._check(owner, row, secrets)
        if row.credential is None or self._opened(row) != secrets:
            row.credential = words.seal(self._vault, row.id, secrets)

    def _secrets(
        self, row: EndpointRow, given: Document, kept: dict[str, Secret] | None
    ) -> dict[str, Secret] | None:
        """The secrets after the change; None for those that cannot be opened and stay."""
        if given.get("credential") is not None:
            return {k: Secret(v.get_secret_value()) for k, v in given["credential"].items()}
        if "sealed" not in given or given["sealed"] == objects.sealed(row):
            return kept
        if given["sealed"] is None:
            return {}
        number, blob = objects.unpacked(given["sealed"])
        try:
            plain = self._vault.open(blob, words.context(number))
        except XRouterError as error:
            raise InvalidRequest(
                f"The sealed credential of '{row.provider}/{row.name}' cannot be opened.",
                param="sealed",
                code="sealed_elsewhere",
                hint=f"{error.message} Import without 'sealed' and enter the secret anew.",
            ) from None
        found = msgspec.json.decode(plain, type=dict[str, str])
        return {name: Secret(text) for name, text in found.items()}

    def _opened(self, row: EndpointRow) -> dict[str, Secret] | None:
        try:
            return words.unseal(self._vault, row)
        except XRouterError:
            return None

    def _try_without(self, owner: ProviderRow, row: EndpointRow) -> None:
        """An endpoint that needs a credential and has none waits for it, switched off."""
        try:
            self._check(owner, row, {})
        except InvalidRequest as error:
            row.is_enabled = False
            self.warnings.append(
                f"The endpoint '{owner.name}/{row.name}' is switched off: {error.message}"
            )

    def _check(self, owner: ProviderRow, row: EndpointRow, secrets: Mapping[str, Secret]) -> None:
        try:
            endpoint = words.endpoint(row, owner.adapter_class, secrets)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"The endpoint '{row.name}' cannot be used: {error}.") from None
        self._adapters.build(endpoint)

    async def _model(self, name: str, given: Document) -> None:
        row = self._rows.models.get(name)
        short = name.partition("/")[2]
        if row is None:
            owner = self._rows.providers[given["provider"]]
            row = ModelRow(
                model_id=name, display_name=short, adapter_class=owner.adapter_class, versions=[]
            )
            self._rows.models[name] = row
            self._session.add(row)
            given = {"versions": [{"label": DEFAULT_LABEL, "upstream": short}], **given}
        if given.get("adapter_class") is None:
            given = {name: value for name, value in given.items() if name != "adapter_class"}
        _set(row, given, objects.MODEL)
        self._adapters.require(row.adapter_class)
        if given.get("versions"):
            await self._versions(row, given["versions"])
        await self._session.flush()

    async def _versions(self, row: ModelRow, given: list[Document]) -> None:
        """Rows are kept by label: channels first let go of, so that they can change places."""
        known = {version.label: version for version in row.versions}
        wanted = {version["label"] for version in given}
        for label, gone in known.items():
            if label not in wanted:
                row.versions.remove(gone)
        await self._session.flush()
        for position, document in enumerate(given):
            version = known.get(document["label"])
            if version is None:
                version = VersionRow(label=document["label"])
                row.versions.append(version)
            _set(version, document, objects.VERSION)
            version.position = position

    async def _prices(self, name: str, given: Document) -> None:
        model = self._rows.models[name]
        await self._session.flush()
        kept = self._rows.prices.setdefault(name, [])
        known = {_price_key(row): row for row in kept}
        for document in given["prices"]:
            row = known.pop(objects.price_key(_plain(document)), None)
            if row is None:
                row = PriceRow(llm_model_id=model.id)
                self._session.add(row)
            _set(row, document, objects.PRICE)
        if self._prune:
            for gone in known.values():
                await self._session.delete(gone)
        await self._session.flush()

    async def _route(self, name: str, given: Document) -> None:
        row = self._rows.routes.get(name)
        if row is None:
            row = RouteRow(name=name, display_name=name, targets=[])
            self._rows.routes[name] = row
            self._session.add(row)
        _set(row, given, objects.ROUTE)
        if "targets" in given and objects.route(row)["targets"] != _whole(given["targets"]):
            row.targets.clear()
            await self._session.flush()
            for position, document in enumerate(given["targets"]):
                target = RouteTargetRow(position=position)
                _set(target, document, objects.TARGET)
                row.targets.append(target)
        await self._session.flush()


def _whole(targets: Iterable[Document]) -> list[Document]:
    defaults: Document = {"model": "", "endpoint": None, "weight": 1, "priority": 0}
    return [defaults | target for target in targets]


def _price_key(row: PriceRow) -> tuple[str, str, str]:
    found = objects.prices("", [row])["prices"]
    return objects.price_key(found[0])


def _plain(price: Document) -> Document:
    """With its moment as documents have it."""
    return price | {"effective_from": _moment(price["effective_from"]).isoformat()}


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _set(row: object, given: Document, names: Iterable[str]) -> None:
    """Only what differs: a row that says the same is no change."""
    for name in names:
        if name not in given:
            continue
        value = given[name]
        if name in _MOMENTS and value is not None:
            value = _moment(value)
        if value is None and name == "display_name":
            continue
        if getattr(row, name, None) != value:
            setattr(row, name, value)
