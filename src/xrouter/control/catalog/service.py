"""Providers and their endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import ValidationError
from pydantic import SecretStr
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import names, objects, policies, removal, repository, rows
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.catalog.detect import identify
from xrouter.control.catalog.policies import Strategies
from xrouter.control.catalog.schemas import (
    Connection,
    EndpointIn,
    EndpointOut,
    EndpointPatch,
    ProviderIn,
    ProviderOut,
    ProviderPatch,
)
from xrouter.control.db import changes
from xrouter.control.db.changes import CREATE, UPDATE
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import EndpointRow, ModelRow, ProviderRow
from xrouter.control.kit import etag
from xrouter.control.kit.errors import missing
from xrouter.control.kit.schemas import Page, PageQuery
from xrouter.domain.errors import Conflict, InvalidRequest
from xrouter.domain.secret import Secret
from xrouter.stores.vault import Vault, VaultError
from xrouter.wire.client import Client
from xrouter.wire.types import Route

PRIMARY = "primary"
_SECRETIVE = frozenset({"adapter_class", "base_url", "credential", "options", "proxy"})
"""Changes after which the adapter must see whether all it needs is there, secrets included."""


class ProviderService:
    """Every method is one transaction. changed: called after each that wrote something.

    if_match: the header of a write that goes only where the caller has seen (`kit.etag`).
    """

    def __init__(
        self,
        db: Database,
        vault: Vault,
        adapters: Adapters,
        client: Client,
        *,
        changed: Callable[[], None],
        strategies: Strategies | None = None,
    ) -> None:
        self._db = db
        self._vault = vault
        self._adapters = adapters
        self._client = client
        self._changed = changed
        self._strategies = strategies or {}

    async def page(self, query: PageQuery) -> Page[ProviderOut]:
        """Providers by name, behind the name `after`."""
        limit = query.limit
        async with self._db.read() as session:
            rows = await repository.providers(session, after=query.after, limit=limit + 1)
            data = [self._out(row) for row in rows[:limit]]
        return Page(data=data, next=data[-1].name if len(rows) > limit else None)

    async def get(self, name: str) -> ProviderOut:
        """One provider. Raises NotFound."""
        async with self._db.read() as session:
            return self._out(await repository.provider(session, name))

    async def endpoint(self, provider: str, name: str) -> EndpointOut:
        """One endpoint. Raises NotFound."""
        async with self._db.read() as session:
            owner = await repository.provider(session, provider)
            return self._endpoint_out(owner, repository.endpoint_of(owner, name))

    async def create(self, given: ProviderIn) -> ProviderOut:
        """Make a provider and its primary endpoint. Raises Conflict, InvalidRequest.

        Asks the address who it is when neither the class nor the name tell; raises UpstreamError
        when it does not answer.
        """
        names.check_provider(given.name)
        given = await self._completed(given)
        row = ProviderRow(
            name=given.name,
            display_name=given.display_name or given.name,
            adapter_class=given.adapter_class,
            is_enabled=True,
            country=given.country,
            settings=given.settings.model_dump(exclude_defaults=True),
            endpoints=[],
        )
        try:
            async with self._db.write() as session:
                session.add(row)
                await session.flush()
                row.endpoints.append(await self._add(session, row, given, PRIMARY, is_enabled=True))
                await self._check_policy(session, row)
                await _note(session, CREATE, row, None)
        except IntegrityError:
            raise Conflict(
                f"The provider '{given.name}' exists already.",
                param="name",
                hint=f"POST /control/v1/providers/{given.name}/endpoints adds a standby to it.",
            ) from None
        self._changed()
        return await self.get(given.name)

    async def update(
        self, name: str, patch: ProviderPatch, if_match: str | None = None
    ) -> ProviderOut:
        """Change a provider; models that had its adapter class follow.

        Raises NotFound, InvalidRequest, PreconditionFailed.
        """
        new = patch.sent()
        async with self._db.write() as session:
            row = await repository.provider(session, name, lock=True)
            before = objects.provider(row)
            etag.require(if_match, before)
            if "adapter_class" in new:
                self._adapters.require(new["adapter_class"])
                same = (ModelRow.provider == name, ModelRow.adapter_class == row.adapter_class)
                await session.execute(
                    update(ModelRow).where(*same).values(adapter_class=new["adapter_class"])
                )
            if "settings" in new:
                new["settings"] = new["settings"].model_dump(exclude_defaults=True)
            _set(row, new)
            if "settings" in new:
                await self._check_policy(session, row)
            await _note(session, UPDATE, row, before)
        self._changed()
        return await self.get(name)

    async def delete(self, name: str, if_match: str | None = None) -> None:
        """Delete a provider with its endpoints and models.

        Raises NotFound, PreconditionFailed, and Conflict when somebody refers to its models.
        """
        async with self._db.write() as session:
            row = await repository.provider(session, name, lock=True)
            etag.require(if_match, objects.provider(row))
            await removal.of_provider(session, row)
            await session.delete(row)
        self._changed()

    async def add_endpoint(self, provider: str, given: EndpointIn) -> EndpointOut:
        """Add a standby. Raises NotFound, Conflict, InvalidRequest."""
        try:
            async with self._db.write() as session:
                row = await repository.provider(session, provider, lock=True)
                name = given.name or _standby_name(row)
                before = objects.provider(row)
                row.endpoints.append(
                    await self._add(session, row, given, name, is_enabled=given.is_enabled)
                )
                await _note(session, UPDATE, row, before)
        except IntegrityError:
            raise Conflict(
                f"The provider '{provider}' has an endpoint '{given.name}' already.", param="name"
            ) from None
        self._changed()
        return await self.endpoint(provider, name)

    async def update_endpoint(
        self, provider: str, name: str, patch: EndpointPatch, if_match: str | None = None
    ) -> EndpointOut:
        """Change an endpoint. Raises NotFound, InvalidRequest, PreconditionFailed."""
        new = patch.sent()
        async with self._db.write() as session:
            owner = await repository.provider(session, provider, lock=True)
            row = repository.endpoint_of(owner, name)
            etag.require(if_match, objects.endpoint(row))
            before = objects.provider(owner)
            secret = new.keys() & _SECRETIVE
            secrets = self._secrets(row, new.pop("credential", {})) if secret else {}
            if new.get("adapter_class") == owner.adapter_class:
                new["adapter_class"] = None
            if "timeouts" in new:
                new["timeouts"] = new["timeouts"].model_dump(exclude_none=True)
            if "proxy" in new:
                new["proxy"] = _take_proxy(new["proxy"], secrets)
            _set(row, new)
            if secret:
                self._check(row, owner, secrets)
                self._keep(row, secrets)
            await _note(session, UPDATE, owner, before)
        self._changed()
        return await self.endpoint(provider, name)

    async def delete_endpoint(self, provider: str, name: str, if_match: str | None = None) -> None:
        """Delete an endpoint.

        Raises NotFound, PreconditionFailed, and Conflict when a route goes to it by name.
        """
        async with self._db.write() as session:
            owner = await repository.provider(session, provider, lock=True)
            row = repository.endpoint_of(owner, name)
            etag.require(if_match, objects.endpoint(row))
            await removal.of_endpoint(session, provider, name)
            before = objects.provider(owner)
            owner.endpoints.remove(row)
            await _note(session, UPDATE, owner, before)
        self._changed()

    async def _check_policy(self, session: AsyncSession, row: ProviderRow) -> None:
        """Raises InvalidRequest."""
        policy = row.settings.get("policy") or {}
        await policies.check(session, policy, self._strategies, "settings.policy")

    async def _add(
        self,
        session: AsyncSession,
        owner: ProviderRow,
        given: Connection,
        name: str,
        *,
        is_enabled: bool,
    ) -> EndpointRow:
        """The row needs its id before its credential can be sealed."""
        base_url = given.base_url or self._adapters.home(owner.name)
        if base_url is None:
            raise missing("base_url")
        secrets = {k: Secret(v.get_secret_value()) for k, v in given.credential.items()}
        behind = max((e.priority + 1 for e in owner.endpoints), default=0)
        row = EndpointRow(
            provider=owner.name,
            name=name,
            base_url=base_url,
            adapter_class=None
            if given.adapter_class == owner.adapter_class
            else given.adapter_class,
            priority=behind if given.priority is None else given.priority,
            options=given.options,
            timeouts=given.timeouts.model_dump(exclude_none=True),
            ca_bundle=given.ca_bundle,
            client_cert=given.client_cert,
            client_key=given.client_key,
            proxy=_take_proxy(given.proxy, secrets),
            max_running=given.max_running,
            max_waiting=given.max_waiting,
            country=given.country if isinstance(given, EndpointIn) else None,
            is_enabled=is_enabled,
        )
        session.add(row)
        await session.flush()
        self._check(row, owner, secrets)
        row.credential = rows.seal(self._vault, row.id, secrets)
        return row

    def _check(self, row: EndpointRow, owner: ProviderRow, secrets: Mapping[str, Secret]) -> None:
        """Let the adapter say what is missing. Raises InvalidRequest."""
        try:
            endpoint = rows.endpoint(row, owner.adapter_class, secrets)
        except ValidationError as error:
            raise InvalidRequest(f"The endpoint '{row.name}' cannot be used: {error}.") from None
        self._adapters.build(endpoint)

    def _keep(self, row: EndpointRow, secrets: Mapping[str, Secret]) -> None:
        """Seal secrets anew only if they differ: a row that says the same is no change."""
        try:
            same = rows.unseal(self._vault, row) == secrets
        except VaultError:
            same = False
        if not same:
            row.credential = rows.seal(self._vault, row.id, secrets)

    async def _completed(self, given: ProviderIn) -> ProviderIn:
        """With its adapter class; with the address and options of whoever answered there."""
        path = given.adapter_class or self._adapters.default(given.name)
        if path is not None:
            self._adapters.require(path)
            return given.model_copy(update={"adapter_class": path})
        if given.base_url is None:
            raise missing("base_url")
        route = Route(
            ca_bundle=given.ca_bundle,
            client_cert=given.client_cert,
            client_key=given.client_key,
            proxy=given.proxy,
        )
        questions = self._adapters.identify(given.base_url)
        found = await identify(questions, self._client, route)
        return given.model_copy(
            update={
                "adapter_class": found.provider.adapter_class,
                "base_url": found.base_url,
                "options": found.provider.options | given.options,
            }
        )

    def _secrets(
        self, row: EndpointRow, given: Mapping[str, SecretStr | None]
    ) -> dict[str, Secret]:
        """The secrets after a change. Those that cannot be opened any more count as gone."""
        try:
            secrets = rows.unseal(self._vault, row)
        except VaultError:
            if not given:
                raise
            secrets = {}
        for name, value in given.items():
            if value is None:
                secrets.pop(name, None)
            else:
                secrets[name] = Secret(value.get_secret_value())
        return secrets

    def _out(self, row: ProviderRow) -> ProviderOut:
        return ProviderOut(
            name=row.name,
            display_name=row.display_name,
            adapter_class=row.adapter_class,
            is_enabled=row.is_enabled,
            country=row.country,
            settings=row.settings,
            created_at=row.created_at,
            updated_at=row.updated_at,
            endpoints=[self._endpoint_out(row, endpoint) for endpoint in row.endpoints],
            etag=etag.etag(objects.provider(row)),
        )

    def _endpoint_out(self, owner: ProviderRow, row: EndpointRow) -> EndpointOut:
        try:
            fields: list[str] | None = sorted(rows.unseal(self._vault, row))
        except VaultError:
            fields = None
        return EndpointOut(
            id=row.id,
            name=row.name,
            base_url=row.base_url,
            adapter_class=row.adapter_class or owner.adapter_class,
            credential_fields=fields,
            options=row.options,
            priority=row.priority,
            timeouts=row.timeouts,
            ca_bundle=row.ca_bundle,
            client_cert=row.client_cert,
            client_key=row.client_key,
            proxy=row.proxy,
            max_running=row.max_running,
            max_waiting=row.max_waiting,
            country=row.country,
            is_enabled=row.is_enabled,
            created_at=row.created_at,
            updated_at=row.updated_at,
            etag=etag.etag(objects.endpoint(row)),
        )


async def _note(
    session: AsyncSession, action: str, row: ProviderRow, before: objects.Document | None
) -> None:
    """Write down what became of a provider."""
    await session.flush()
    after = objects.provider(row)
    await changes.record(session, action, "provider", row.name, before=before, after=after)


def _take_proxy(proxy: str | None, secrets: dict[str, Secret]) -> str | None:
    """The address to be stored in the clear; its user and password go to the secrets."""
    if proxy is None:
        secrets.pop(rows.PROXY_AUTH, None)
        return None
    address, user = rows.split_proxy(proxy)
    if user is not None:
        secrets[rows.PROXY_AUTH] = user
    return address


def _standby_name(row: ProviderRow) -> str:
    taken = {endpoint.name for endpoint in row.endpoints}
    number = 1
    while f"standby-{number}" in taken:
        number += 1
    return f"standby-{number}"


def _set(row: object, new: Mapping[str, Any]) -> None:
    for name, value in new.items():
        setattr(row, name, value)
