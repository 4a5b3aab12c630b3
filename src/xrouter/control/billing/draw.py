"""Tokens from prepaid packages: from what expires first, at the package's own price."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.billing import PackageRow
from xrouter.control.db.tables.catalog import EndpointRow
from xrouter.domain.catalog import OWN
from xrouter.domain.money import MOST_TOKENS
from xrouter.domain.usage import UsageEvent

_LEFT = (
    select(PackageRow, EndpointRow.name)
    .outerjoin(EndpointRow, EndpointRow.id == PackageRow.endpoint_id)
    .where(
        PackageRow.provider.in_(bindparam("providers", expanding=True)),
        PackageRow.left > 0,
    )
    .order_by(PackageRow.id)
    .with_for_update(of=PackageRow)
)

Attempt = tuple[str, int]
"""The id of an event, and the number of an attempt in it, from 1."""


class Use(Struct, frozen=True):
    """What one attempt has used. tokens: those that a provider takes from a package."""

    attempt: Attempt
    at: float
    provider: str | None
    endpoint: str | None
    model: str | None
    tokens: int


class Drawn(Struct, frozen=True):
    """What one attempt has taken from packages. of: all its tokens that count.

    costs: by package, billionths.
    """

    of: int
    tokens: int
    costs: dict[int, int]


class Package(Struct, kw_only=True):
    """A package with tokens left. endpoint: of whose credential it is, None for all. taken: now."""

    id: int
    endpoint: str | None
    provider: str
    models: list[str]
    bought: int
    left: int
    paid: int
    starts_at: float
    expires_at: float
    taken: int = 0

    def serves(self, use: Use) -> bool:
        """Whether the provider takes these tokens from it."""
        return (
            self.left > 0
            and use.provider == self.provider
            and (self.endpoint is None or use.endpoint == self.endpoint)
            and (not self.models or use.model in self.models)
            and self.starts_at <= use.at < self.expires_at
        )

    def take(self, tokens: int) -> int:
        """Draw tokens that are left; their cost. Those of all tokens sum to `paid`."""
        cost = paid_for(self.paid, self.bought, self.left) - paid_for(
            self.paid, self.bought, self.left - tokens
        )
        self.left -= tokens
        self.taken += tokens
        return cost


def paid_for(paid: int, bought: int, left: int) -> int:
    """What the tokens that are left have cost: a share of `paid`, rounded up."""
    return -(-paid * left // bought)


def uses(event: UsageEvent) -> list[Use]:
    """What its attempts have used that packages may cover: nothing of what was kept, nor what
    went out on a project's own account.
    """
    if event.cached:
        return []
    charge = event.charge
    if charge is None or not charge.parts:
        tokens = _counted(event.tokens_in, event.tokens_out, event.tokens_cached)
        whole = (event.provider, event.endpoint, event.model_served)
        return _covered([Use((event.event_id, 1), event.at, *whole, tokens)])
    found = [
        Use(
            (event.event_id, number),
            event.at,
            part.provider,
            part.endpoint,
            part.model,
            _counted(part.tokens_in, part.tokens_out, part.tokens_cached),
        )
        for number, part in enumerate(charge.parts, 1)
    ]
    return _covered(found)


def _covered(uses: list[Use]) -> list[Use]:
    return [use for use in uses if use.tokens and not (use.endpoint or "").endswith(OWN)]


def _counted(tokens_in: int, tokens_out: int, tokens_cached: int) -> int:
    """Tokens that a provider takes from a package: those from its cache are free."""
    prompt = _believed(tokens_in)
    return prompt - min(prompt, _believed(tokens_cached)) + _believed(tokens_out)


async def draw(session: AsyncSession, events: Sequence[UsageEvent]) -> dict[Attempt, Drawn]:
    """What packages cover of each attempt; written down in this transaction.

    Packages are locked in the order of their numbers by whoever draws.
    """
    packages = await _packages(session, _providers(events))
    if not packages:
        return {}
    found: dict[Attempt, Drawn] = {}
    wanting = [use for event in events for use in uses(event)]
    for use in sorted(wanting, key=lambda each: (each.at, each.attempt)):
        drawn = _take(use, packages)
        if drawn.costs:
            found[use.attempt] = drawn
    await _write(session, packages)
    return found


def _take(use: Use, packages: Iterable[Package]) -> Drawn:
    missing = use.tokens
    costs: dict[int, int] = {}
    for package in packages:
        if missing and package.serves(use):
            tokens = min(missing, package.left)
            costs[package.id] = package.take(tokens)
            missing -= tokens
    return Drawn(use.tokens, use.tokens - missing, costs)


def _providers(events: Iterable[UsageEvent]) -> set[str]:
    """Those whose packages may be asked for."""
    found = {event.provider for event in events}
    found |= {
        part.provider for event in events if event.charge is not None for part in event.charge.parts
    }
    return {name for name in found if name is not None}


async def _packages(session: AsyncSession, providers: set[str]) -> list[Package]:
    """Those that may have tokens for it, what expires first before the others."""
    if not providers:
        return []
    rows = (await session.execute(_LEFT, {"providers": sorted(providers)})).all()
    found = [
        Package(
            id=row.id,
            endpoint=endpoint,
            provider=row.provider,
            models=list(row.models),
            bought=row.bought,
            left=row.left,
            paid=row.paid,
            starts_at=row.starts_at.timestamp(),
            expires_at=row.expires_at.timestamp(),
        )
        for row, endpoint in rows
    ]
    return sorted(found, key=lambda package: (package.expires_at, package.id))


async def _write(session: AsyncSession, packages: Iterable[Package]) -> None:
    for package in sorted(packages, key=lambda each: each.id):
        if not package.taken:
            continue
        done = await session.scalar(
            update(PackageRow)
            .where(PackageRow.id == package.id, PackageRow.left >= package.taken)
            .values(left=PackageRow.left - package.taken)
            .returning(PackageRow.left)
            .execution_options(synchronize_session=False)
        )
        if done != package.left:
            raise RuntimeError(f"The package {package.id} was changed under a lock.")


def _believed(tokens: int) -> int:
    return max(0, min(tokens, MOST_TOKENS))
