"""What a provider says is left of prepaid packages, beside what we think is left of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct, ValidationError
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.billing.schemas import (
    BalanceComparedOut,
    BalanceIn,
    Left,
    LeftOut,
)
from xrouter.control.catalog import repository as catalog
from xrouter.control.catalog import rows
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.catalog.live import LiveLists
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.billing import PackageRow
from xrouter.control.db.tables.catalog import EndpointRow, ProviderRow
from xrouter.domain.errors import Conflict, InvalidRequest
from xrouter.providers.base import BaseAPIAdapter
from xrouter.stores.vault import Vault
from xrouter.wire.types import Errand

ANY = "*"
"""The row of packages that are for all models of a provider."""
_MOST_PACKAGES = 1000
_NUMBER = re.compile(r"-\d+(\.\d+)?(?=-|$)")


class _Remainder(Protocol):
    @property
    def usage(self) -> str: ...
    @property
    def tokens(self) -> int: ...


@runtime_checkable
class TellsBalance(Protocol):
    """An adapter of a provider that can be asked what is left."""

    def balance(self) -> Errand[Sequence[_Remainder] | None]:
        """What is left of packages; None for an account that has none."""


class _Held(Struct):
    """Packages that one name of the provider stands for, and what is left of them."""

    packages: list[int]
    tokens: int = 0


class Balances:
    """Compares; nothing is kept."""

    def __init__(self, db: Database, vault: Vault, adapters: Adapters, live: LiveLists) -> None:
        self._db = db
        self._vault = vault
        self._adapters = adapters
        self._live = live

    async def compare(self, given: BalanceIn) -> BalanceComparedOut:
        """Ours - theirs for each name. Without a balance the provider itself is asked.

        Raises NotFound, InvalidRequest, Conflict, XRouterError of asking.
        """
        async with self._db.read() as session:
            provider = await catalog.provider(session, given.provider)
            endpoint = _endpoint(provider, given.endpoint)
            packages = await _packages(session, given.provider, endpoint)
        theirs = given.balance
        if theirs is None:
            theirs = await self._ask(provider, endpoint)
        return BalanceComparedOut(
            provider=given.provider,
            endpoint=endpoint.name,
            data=compared(packages, theirs),
        )

    async def _ask(self, provider: ProviderRow, row: EndpointRow) -> list[Left]:
        adapter = self._adapter(provider, row)
        if not isinstance(adapter, TellsBalance):
            raise Conflict(
                f"'{provider.name}' cannot be asked what is left.",
                param="provider",
                code="balance_not_told",
                hint="Send the balance yourself.",
            )
        found = await self._live.run(adapter, adapter.balance())
        if found is None:
            raise Conflict(
                f"The account of '{row.name}' has no prepaid packages.",
                param="endpoint",
                code="balance_not_told",
            )
        return [Left(usage=each.usage, value=each.tokens) for each in found]

    def _adapter(self, provider: ProviderRow, row: EndpointRow) -> BaseAPIAdapter:
        try:
            credential = rows.unseal(self._vault, row)
            return self._adapters.build(rows.endpoint(row, provider.adapter_class, credential))
        except ValidationError as error:
            raise Conflict(f"The endpoint '{row.name}' cannot be used: {error}.") from None


def compared(packages: Sequence[PackageRow], theirs: Iterable[Left]) -> list[LeftOut]:
    """A row for each name; ANY compares what no other package is for.

    A package's models are found by their names, also without the numbers of generations:
    `gigachat/GigaChat-2-Max` is `GigaChat-2-Max`, else `GigaChat-Max`.
    """
    said: dict[str, int] = {}
    for each in theirs:
        said[each.usage] = said.get(each.usage, 0) + each.value
    names = {name.casefold(): name for name in said}
    ours: dict[str, _Held] = {}
    for row in packages:
        held = ours.setdefault(_usage(row, names), _Held([]))
        held.packages.append(row.id)
        held.tokens += row.left
    if ANY in ours:
        said[ANY] = sum(said.pop(name) for name in list(said) if name not in ours)
    return [
        _row(usage, ours.get(usage, _Held([])), said.get(usage, 0))
        for usage in sorted(said.keys() | ours.keys())
    ]


def _row(usage: str, held: _Held, theirs: int) -> LeftOut:
    return LeftOut(
        usage=usage,
        packages=held.packages,
        ours=held.tokens,
        theirs=theirs,
        tokens=held.tokens - theirs,
    )


def _usage(row: PackageRow, names: dict[str, str]) -> str:
    """Under which of the provider's names the package goes; its first model where under none."""
    if not row.models:
        return ANY
    plain = [model.rpartition("/")[2].casefold() for model in row.models]
    for name in (*plain, *(_NUMBER.sub("", name) for name in plain)):
        if name in names:
            return names[name]
    return str(row.models[0])


def _endpoint(provider: ProviderRow, name: str | None) -> EndpointRow:
    """The endpoint of this name, the first one where none is named. Raises InvalidRequest."""
    for row in provider.endpoints:
        if name in (None, row.name):
            return row
    raise InvalidRequest(
        "Invalid value for 'endpoint': there is no such endpoint.",
        param="endpoint",
        code="not_found",
    )


async def _packages(
    session: AsyncSession, provider: str, endpoint: EndpointRow
) -> Sequence[PackageRow]:
    """Those that can be drawn from now through the endpoint."""
    now = utc_now()
    query = (
        select(PackageRow)
        .where(
            PackageRow.provider == provider,
            or_(PackageRow.endpoint_id.is_(None), PackageRow.endpoint_id == endpoint.id),
            PackageRow.starts_at <= now,
            PackageRow.expires_at > now,
        )
        .order_by(PackageRow.id)
        .limit(_MOST_PACKAGES)
    )
    return (await session.scalars(query)).all()
