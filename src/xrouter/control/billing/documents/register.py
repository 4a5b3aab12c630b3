"""The register of sales: a row for each line of each act, for 1C and spreadsheets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xrouter.control.billing.documents.paper import Item, Paper
from xrouter.control.billing.documents.sheet import percent, service
from xrouter.control.billing.documents.words import KOPECKS
from xrouter.control.billing.exports import Cell, written

_HEAD = (
    "Номер", "Дата", "Статус", "ИНН организации", "КПП организации", "Контрагент",
    "ИНН контрагента", "КПП контрагента", "Договор", "Номенклатура", "Количество", "Единица",
    "Цена", "Сумма", "Ставка НДС", "Сумма НДС", "Всего",
)  # fmt: skip
_DRAFT = "черновик"
_FINAL = "закрыт"
_WITHOUT_VAT = "Без НДС"
_UNIT = "усл."


def register(papers: Iterable[Paper]) -> str:
    """As text; amounts have two decimals and a comma, `Всего` is with VAT."""
    return written([_HEAD, *(_row(paper, item) for paper in papers for item in paper.items)])


def _row(paper: Paper, item: Item) -> Sequence[Cell]:
    return (
        paper.number,
        paper.day.strftime("%d.%m.%Y"),
        _DRAFT if paper.is_draft else _FINAL,
        paper.seller.inn,
        paper.seller.kpp,
        paper.buyer.name,
        paper.buyer.inn,
        paper.buyer.kpp,
        paper.buyer.contract,
        service(item, paper),
        1,
        _UNIT,
        _rubles(item.net),
        _rubles(item.net),
        _rate(paper, item),
        _rubles(item.vat),
        _rubles(item.total),
    )


def _rate(paper: Paper, item: Item) -> str:
    """`20%`, or nothing where there is no single one."""
    if not paper.vat or item.vat_rate == 0:
        return _WITHOUT_VAT
    return "" if item.vat_rate is None else percent(item.vat_rate)


def _rubles(kopecks: int) -> str:
    rubles, rest = divmod(abs(kopecks), KOPECKS)
    return f"{'-' if kopecks < 0 else ''}{rubles},{rest:02d}"
