"""A sheet as XLSX. The same sheet is the same bytes; no cell is a formula."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import xlsxwriter

from xrouter.control.billing.documents.sheet import Sheet
from xrouter.control.billing.documents.words import KOPECKS

_MONEY = "#,##0.00"
_WIDTHS = (6, 60, 8, 8, 15, 15)
_LAST = len(_WIDTHS) - 1
_LETTERS = 100
"""Of text that fit into a row, at least."""
_LOW = 14
_HIGH = 20
"""Points of a line of text, and of a title."""
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC).replace(tzinfo=None)
_PLAIN = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}


def written(sheet: Sheet) -> bytes:
    """The document on one worksheet."""
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True, **_PLAIN})
    book.set_properties({"title": sheet.title, "created": _LONG_AGO})
    _Page(book, sheet).write()
    book.close()
    return out.getvalue()


class _Page:
    """The worksheet, written from above."""

    def __init__(self, book: Any, sheet: Sheet) -> None:
        self._sheet = sheet
        self._page = book.add_worksheet()
        base = {"font_name": "Arial", "font_size": 10, "text_wrap": True, "valign": "top"}
        grid = base | {"border": 1}
        self._text = book.add_format(base)
        self._title = book.add_format(base | {"bold": True, "font_size": 14})
        self._head = book.add_format(grid | {"bold": True, "align": "center"})
        self._cell = book.add_format(grid)
        self._money = book.add_format(grid | {"num_format": _MONEY})
        self._label = book.add_format(base | {"bold": True, "align": "right"})
        self._sum = book.add_format(base | {"bold": True, "num_format": _MONEY, "align": "right"})
        self._row = 0

    def write(self) -> None:
        """All of it, in the order in which it is read."""
        self._page.set_paper(9)  # A4
        self._page.fit_to_pages(1, 0)
        for column, width in enumerate(_WIDTHS):
            self._page.set_column(column, column, width)
        if self._sheet.draft:
            self._wide(self._sheet.draft, self._title)
        for label, value in self._sheet.bank:
            self._wide(f"{label}: {value}", self._text)
        self._row += bool(self._sheet.bank)
        self._wide(self._sheet.title, self._title)
        self._row += 1
        for label, value in self._sheet.sides:
            self._wide(f"{label}: {value}", self._text)
        self._row += 1
        self._lines()
        self._totals()
        for text in (self._sheet.count, self._sheet.words, self._sheet.clause):
            if text:
                self._wide(text, self._text)
        self._row += 1
        for role, name in self._sheet.signatures:
            self._wide(f"{role} ______________ / {name or ' ' * 20} /", self._text)

    def _lines(self) -> None:
        for column, text in enumerate(self._sheet.head):
            self._page.write_string(self._row, column, text, self._head)
        self._row += 1
        for number, row in enumerate(self._sheet.rows, 1):
            self._page.write_number(self._row, 0, number, self._cell)
            self._page.write_string(self._row, 1, row.name, self._cell)
            self._page.write_number(self._row, 2, 1, self._cell)
            self._page.write_string(self._row, 3, self._sheet.unit, self._cell)
            for column in (4, _LAST):
                self._page.write_number(self._row, column, row.amount / KOPECKS, self._money)
            self._row += 1

    def _totals(self) -> None:
        for label, value in self._sheet.totals:
            self._page.merge_range(self._row, 0, self._row, _LAST - 1, "", self._label)
            self._page.write_string(self._row, 0, f"{label}:", self._label)
            if value is None:
                self._page.write_string(self._row, _LAST, "-", self._sum)
            else:
                self._page.write_number(self._row, _LAST, value / KOPECKS, self._sum)
            self._row += 1
        self._row += 1

    def _wide(self, text: str, form: Any) -> None:
        """Over all columns; no program makes a merged row as high as its text by itself."""
        lines = -(-len(text) // _LETTERS)
        self._page.set_row(self._row, lines * (_HIGH if form is self._title else _LOW))
        self._page.merge_range(self._row, 0, self._row, _LAST, "", form)
        self._page.write_string(self._row, 0, text, form)
        self._row += 1
