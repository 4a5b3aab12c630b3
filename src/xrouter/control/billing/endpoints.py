"""The API of charges, bills, the ledger, packages and reconciliation."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response

from xrouter.control.billing import exports
from xrouter.control.billing.balances import Balances
from xrouter.control.billing.bills import Bills
from xrouter.control.billing.closing import Months
from xrouter.control.billing.ledger import Ledger
from xrouter.control.billing.packages import Packages
from xrouter.control.billing.reconcile import Reconciler
from xrouter.control.billing.reconcile_schemas import ReconciledOut, ReconcileIn
from xrouter.control.billing.schemas import (
    Account,
    AdjustmentIn,
    BalanceComparedOut,
    BalanceIn,
    BalanceOut,
    BillOut,
    BillQuery,
    ChargeOut,
    ChargeQuery,
    Encoding,
    Key,
    LineQuery,
    LinesOut,
    Month,
    MonthOut,
    PackageIn,
    PackageOut,
    PackagePatch,
    ReversalIn,
    StatementOut,
    StatementQuery,
    TopUpIn,
    TransferOut,
)
from xrouter.control.kit.access import Access, open_to
from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Deleted, Id, Name, Page

router = APIRouter(prefix="/billing", tags=["billing"])

Book = Annotated[Ledger, room(Ledger)]
Store = Annotated[Packages, room(Packages)]
Reader = Annotated[Bills, room(Bills)]
Calendar = Annotated[Months, room(Months)]
Comparer = Annotated[Reconciler, room(Reconciler)]
Remainders = Annotated[Balances, room(Balances)]
IdempotencyKey = Annotated[Key, Header(alias="idempotency-key")]
PackageId = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("/charges", response_model=Page[ChargeOut], responses=exports.ALSO_CSV)
@open_to(Access.PERSON)
async def list_charges(
    bills: Reader, query: Annotated[ChargeQuery, Query()]
) -> Page[ChargeOut] | Response:
    """List what requests cost, the newest first; as CSV with `format=csv`."""
    found = await bills.charges(query)
    if query.format == "json":
        return found
    answer = _file(exports.charges(found.data, query.language), "charges", query.encoding)
    if found.next is not None:
        answer.headers["x-xrouter-next"] = found.next
    return answer


@router.get("/summary")
@open_to(Access.PERSON)
async def sum_charges(bills: Reader, query: Annotated[BillQuery, Query()]) -> BillOut:
    """Sum charges by project, organization, key, model, provider, day, month or end user."""
    return await bills.summary(query)


@router.get(
    "/statements/{organization}/{month}",
    response_model=StatementOut,
    responses=exports.ALSO_CSV,
)
@open_to(Access.PERSON)
async def get_statement(
    organization: Name, month: Month, bills: Reader, query: Annotated[StatementQuery, Query()]
) -> StatementOut | Response:
    """Show a month of an organisation or a project; as CSV with `format=csv`."""
    found = await bills.statement(organization, month, query.project)
    if query.format == "json":
        return found
    name = f"{query.project or organization}-{month}"
    return _file(exports.statement(found, query.language), name, query.encoding)


@router.get("/months/{organization}")
@open_to(Access.PERSON)
async def list_months(organization: Name, months: Calendar) -> Page[MonthOut]:
    """List an organisation's months, those that are closed and those with charges."""
    return await months.page(organization)


@router.post("/months/{organization}/{month}/close")
async def close_month(organization: Name, month: Month, months: Calendar) -> MonthOut:
    """Freeze a month that is over. What comes later is booked in an open one."""
    return await months.close(organization, month)


@router.get("/accounts/{account}")
@open_to(Access.PERSON)
async def get_balance(account: Account, ledger: Book) -> BalanceOut:
    """Show what an account holds."""
    return await ledger.balance(account)


@router.get("/accounts/{account}/lines")
@open_to(Access.PERSON)
async def list_lines(
    account: Account, ledger: Book, query: Annotated[LineQuery, Query()]
) -> LinesOut:
    """List the lines of an account, the newest first."""
    return await ledger.lines(account, query)


@router.get("/transfers/{transfer}")
async def get_transfer(transfer: Id, ledger: Book) -> TransferOut:
    """Show a transfer with its lines."""
    return await ledger.transfer(transfer)


@router.post("/transfers/{transfer}/reversal")
async def reverse_transfer(transfer: Id, given: ReversalIn, ledger: Book) -> TransferOut:
    """Take a transfer back, now. The second time the first reversal is answered."""
    return await ledger.reverse(transfer, given)


@router.post("/top-ups")
async def top_up(given: TopUpIn, ledger: Book, idempotency_key: IdempotencyKey) -> TransferOut:
    """Write down money that has come in for a project or an organisation."""
    return await ledger.top_up(idempotency_key, given)


@router.post("/adjustments")
async def adjust(given: AdjustmentIn, ledger: Book, idempotency_key: IdempotencyKey) -> TransferOut:
    """Move money between two accounts."""
    return await ledger.adjust(idempotency_key, given)


@router.get("/packages")
async def list_packages(packages: Store, provider: Name | None = None) -> Page[PackageOut]:
    """List prepaid packages."""
    return await packages.page(provider)


@router.post("/packages", status_code=201)
async def create_package(given: PackageIn, packages: Store) -> PackageOut:
    """Write down tokens bought in advance."""
    return await packages.add(given)


@router.get("/packages/{package}")
async def get_package(package: PackageId, packages: Store) -> PackageOut:
    """Show a package."""
    return await packages.get(package)


@router.patch("/packages/{package}")
async def update_package(package: PackageId, patch: PackagePatch, packages: Store) -> PackageOut:
    """Change which models a package is for, and when."""
    return await packages.change(package, patch)


@router.delete("/packages/{package}")
async def delete_package(package: PackageId, packages: Store) -> Deleted:
    """Take back the purchase of a package of which nothing was drawn."""
    await packages.remove(package)
    return Deleted(id=str(package))


@router.post("/reconciliations")
async def reconcile(given: ReconcileIn, comparer: Comparer) -> ReconciledOut:
    """Compare a provider's statement with our charges; with `settle`, book what differs."""
    return await comparer.compare(given)


@router.post("/reconciliations/balance")
async def compare_balance(given: BalanceIn, balances: Remainders) -> BalanceComparedOut:
    """Compare what a provider says is left of prepaid packages with ours; asks it if need be."""
    return await balances.compare(given)


def _file(text: str, name: str, encoding: Encoding) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
    data = exports.encoded(text, encoding)
    return Response(data, media_type=exports.media_type(encoding), headers=headers)
