"""CSV as 1C and Excel in Russia read it: `;`, decimal commas, UTF-8 with its mark or Windows-1251.

Text that a spreadsheet would take for a formula gets an apostrophe before it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from xrouter.control.billing.amounts import Money, money, rubles
from xrouter.control.billing.months import believed, zone
from xrouter.control.billing.schemas import ChargeOut, Encoding, Language, StatementOut

ALSO_CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}}
}
"""For the document of routes that answer CSV, too."""

_CHARSETS: dict[Encoding, str] = {"utf-8": "utf-8", "cp1251": "windows-1251"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")

Cell = str | int | float | Money | None

_STATEMENT: dict[Language, tuple[str, ...]] = {
    "ru": (
        "Проект", "Модель", "Исправление", "Запросов", "Токенов запроса", "Токенов ответа",
        "Без НДС, руб.", "НДС, руб.", "Всего, руб.", "Запросов без цены",
    ),
    "en": (
        "Project", "Model", "Correction", "Requests", "Prompt tokens", "Answer tokens",
        "Net, RUB", "VAT, RUB", "Total, RUB", "Requests without a price",
    ),
}  # fmt: skip
_CHARGES: dict[Language, tuple[str, ...]] = {
    "ru": (
        "Запрос", "Время", "Месяц", "Организация", "Проект", "Ключ", "Пользователь", "Поставщик",
        "Модель", "Версия", "НДС, руб.", "Всего, руб.", "Оценка",
    ),
    "en": (
        "Request", "Time", "Month", "Organization", "Project", "Key", "User", "Provider",
        "Model", "Version", "VAT, RUB", "Total, RUB", "Estimated",
    ),
}  # fmt: skip
_YES: dict[Language, str] = {"ru": "да", "en": "yes"}
_TOTAL: dict[Language, str] = {"ru": "Итого", "en": "Total"}


def statement(found: StatementOut, language: Language) -> str:
    """A statement, a row for each project and model, with their sum at the end."""
    rows: list[Sequence[Cell]] = [
        (
            row.project,
            row.model,
            _YES[language] if row.is_correction else "",
            row.requests,
            row.tokens_in,
            row.tokens_out,
            row.net,
            row.vat,
            row.total,
            row.unknown,
        )
        for row in found.data
    ]
    last: Sequence[Cell] = (
        _TOTAL[language],
        "",
        "",
        found.requests,
        sum(row.tokens_in for row in found.data),
        sum(row.tokens_out for row in found.data),
        _sum(row.net for row in found.data),
        _sum(row.vat for row in found.data),
        _sum(row.total for row in found.data),
        found.unknown,
    )
    return written([_STATEMENT[language], *rows, last])


def charges(found: Iterable[ChargeOut], language: Language) -> str:
    """Charges, a row each; times in Moscow."""
    rows: list[Sequence[Cell]] = [
        (
            row.event_id,
            _moment(row.at),
            row.month,
            row.organization,
            row.project,
            row.key_id,
            row.end_user,
            row.provider,
            row.model,
            row.version,
            row.vat,
            row.total,
            _YES[language] if row.is_estimated else "",
        )
        for row in found
    ]
    return written([_CHARGES[language], *rows])


def written(rows: Iterable[Sequence[Cell]]) -> str:
    """The rows as text."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    for row in rows:
        writer.writerow([_cell(cell) for cell in row])
    return out.getvalue()


def encoded(text: str, encoding: Encoding) -> bytes:
    """With its mark, where there is one; what Windows-1251 has no letter for is `?`."""
    return text.encode("utf-8-sig" if encoding == "utf-8" else encoding, "replace")


def media_type(encoding: Encoding) -> str:
    """What the file is."""
    return f"text/csv; charset={_CHARSETS[encoding]}"


def _cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, Money):
        return rubles(cell.billionths).replace(".", ",")
    if isinstance(cell, str):
        return "'" + cell if cell.startswith(_FORMULA) else cell
    return str(cell)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(believed(at), zone("Europe/Moscow")).strftime("%d.%m.%Y %H:%M:%S")


def _sum(amounts: Iterable[Money]) -> Money:
    return money(sum(amount.billionths for amount in amounts))
