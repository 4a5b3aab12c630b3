"""A sheet as PDF. The same sheet is the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from reportlab.lib import colors
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from xrouter.control.billing.documents.sheet import Sheet, amount
from xrouter.control.billing.schemas import Language

_PLAIN = "DejaVuSans"
_BOLD = "DejaVuSans-Bold"
_MARGIN = 18 * mm
_PADDING = 6
"""Of a frame, on each side."""
_WIDTH = A4[0] - 2 * (_MARGIN + _PADDING)
_QUANTITY = "1"

_TEXT = ParagraphStyle("text", fontName=_PLAIN, fontSize=9, leading=11.5)
_NUMBER = ParagraphStyle("number", _TEXT, alignment=TA_RIGHT)
_STRONG = ParagraphStyle("strong", _TEXT, fontName=_BOLD)
_STRONG_NUMBER = ParagraphStyle("strong number", _NUMBER, fontName=_BOLD)
_TITLE = ParagraphStyle("title", _STRONG, fontSize=13, leading=17)
_GRID = TableStyle([
    ("GRID", (0, 0), (-1, -1), 0.5, colors.black),
    ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
])  # fmt: skip
_LOOSE = TableStyle([
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
])  # fmt: skip
_SIGNED = TableStyle([("VALIGN", (0, 0), (-1, -1), "BOTTOM"), ("LEFTPADDING", (0, 0), (-1, -1), 0)])

for _name in (_PLAIN, _BOLD):
    _font = files(__package__) / "fonts" / f"{_name}.ttf"
    pdfmetrics.registerFont(TTFont(_name, io.BytesIO(_font.read_bytes())))


def written(sheet: Sheet) -> bytes:
    """The document, on as many pages as it takes."""
    out = io.BytesIO()
    document = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title=sheet.title,
        lang=sheet.language,
        invariant=1,
    )

    def page(canvas: Any, _: Any) -> None:
        if sheet.draft:
            _across(canvas, sheet.draft)

    document.build(_story(sheet), onFirstPage=page, onLaterPages=page)
    return out.getvalue()


def _story(sheet: Sheet) -> list[Any]:
    story: list[Any] = []
    if sheet.bank:
        story += [_bank(sheet.bank), Spacer(0, 6 * mm)]
    story += [_text(sheet.title, _TITLE), Spacer(0, 5 * mm)]
    sides = [[_text(f"{label}:"), _text(value, _STRONG)] for label, value in sheet.sides]
    story += [_table(sides, (0.18, 0.82), _LOOSE), Spacer(0, 4 * mm), _lines(sheet)]
    totals = [
        [_text(f"{label}:", _STRONG_NUMBER), _text(_shown(value, sheet.language), _STRONG_NUMBER)]
        for label, value in sheet.totals
    ]
    story += [Spacer(0, 2 * mm), _table(totals, (0.82, 0.18), _LOOSE), Spacer(0, 3 * mm)]
    story += [_text(sheet.count), _text(sheet.words, _STRONG)]
    if sheet.clause:
        story += [Spacer(0, 4 * mm), _text(sheet.clause)]
    story += [Spacer(0, 10 * mm), KeepTogether([_signatures(sheet.signatures)])]
    return story


def _bank(given: Sequence[tuple[str, str]]) -> Table:
    """Two columns: whose account, and its numbers."""
    (bank, bik, correspondent, name, account, codes) = given
    rows = [
        [_labelled(bank), _labelled(bik)],
        [_labelled(codes), _labelled(correspondent)],
        [_labelled(name), _labelled(account)],
    ]
    return _table(rows, (0.58, 0.42), _GRID)


def _labelled(pair: tuple[str, str]) -> list[Paragraph]:
    return [_text(pair[0]), _text(pair[1], _STRONG)]


def _lines(sheet: Sheet) -> Table:
    rows = [[_text(cell, _STRONG) for cell in sheet.head]]
    for number, row in enumerate(sheet.rows, 1):
        cost = _text(amount(row.amount, sheet.language), _NUMBER)
        rows.append(
            [_text(str(number)), _text(row.name), _text(_QUANTITY), _text(sheet.unit), cost, cost]
        )
    made = _table(rows, (0.07, 0.45, 0.1, 0.1, 0.14, 0.14), _GRID)
    made.repeatRows = 1
    return made


def _signatures(given: Sequence[tuple[str, str]]) -> Table:
    row: list[Paragraph] = []
    for role, name in given:
        row += [_text(role), _text("_" * 14), _text(f"/ {name} /" if name else "")]
    return _table([row], (0.17, 0.16, 0.17, 0.17, 0.16, 0.17), _SIGNED)


def _table(rows: list[list[Any]], widths: Sequence[float], style: TableStyle) -> Table:
    return Table(rows, colWidths=[width * _WIDTH for width in widths], style=style)


def _text(text: str, style: ParagraphStyle = _TEXT) -> Paragraph:
    return Paragraph(escape(text), style)


def _shown(kopecks: int | None, language: Language) -> str:
    return "-" if kopecks is None else amount(kopecks, language)


def _across(canvas: Any, text: str) -> None:
    canvas.saveState()
    canvas.setFont(_BOLD, 90)
    canvas.setFillGray(0.9)
    canvas.translate(A4[0] / 2, A4[1] / 2)
    canvas.rotate(50)
    canvas.drawCentredString(0, 0, text)
    canvas.restoreState()
