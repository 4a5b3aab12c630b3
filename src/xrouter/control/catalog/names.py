"""What the names in policies and targets mean at the moment, and who uses which."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct
from sqlalchemy import Text, cast, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import override

from xrouter.control.db.tables.catalog import ModelRow, ProviderRow, VersionRow
from xrouter.control.db.tables.routing import RouteRow, RouteTargetRow
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.routes import CHAIN, ROUTE

CHAINS = ("fallbacks", "on_overflow", "on_refusal")
"""Fields of a policy that hold names."""

PROVIDER = "provider"
MODEL = "model"
ROUTE_KIND = "route"


def check_provider(provider: str) -> None:
    """Ids of models begin with it: they must not look like names of routes."""
    if provider == ROUTE.removesuffix("/"):
        raise InvalidRequest(
            f"Invalid value for 'name': names of routes begin with '{ROUTE}'.",
            param="name",
            code="invalid_value",
        )


class Known(Struct, frozen=True):
    """models: labels and channels by model id. routes: of routes by every name that means one.

    kinds: of the models, by id.
    """

    models: dict[str, set[str]]
    routes: dict[str, str]
    kinds: dict[str, str] = {}

    def has(self, name: str) -> bool:
        """Whether a name means something, now or when a channel comes."""
        if name in self.routes or name in self.models:
            return True
        base, _, suffix = name.rpartition(":")
        return base in self.models and (suffix in self.models[base] or suffix in CHAIN)

    def kind(self, name: str) -> str | None:
        """What the model that a name means is for; None for routes."""
        if name in self.routes:
            return None
        return self.kinds.get(name) or self.kinds.get(name.rpartition(":")[0])


class User(Struct, frozen=True):
    """Who refers to names. kind: `route`, `model` or `provider`. chained: those of its policy."""

    kind: str
    name: str
    names: frozenset[str]
    chained: frozenset[str] = frozenset()

    @override
    def __str__(self) -> str:
        if self.kind == MODEL:
            return self.name
        return ROUTE + self.name if self.kind == ROUTE_KIND else f"the provider {self.name}"


async def known(session: AsyncSession, names: Collection[str]) -> Known:
    """All routes, and the models that one of the names could mean."""
    wanted = {*names, *(name.rpartition(":")[0] for name in names)}
    query = (
        select(ModelRow.model_id, ModelRow.kind, VersionRow.label, VersionRow.channel)
        .outerjoin(VersionRow, VersionRow.llm_model_id == ModelRow.id)
        .where(ModelRow.model_id.in_(wanted))
    )
    models: dict[str, set[str]] = {}
    kinds: dict[str, str] = {}
    for model_id, kind, label, channel in await session.execute(query):
        kinds[model_id] = kind
        models.setdefault(model_id, set()).update(word for word in (label, channel) if word)
    return Known(models, await routes(session), kinds)


async def channels(session: AsyncSession, model: str | None) -> set[str]:
    """Those that one of a model's versions has, or of any model's; the usual ones always count."""
    query = select(VersionRow.channel).where(VersionRow.channel.is_not(None)).distinct()
    if model is not None:
        query = query.join(ModelRow, ModelRow.id == VersionRow.llm_model_id)
        query = query.where(ModelRow.model_id == model)
    return {*CHAIN, *await session.scalars(query)}


async def routes(session: AsyncSession) -> dict[str, str]:
    """Routes by every name that means one."""
    found: dict[str, str] = {}
    for name, aliases in await session.execute(select(RouteRow.name, RouteRow.aliases)):
        for each in (ROUTE + name, *_texts(aliases)):
            found.setdefault(each, name)
    return found


def chained(policy: Any) -> list[str]:
    """The names that a policy holds; any writer may have written it."""
    if not isinstance(policy, Mapping):
        return []
    return [name for chain in CHAINS for name in _texts(policy.get(chain))]


def places(policy: Mapping[str, Any], place: str = "policy") -> Iterator[tuple[str, str]]:
    """The names that a policy holds, each behind where it stands: `policy.fallbacks[0]`."""
    for chain in CHAINS:
        for number, name in enumerate(_texts(policy.get(chain))):
            yield f"{place}.{chain}[{number}]", name


async def users(session: AsyncSession) -> list[User]:
    """All who refer to names: routes by targets and policy, models and providers by policy."""
    targets: dict[str, set[str]] = {}
    led = select(RouteRow.name, RouteTargetRow.model).join(
        RouteTargetRow, RouteTargetRow.route_id == RouteRow.id
    )
    for route, model in await session.execute(led):
        targets.setdefault(route, set()).add(model)
    found = [
        User(ROUTE_KIND, name, frozenset({*targets.get(name, ()), *said}), said)
        for name, policy in await session.execute(select(RouteRow.name, RouteRow.policy))
        for said in (frozenset(chained(policy)),)
    ]
    said = cast(ModelRow.policy, Text)
    told = select(ModelRow.model_id, ModelRow.policy).where(
        or_(*(said.contains(chain, autoescape=True) for chain in CHAINS))
    )
    found += _users(MODEL, await session.execute(told))
    given = select(ProviderRow.name, ProviderRow.settings["policy"])
    return found + _users(PROVIDER, await session.execute(given))


def _users(kind: str, rows: Iterable[Any]) -> list[User]:
    made = (User(kind, name, frozenset(chained(policy))) for name, policy in rows)
    return [user for user in made if user.names]


def _texts(value: Any) -> list[str]:
    """The texts of a list, from any writer."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
