from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from typing import Any
from xml.etree import ElementTree as ET

import httpx2
import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import text
from tests.control.billing.conftest import ALFA, Book, asked, charge
from tests.control.billing.test_tenants import ids, signed_in
from tests.control.conftest import ADMIN, Api

from xrouter.control.billing.documents import service
from xrouter.control.billing.documents.schemas import PaperQuery
from xrouter.control.billing.documents.service import Documents
from xrouter.control.kit.actor import actor
from xrouter.control.server import Services, create_app
from xrouter.domain.errors import Forbidden, NotFound
from xrouter.domain.secret import Secret

ONE_DATABASE = pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
"""For what has nothing to do with the database."""
RUBLE = 10**9
SELLER = {
    "name": "ООО «Роутер»",
    "name_en": "Router LLC",
    "inn": "7701234567",
    "kpp": "770101001",
    "bank": "ПАО Банк",
    "bik": "044525225",
    "account": "40702810900000012345",
    "correspondent_account": "30101810400000000225",
    "director": "Иванов И. И.",
}
BUYER = {"name": "АО «Альфа»", "inn": "7707654321", "contract": "Договор № 17"}
INVOICE = "/billing/documents/alfa/2026-01/invoice"
ACT = "/billing/documents/alfa/2026-01/act"
SAID: list[tuple[str, dict[str, str], list[str]]] = [
    (
        INVOICE,
        {},
        [
            "Счёт на оплату № 2026-01-alfa от 31 января 2026 г.",
            "ООО «Роутер», ИНН 7701234567, КПП 770101001",
            "АО «Альфа», ИНН 7707654321",
            "Договор № 17",
            "044525225",
            "40702810900000012345",
            "30101810400000000225",
            "Услуги доступа к языковой модели acme/one за январь 2026 г.",
            "В том числе НДС 20%:",
            "Всего к оплате:",
            "Всего наименований 2, на сумму 4,37 руб.",
            "Четыре рубля 37 копеек",
            "ЧЕРНОВИК",
        ],
    ),
    (INVOICE, {"vat": "out"}, ["Итого без НДС:", "НДС 20%:"]),
    (ACT, {}, ["Акт об оказании услуг № 2026-01-alfa от 31 января 2026 г.", "Исполнитель"]),
    (ACT, {"lines": "one"}, ["Услуги доступа к языковым моделям за январь 2026 г."]),
    (
        INVOICE,
        {"language": "en"},
        [
            "Invoice No. 2026-01-alfa of 31 January 2026",
            "Router LLC, INN 7701234567, KPP 770101001",
            "Access to the language model acme/two, January 2026",
            "Four rubles 37 kopecks",
            "DRAFT",
        ],
    ),
    (ACT, {"language": "en"}, ["Act of services rendered No. 2026-01-alfa of 31 January 2026"]),
]


@pytest.fixture
async def api(services: Services) -> AsyncIterator[Api]:
    app = create_app(msgspec.structs.replace(services, seller=SELLER), admin_token=Secret(ADMIN))
    transport = httpx2.ASGITransport(app=app)
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://control.test", headers=headers
    ) as client:
        yield Api(client)


@pytest.fixture
async def sold(api: Api, book: Book) -> Book:
    """3.3 and 0.01 rubles with a tenth of margin and 20 % VAT: 4.356 and 0.0132."""
    await api.ask("PATCH", "/organizations/alfa", json={"details": BUYER})
    await book.take(asked(33 * RUBLE // 10), asked(RUBLE // 100, model_served="acme/two"))
    return book


async def paper(api: Api, path: str = INVOICE, **query: str) -> Any:
    return await api.ask("GET", path, params={"format": "json", **query})


async def file(api: Api, path: str, **query: str) -> bytes:
    reply = await api.http.get("/control/v1" + path, params=query)
    assert reply.status_code == 200, reply.text
    return reply.content


def cells(data: bytes) -> list[str]:
    """All texts of a workbook, in no order."""
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        strings = ET.fromstring(book.read("xl/sharedStrings.xml"))
        assert b"<f>" not in book.read("xl/worksheets/sheet1.xml")
        assert b"2000-01-01T00:00:00Z" in book.read("docProps/core.xml")  # not of now
    return ["".join(entry.itertext()) for entry in strings]


@pytest.mark.usefixtures("sold")
async def test_an_invoice_is_in_whole_kopecks(api: Api) -> None:
    found = await paper(api)
    assert (found["net"], found["vat"], found["total"]) == (364, 73, 437)
    rows = [(i["model"], i["requests"], i["net"], i["vat"], i["total"]) for i in found["items"]]
    assert rows == [("acme/one", 1, 363, 73, 436), ("acme/two", 1, 1, 0, 1)]
    assert (found["number"], found["day"], found["vat_rate"]) == (
        "2026-01-alfa",
        "2026-01-31",
        2000,
    )
    assert (found["seller"]["inn"], found["buyer"]["inn"]) == ("7701234567", "7707654321")
    (one,) = (await paper(api, lines="one"))["items"]
    assert (one["model"], one["requests"], one["total"]) == ("", 2, 437)
    whole = await paper(api, project="alfa-bot")
    assert (whole["number"], whole["total"]) == ("2026-01-alfa-alfa-bot", 437)


@ONE_DATABASE
@pytest.mark.usefixtures("sold")
async def test_documents_say_what_accountants_look_for(api: Api) -> None:
    for path, query, texts in SAID:
        found = cells(await file(api, path, format="xlsx", **query))
        whole = "\n".join(found)
        assert [each for each in texts if each not in whole] == []


@pytest.mark.usefixtures("sold")
async def test_documents_of_a_closed_month_never_change(api: Api) -> None:
    made = [(path, form) for path in (INVOICE, ACT) for form in ("pdf", "xlsx")]
    drafts = [await file(api, path, format=form) for path, form in made]
    await api.ask("POST", "/billing/months/alfa/2026-01/close")
    final = [await file(api, path, format=form) for path, form in made]
    assert not set(final) & set(drafts)
    patch = {"name": "Другая", "details": {"inn": "1"}, "vat": 0}
    await api.ask("PATCH", "/organizations/alfa", json=patch)
    assert [await file(api, path, format=form) for path, form in made] == final
    found = await paper(api, ACT)
    assert (found["is_draft"], found["vat_rate"]) == (False, 2000)
    assert found["buyer"]["name"] == "АО «Альфа»"


@ONE_DATABASE
async def test_a_register_that_would_lack_somebody_is_refused(
    api: Api, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_MOST_BUYERS", 1)
    await book.take(asked(RUBLE))
    assert await file(api, "/billing/register/2026-01")
    await book.take(asked(RUBLE, project="ghost"))
    error = await api.error("GET", "/billing/register/2026-01", status=409)
    assert error["code"] == "too_many"


@ONE_DATABASE
@pytest.mark.usefixtures("book")
async def test_a_rate_that_has_changed_since_is_still_told(api: Api, book: Book) -> None:
    old, new = charge(100 * RUBLE), charge(100 * RUBLE, replace(ALFA, vat=2200))
    await book.take(asked(charge=old))
    patch = {"vat": 2200, "details": BUYER}
    await api.ask("PATCH", "/organizations/alfa", json=patch)
    assert (await paper(api))["vat_rate"] == 2000
    assert "В том числе НДС 20%:" in cells(await file(api, INVOICE, format="xlsx"))

    await book.take(asked(charge=new, model_served="acme/two"))
    found = await paper(api)
    assert (found["vat_rate"], [item["vat_rate"] for item in found["items"]]) == (
        None,
        [2200, 2000],
    )
    said = cells(await file(api, INVOICE, format="xlsx"))
    assert [each for each in said if "НДС" in each] == [
        "В том числе НДС 20%:",
        "В том числе НДС 22%:",
    ]
    rows = (await api.http.get("/control/v1/billing/register/2026-01")).text.splitlines()
    assert [row.split(";")[-3:] for row in rows[1:]] == [
        ["22%", "24,20", "134,20"],
        ["20%", "22,00", "132,00"],
    ]

    await book.take(asked(charge=replace(old, vat=7 * RUBLE, total=117 * RUBLE)))
    assert [each for each in cells(await file(api, INVOICE, format="xlsx")) if "НДС" in each] == [
        "В том числе НДС:",
    ]


async def test_what_comes_late_is_in_the_next_document(api: Api, sold: Book) -> None:
    await api.ask("POST", "/billing/months/alfa/2026-01/close")
    await sold.take(asked(RUBLE))
    assert (await paper(api))["total"] == 437
    (late,) = (await paper(api, "/billing/documents/alfa/2026-02/act"))["items"]
    assert (late["is_late"], late["total"]) == (True, 132)
    found = cells(await file(api, "/billing/documents/alfa/2026-02/act", format="xlsx"))
    assert any("доначислено за предыдущие месяцы" in each for each in found)


async def test_figures_that_are_not_those_of_the_closing_are_refused(api: Api, sold: Book) -> None:
    await api.ask("POST", "/billing/months/alfa/2026-01/close")
    async with sold.db.write() as session:
        await session.execute(text("UPDATE charges SET total = total + 1, cost = cost + 1"))
    error = await api.error("GET", ACT, status=409)
    assert error["code"] == "month_disagrees"


@ONE_DATABASE
@pytest.mark.usefixtures("sold")
async def test_pdf_holds_its_own_font_and_one_page(api: Api) -> None:
    reply = await api.http.get("/control/v1" + INVOICE)
    assert reply.headers["content-type"] == "application/pdf"
    assert 'filename="invoice-2026-01-alfa.pdf"' in reply.headers["content-disposition"]
    assert reply.content.startswith(b"%PDF-")
    assert reply.content.count(b"/FontFile2") == 2
    assert reply.content.count(b"/Type /Page\n") == 1


@ONE_DATABASE
async def test_names_are_no_markup_and_no_formulas(api: Api, sold: Book) -> None:
    odd = "=<b>&<img src='file:///etc/passwd'/>"
    await api.ask("PATCH", "/organizations/alfa", json={"details": {"name": odd}})
    assert (await file(api, ACT)).startswith(b"%PDF-")
    assert any(odd in each for each in cells(await file(api, ACT, format="xlsx")))
    await sold.take(asked(RUBLE, model_served="acme/" + "x" * 195))
    assert (await file(api, ACT)).startswith(b"%PDF-")


@ONE_DATABASE
async def test_without_vat(api: Api, sold: Book) -> None:
    await sold.take(asked(project="ghost", charge=charge(RUBLE, None)))
    path = "/billing/documents/default/2026-01/invoice"
    found = await paper(api, path)
    assert (found["net"], found["vat"], found["total"]) == (100, 0, 100)
    assert "Без налога (НДС):" in cells(await file(api, path, format="xlsx"))


@ONE_DATABASE
@pytest.mark.usefixtures("sold")
async def test_without_the_packages_there_are_no_files(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for form in ("pdf", "xlsx"):
        monkeypatch.setitem(sys.modules, f"xrouter.control.billing.documents.{form}", None)
        error = await api.error("GET", INVOICE, params={"format": form}, status=501)
        assert (error["code"], "documents" in error["hint"]) == ("documents_not_installed", True)
    assert (await paper(api))["total"] == 437


@ONE_DATABASE
@pytest.mark.usefixtures("sold")
async def test_what_has_no_document(api: Api) -> None:
    error = await api.error("GET", "/billing/documents/alfa/2025-12/act", status=409)
    assert error["code"] == "nothing_charged"
    await api.error("GET", "/billing/documents/ghosts/2026-01/act", status=404)
    await api.error("GET", "/billing/documents/default/2026-01/act?project=alfa-bot", status=404)
    await api.error("GET", "/billing/documents/alfa/2026-01/upd", status=400)


@ONE_DATABASE
async def test_without_a_seller_there_is_nothing_to_say(sold: Book) -> None:
    with pytest.raises(Exception, match="who sells"):
        await Documents(sold.db).paper("alfa", "2026-01", "act", PaperQuery())


async def test_the_register_has_a_row_for_each_line(api: Api, sold: Book) -> None:
    await sold.take(asked(project="ghost", charge=charge(RUBLE, None)))
    lines = (await file(api, "/billing/register/2026-01")).decode("utf-8-sig").splitlines()
    head, *rows = [line.split(";") for line in lines]
    assert [(row[0], row[13], row[15], row[16]) for row in rows] == [
        ("2026-01-alfa", "3,63", "0,73", "4,36"),
        ("2026-01-alfa", "0,01", "0,00", "0,01"),
        ("2026-01-default", "1,00", "0,00", "1,00"),
    ]
    first = dict(zip(head, rows[0], strict=True))
    assert first["Дата"] == "31.01.2026"
    assert (first["ИНН организации"], first["ИНН контрагента"]) == ("7701234567", "7707654321")
    assert (first["Ставка НДС"], rows[2][14]) == ("20%", "Без НДС")
    only = await file(api, "/billing/register/2026-01", organization="alfa", encoding="cp1251")
    assert only.decode("cp1251").splitlines() == lines[:3]
    assert await file(api, "/billing/register/2025-01")


@ONE_DATABASE
@pytest.mark.usefixtures("sold")
async def test_statements_in_the_encoding_of_old_programs(api: Api) -> None:
    path = "/control/v1/billing/statements/alfa/2026-01?format=csv&encoding=cp1251"
    reply = await api.http.get(path)
    assert reply.headers["content-type"] == "text/csv; charset=windows-1251"
    assert reply.content.decode("cp1251").startswith("Проект;")


@pytest.fixture
def nobody_else() -> Iterator[None]:
    before = actor.get()
    yield
    actor.set(before)


@ONE_DATABASE
@pytest.mark.usefixtures("nobody_else")
@pytest.mark.parametrize("role, allowed", [("billing", True), ("viewer", False)])
async def test_who_pays_may_have_documents(sold: Book, role: str, allowed: bool) -> None:
    documents = Documents(sold.db, SELLER)
    organization, _ = await ids(sold)
    await sold.take(asked(RUBLE, project="ghost"))
    actor.set(await signed_in(sold.db, role, organization=organization, project=None))
    if allowed:
        assert (await documents.paper("alfa", "2026-01", "act", PaperQuery())).total == 437
    else:
        with pytest.raises(Forbidden):
            await documents.paper("alfa", "2026-01", "act", PaperQuery())
    with pytest.raises(NotFound):
        await documents.paper("default", "2026-01", "act", PaperQuery())
