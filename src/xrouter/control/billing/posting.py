"""Writing to the ledger: transfers, whose lines sum to zero or are not written at all.

What we owe counts up, what we have counts down: a project's account is what it has left, a
provider's what it may ask for, `margin` and `vat` what was put on it; `bank` falls as money comes
in and rises as it goes out, a package's account begins at minus its price; `unattributed` falls as
providers charge what is no request's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.billing import LineRow
from xrouter.control.kit.bulk import Bulk

BANK = "bank"
MARGIN = "margin"
VAT = "vat"
UNATTRIBUTED = "unattributed"
CHARGE = "charge"
DRAIN = "drain"
"""The kind of charges, and their author."""

MOST = 2**62
"""No amount is larger: sums of two are still numbers of the database."""

_SHARED = text("SELECT pg_advisory_xact_lock_shared(7810761202)")
_ALONE = text("SELECT pg_advisory_xact_lock(7810761202)")
_LINES = Bulk(
    LineRow,
    ("transfer", "at", "account", "amount", "kind", "memo", "author"),
    unique=("transfer", "account"),
)

_CHARGED = Bulk(
    LineRow,
    ("transfer", "at", "account", "amount"),
    unique=("transfer", "account"),
    always={"kind": CHARGE, "author": DRAIN},
)

Entry = tuple[str, float, str, int]
"""A line of a charge: its transfer, when, account, amount."""


class Transfer(Struct, frozen=True, kw_only=True):
    """Amounts that move between accounts at once. id: unique. at: unix seconds.

    kind: `charge`, `top_up`, `adjustment`, `package` or `reversal`. lines: amounts by account.
    """

    id: str
    at: float
    kind: str
    lines: Mapping[str, int]
    author: str
    memo: str | None = None

    def rows(self) -> list[Entry]:
        """Its lines that are not zero. Raises ValueError for a transfer that is none."""
        if sum(self.lines.values()):
            raise ValueError(f"The lines of the transfer '{self.id}' do not sum to zero.")
        if any(abs(amount) > MOST for amount in self.lines.values()):
            raise ValueError(f"The transfer '{self.id}' is larger than any account.")
        return [
            (self.id, self.at, account, amount)
            for account, amount in sorted(self.lines.items())
            if amount
        ]


async def post(session: AsyncSession, transfers: Iterable[Transfer]) -> None:
    """Write transfers down; a line that is there already stays as it is."""
    rows = [
        (*entry, transfer.kind, transfer.memo, transfer.author)
        for transfer in transfers
        for entry in transfer.rows()
    ]
    await _LINES.write(session, rows)


async def charge(session: AsyncSession, lines: Sequence[Entry]) -> None:
    """Write the lines of charges down; one that is there already stays as it is."""
    await _CHARGED.write(session, lines)


async def together(session: AsyncSession) -> None:
    """Until the transaction ends, no month is closed. SQLite has one writer at a time as it is."""
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(_SHARED)


async def alone(session: AsyncSession) -> None:
    """Until the transaction ends, nobody else charges, writes to the ledger or closes a month."""
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(_ALONE)


def project(slug: str) -> str:
    """A project's account."""
    return f"project:{slug}"


def organization(slug: str) -> str:
    """An organisation's account."""
    return f"organization:{slug}"


def provider(name: str) -> str:
    """A provider's account."""
    return f"provider:{name}"


def package(number: int) -> str:
    """A package's account: it rises to zero as tokens are drawn."""
    return f"package:{number}"
