"""What a paper says, as text, in Russian or English; PDF and XLSX lay out the same sheet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from msgspec import Struct

from xrouter.control.billing.documents import words
from xrouter.control.billing.documents.paper import Item, Kind, Paper, Party
from xrouter.control.billing.documents.words import KOPECKS
from xrouter.control.billing.schemas import Language

_MONTHS = (
    "январь", "февраль", "март", "апрель", "май", "июнь", "июль", "август", "сентябрь", "октябрь",
    "ноябрь", "декабрь",
)  # fmt: skip
_MONTHS_OF = (
    "января", "февраля", "марта", "апреля", "мая", "июня", "июля", "августа", "сентября",
    "октября", "ноября", "декабря",
)  # fmt: skip
_ENGLISH_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_SPACE = "\u00a0"
_PERCENT = 100


class Texts(Struct, frozen=True, kw_only=True):
    """The words of one language."""

    title: dict[Kind, str]
    number: str
    sides: dict[Kind, tuple[str, str]]
    ground: str
    no_ground: str
    bank: tuple[str, str, str, str, str, str]
    inn: str
    kpp: str
    phone: str
    head: tuple[str, str, str, str, str, str]
    unit: str
    service: str
    service_of: str
    others: str
    late: str
    sum: str
    sum_net: str
    vat: str
    vat_inside: str
    without_vat: str
    due: dict[Kind, str]
    count: str
    clause: str
    draft: str
    signatures: dict[Kind, tuple[str, str]]
    in_words: Callable[[int], str]


RUSSIAN = Texts(
    title={"invoice": "Счёт на оплату", "act": "Акт об оказании услуг"},
    number="№",
    sides={"invoice": ("Поставщик", "Покупатель"), "act": ("Исполнитель", "Заказчик")},
    ground="Основание",
    no_ground="Без договора",
    bank=("Банк получателя", "БИК", "Корр. счёт", "Получатель", "Расч. счёт", "ИНН / КПП"),
    inn="ИНН",
    kpp="КПП",
    phone="тел.",
    head=("№", "Наименование работ, услуг", "Кол-во", "Ед.", "Цена", "Сумма"),
    unit="усл.",
    service="Услуги доступа к языковым моделям за {month}",
    service_of="Услуги доступа к языковой модели {model} за {month}",
    others="Услуги доступа к прочим языковым моделям за {month}",
    late=" (доначислено за предыдущие месяцы)",
    sum="Итого",
    sum_net="Итого без НДС",
    vat="НДС{rate}",
    vat_inside="В том числе НДС{rate}",
    without_vat="Без налога (НДС)",
    due={"invoice": "Всего к оплате", "act": "Всего оказано услуг"},
    count="Всего наименований {count}, на сумму {amount} руб.",
    clause="Вышеперечисленные услуги выполнены полностью и в срок. Заказчик претензий по объёму, "
    "качеству и срокам оказания услуг не имеет.",
    draft="ЧЕРНОВИК",
    signatures={"invoice": ("Руководитель", "Бухгалтер"), "act": ("Исполнитель", "Заказчик")},
    in_words=words.russian,
)
ENGLISH = Texts(
    title={"invoice": "Invoice", "act": "Act of services rendered"},
    number="No.",
    sides={"invoice": ("Supplier", "Buyer"), "act": ("Contractor", "Customer")},
    ground="Ground",
    no_ground="No contract",
    bank=("Beneficiary's bank", "BIC", "Corr. account", "Beneficiary", "Account", "INN / KPP"),
    inn="INN",
    kpp="KPP",
    phone="tel.",
    head=("No.", "Work or service", "Qty", "Unit", "Price", "Amount"),
    unit="service",
    service="Access to language models, {month}",
    service_of="Access to the language model {model}, {month}",
    others="Access to other language models, {month}",
    late=" (charged late, of earlier months)",
    sum="Total",
    sum_net="Total without VAT",
    vat="VAT{rate}",
    vat_inside="Including VAT{rate}",
    without_vat="No VAT",
    due={"invoice": "Total due", "act": "Total of services"},
    count="Lines: {count}, amount: RUB {amount}",
    clause="The services above were rendered in full and on time. The customer has no claims as to "
    "their scope, quality and timing.",
    draft="DRAFT",
    signatures={"invoice": ("Director", "Accountant"), "act": ("Contractor", "Customer")},
    in_words=words.english,
)
_TEXTS: dict[Language, Texts] = {"ru": RUSSIAN, "en": ENGLISH}


class Row(Struct, frozen=True):
    """A line of the table; amount: kopecks."""

    name: str
    amount: int


class Sheet(Struct, frozen=True, kw_only=True):
    """All that a document says. bank: labels and texts, empty for an act. totals: kopecks, None
    for a line without an amount. draft: written across it, "" for what is final.
    """

    language: Language
    title: str
    draft: str
    bank: tuple[tuple[str, str], ...]
    sides: tuple[tuple[str, str], ...]
    head: tuple[str, ...]
    unit: str
    rows: tuple[Row, ...]
    totals: tuple[tuple[str, int | None], ...]
    count: str
    words: str
    clause: str
    signatures: tuple[tuple[str, str], ...]


def sheet(paper: Paper) -> Sheet:
    """The paper in its own language."""
    texts = _TEXTS[paper.language]
    seller, buyer = texts.sides[paper.kind]
    dated = _of(paper.day, paper.language)
    return Sheet(
        language=paper.language,
        title=f"{texts.title[paper.kind]} {texts.number} {paper.number} {dated}",
        draft=texts.draft if paper.is_draft else "",
        bank=_bank(paper.seller, texts) if paper.kind == "invoice" else (),
        sides=(
            (seller, _side(paper.seller, texts)),
            (buyer, _side(paper.buyer, texts)),
            (texts.ground, paper.buyer.contract or texts.no_ground),
        ),
        head=texts.head,
        unit=texts.unit,
        rows=tuple(
            Row(service(item, paper, texts), item.total if paper.vat_inside else item.net)
            for item in paper.items
        ),
        totals=_totals(paper, texts),
        count=texts.count.format(
            count=len(paper.items), amount=amount(paper.total, paper.language)
        ),
        words=texts.in_words(paper.total),
        clause=texts.clause if paper.kind == "act" else "",
        signatures=_signatures(paper, texts),
    )


def amount(kopecks: int, language: Language) -> str:
    """`1 234,56` or `1,234.56`."""
    rubles, rest = divmod(abs(kopecks), KOPECKS)
    whole = f"{'-' if kopecks < 0 else ''}{rubles:,}"
    if language == "en":
        return f"{whole}.{rest:02d}"
    return f"{whole.replace(',', _SPACE)},{rest:02d}"


def percent(rate: int, language: Language = "ru") -> str:
    """Hundredths of a percent as `20%` or `16,67%`; in English with a point."""
    whole, rest = divmod(rate, _PERCENT)
    point = "." if language == "en" else ","
    return f"{whole}{point}{rest:02d}".rstrip("0").rstrip(point) + "%"


def _totals(paper: Paper, texts: Texts) -> tuple[tuple[str, int | None], ...]:
    if not paper.vat:
        return (
            (texts.sum, paper.total),
            (texts.without_vat, None),
            (texts.due[paper.kind], paper.total),
        )
    whole, text = (
        ((texts.sum, paper.total), texts.vat_inside)
        if paper.vat_inside
        else ((texts.sum_net, paper.net), texts.vat)
    )
    vats = tuple((text.format(rate=rate), amount) for rate, amount in _vats(paper))
    return (whole, *vats, (texts.due[paper.kind], paper.total))


def _vats(paper: Paper) -> list[tuple[str, int]]:
    """VAT by its rate, where each line has one; else in one sum."""
    if paper.vat_rate is not None:
        return [(f" {percent(paper.vat_rate, paper.language)}", paper.vat)]
    found: dict[int, int] = {}
    for item in paper.items:
        if item.vat_rate is None:
            return [("", paper.vat)]
        found[item.vat_rate] = found.get(item.vat_rate, 0) + item.vat
    return [
        (f" {percent(rate, paper.language)}", vat) for rate, vat in sorted(found.items()) if rate
    ]


def _bank(seller: Party, texts: Texts) -> tuple[tuple[str, str], ...]:
    codes = " / ".join(code for code in (seller.inn, seller.kpp) if code)
    values = (
        seller.bank,
        seller.bik,
        seller.correspondent_account,
        seller.name,
        seller.account,
        codes,
    )
    return tuple(zip(texts.bank, values, strict=True))


def _side(side: Party, texts: Texts) -> str:
    named = (
        (f"{texts.inn} ", side.inn),
        (f"{texts.kpp} ", side.kpp),
        ("", side.address),
        (f"{texts.phone} ", side.phone),
    )
    return ", ".join([side.name, *(label + value for label, value in named if value)])


def service(item: Item, paper: Paper, texts: Texts = RUSSIAN) -> str:
    """What a line sells."""
    if item.model:
        text = texts.service_of
    else:
        text = texts.service if len(paper.items) == 1 else texts.others
    late = texts.late if item.is_late else ""
    return text.format(model=item.model, month=_month(paper.month, paper.language)) + late


def _signatures(paper: Paper, texts: Texts) -> tuple[tuple[str, str], ...]:
    second = paper.seller.accountant if paper.kind == "invoice" else paper.buyer.director
    names = (paper.seller.director, second)
    return tuple(zip(texts.signatures[paper.kind], names, strict=True))


def _month(month: str, language: Language) -> str:
    year, number = month.split("-")
    if language == "ru":
        return f"{_MONTHS[int(number) - 1]} {year} г."
    return f"{_ENGLISH_MONTHS[int(number) - 1]} {year}"


def _of(day: date, language: Language) -> str:
    if language == "ru":
        return f"от {day.day} {_MONTHS_OF[day.month - 1]} {day.year} г."
    return f"of {day.day} {_ENGLISH_MONTHS[day.month - 1]} {day.year}"
