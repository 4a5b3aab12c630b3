"""Tokens from prepaid packages: from what expires first, at the package's own price."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.billing import PackageRow
from xrouter.control.db.tables.catalog import EndpointRow
from xrouter.domain.money import MOST_TOKENS
from xrouter.domain.usage import UsageEvent


class Drawn(Struct, frozen=True):
    """What one event has taken from packages. of: all its tokens that count.

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

    def serves(self, event: UsageEvent) -> bool:
        """Whether the provider takes the event's tokens from it."""
        return (
            self.left > 0
            and event.provider == self.provider
            and (self.endpoint is None or event.endpoint == self.endpoint)
            and (not self.models or event.model_served in self.models)
            and self.starts_at <= event.at < self.expires_at
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


def counted(event: UsageEvent) -> int:
    """Tokens that a provider takes from a package: those from its cache are free."""
    if event.cached:
        return 0
    prompt, answer = _believed(event.tokens_in), _believed(event.tokens_out)
    return prompt - min(prompt, _believed(event.tokens_cached)) + answer


async def draw(session: AsyncSession, events: Sequence[UsageEvent]) -> dict[str, Drawn]:
    """What packages cover of each event, by event id; written down in this transaction.

    Packages are locked in the order of their numbers by whoever draws.
    """
    wanting = [event for event in events if counted(event)]
    packages = await _packages(session, wanting)
    if not packages:
        return {}
    found: dict[str, Drawn] = {}
    for event in sorted(wanting, key=lambda each: (each.at, each.event_id)):
        drawn = _take(event, packages)
        if drawn.costs:
            found[event.event_id] = drawn
    await _write(session, packages)
    return found


def _take(event: UsageEvent, packages: Iterable[Package]) -> Drawn:
    missing = wanted = counted(event)
    costs: dict[int, int] = {}
    for package in packages:
        if missing and package.serves(event):
            tokens = min(missing, package.left)
            costs[package.id] = package.take(tokens)
            missing -= tokens
    return Drawn(wanted, wanted - missing, costs)


async def _packages(session: AsyncSession, events: Sequence[UsageEvent]) -> list[Package]:
    """Those that some of the events may be served from, what expires first before the others."""
    if not events:
        return []
    query = (
        select(PackageRow, EndpointRow.name)
        .outerjoin(EndpointRow, EndpointRow.id == PackageRow.endpoint_id)
        .where(
            PackageRow.provider.in_({event.provider for event in events}),
            PackageRow.left > 0,
        )
        .order_by(PackageRow.id)
        .with_for_update(of=PackageRow)
    )
    rows = (await session.execute(query)).all()
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
