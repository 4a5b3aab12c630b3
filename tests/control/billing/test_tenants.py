"""Who sees which bills: what one has no part in is not there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.control.billing.conftest import Book, asked

from xrouter.control.billing.bills import Bills
from xrouter.control.billing.closing import Months
from xrouter.control.billing.ledger import Ledger
from xrouter.control.billing.schemas import BillQuery, ChargeQuery, LineQuery
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.people import MembershipRow, UserRow
from xrouter.control.kit.actor import Actor, SignedIn, actor
from xrouter.domain.errors import Forbidden, NotFound
from xrouter.domain.secret import Secret


@pytest.fixture
def nobody_else() -> Iterator[None]:
    """Who asks is forgotten at the end."""
    before = actor.get()
    yield
    actor.set(before)


async def signed_in(db: Database, role: str, *, organization: int, project: int | None) -> Actor:
    async with db.write() as session:
        user = UserRow(user_id="u", email="u@test", name="U", password=None, last_sign_in_at=None)
        session.add(user)
        await session.flush()
        session.add(
            MembershipRow(
                user_id=user.id, organization_id=organization, project_id=project, role=role
            )
        )
    who = SignedIn(
        row_id=user.id,
        user_id="u",
        email="u@test",
        name="U",
        language="en",
        is_operator=False,
        session_id=1,
        csrf=Secret("x"),
    )
    return Actor(name="user:u", user=who)


async def ids(book: Book) -> tuple[int, int]:
    organization = await book.number("SELECT id FROM organizations WHERE slug = 'alfa'")
    return organization, await book.number("SELECT id FROM projects WHERE slug = 'alfa-bot'")


@pytest.mark.usefixtures("nobody_else")
async def test_payers_see_their_own_bills_without_what_we_earn(book: Book) -> None:
    await book.take(asked(700), asked(700, project="ghost"))
    organization, _ = await ids(book)
    actor.set(await signed_in(book.db, "billing", organization=organization, project=None))
    bills, ledger = Bills(book.db), Ledger(book.db)
    (row,) = (await bills.charges(ChargeQuery())).data
    assert (row.project, row.cost, row.margin) == ("alfa-bot", None, None)
    assert (row.vat.billionths, row.total.billionths) == (154, 924)
    (sums,) = (await bills.summary(BillQuery())).data
    assert (sums.group, sums.cost, sums.margin) == ("alfa-bot", None, None)
    assert (await bills.statement("alfa", "2026-01", None)).requests == 1
    assert (await ledger.balance("project:alfa-bot")).balance.billionths == -924
    assert [each.month for each in (await Months(book.db).page("alfa")).data] == ["2026-01"]
    for account in ("bank", "margin", "provider:acme", "project:ghost", "organization:default"):
        with pytest.raises(NotFound):
            await ledger.lines(account, LineQuery())
    with pytest.raises(NotFound):
        await bills.statement("default", "2026-01", None)


@pytest.mark.usefixtures("nobody_else")
async def test_a_project_is_not_the_organisation(book: Book) -> None:
    await book.take(asked(700))
    organization, project = await ids(book)
    actor.set(await signed_in(book.db, "billing", organization=organization, project=project))
    bills = Bills(book.db)
    assert (await bills.statement("alfa", "2026-01", "alfa-bot")).requests == 1
    with pytest.raises(Forbidden):
        await bills.statement("alfa", "2026-01", None)
    with pytest.raises(NotFound):
        await bills.statement("default", "2026-01", "alfa-bot")


@pytest.mark.usefixtures("nobody_else")
@pytest.mark.parametrize("role", ["developer", "viewer"])
async def test_who_does_not_pay_sees_no_money(book: Book, role: str) -> None:
    await book.take(asked(700))
    organization, _ = await ids(book)
    actor.set(await signed_in(book.db, role, organization=organization, project=None))
    assert not (await Bills(book.db).charges(ChargeQuery())).data
    assert not (await Bills(book.db).summary(BillQuery(group_by="day"))).data
    with pytest.raises(Forbidden):
        await Ledger(book.db).balance("project:alfa-bot")
