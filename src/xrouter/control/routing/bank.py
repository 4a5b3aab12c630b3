"""Exchange rates as the Bank of Russia publishes them, read from a file.

XML_daily    all currencies of one day: <ValCurs Date="02.03.2026"><Valute ID="R01235">
             <CharCode>USD</CharCode><Nominal>1</Nominal><Value>80,9436</Value></Valute>...
XML_dynamic  one currency over days: <ValCurs ID="R01235"><Record Date="02.03.2026" Id="R01235">
             <Nominal>1</Nominal><Value>80,9436</Value></Record>...

`Value` is rubles for `Nominal` units. The files are in Windows-1251.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from xml.etree import ElementTree as ET

from xrouter.control.routing.schemas import Rate, RatesIn, decimal
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.money import BILLION

_IDS = {"R01235": "USD", "R01239": "EUR", "R01375": "CNY", "R01035": "GBP", "R01820": "JPY"}
"""Currencies by the Bank's own numbers: a file over days has no other name."""
_MOST = 10_000
_CODE = re.compile(r"[A-Z]{3}")
_NOMINAL = re.compile(r"[1-9]\d{0,8}")
_VALUE = re.compile(r"\d{1,9}(,\d{1,9})?")
_DECLARED = re.compile(r"\A\s*<\?xml[^>]*\?>")


def read(text: str, currency: str | None = None) -> RatesIn:
    """The rates of a file. Raises InvalidRequest that says what is wrong.

    currency: of a file over days, where its number is not known.
    """
    if "<!" in text:
        raise _wrong("it has a document type or a comment, which no file of the Bank has")
    try:
        root = ET.fromstring(_DECLARED.sub("", text))  # noqa: S314 - has no entities, see above
    except (ET.ParseError, ValueError) as error:
        raise _wrong(f"it is no XML: {error}") from None
    if root.tag != "ValCurs":
        raise _wrong("it must be XML_daily or XML_dynamic of the Bank of Russia")
    found = {(rate.currency, rate.day): rate for rate in _rates(root, currency)}
    if not found:
        raise _wrong("it has no rates")
    if len(found) > _MOST:
        raise _wrong(f"it has more than {_MOST} rates")
    return RatesIn(rates=list(found.values()))


def _rates(root: ET.Element, currency: str | None) -> Iterator[Rate]:
    for each in root.iterfind("Valute"):
        yield _rate(each, each.findtext("CharCode", ""), root.get("Date", ""))
    for each in root.iterfind("Record"):
        number = each.get("Id") or root.get("ID") or ""
        code = currency or _IDS.get(number)
        if code is None:
            raise InvalidRequest(
                f"Which currency has the Bank's number '{number[:20]}' is not known here.",
                param="currency",
                code="missing_required_parameter",
                hint='Say it: "currency": "TRY".',
            )
        yield _rate(each, code, each.get("Date", ""))


def _rate(element: ET.Element, code: str, day: str) -> Rate:
    nominal, value = (element.findtext(name, "").strip() for name in ("Nominal", "Value"))
    place = f"the rate of '{code[:20]}' of '{day[:20]}'"
    if not (_CODE.fullmatch(code) and _NOMINAL.fullmatch(nominal) and _VALUE.fullmatch(value)):
        raise _wrong(f"{place} cannot be read")
    try:
        rubles = Decimal(value.replace(",", ".")) * BILLION / int(nominal)
        billionths = int(rubles.to_integral_value(ROUND_HALF_UP))
        return Rate(currency=code, day=_day(day), rubles=decimal(billionths))
    except (ValueError, InvalidOperation):
        raise _wrong(f"{place} cannot be read") from None


def _day(text: str) -> date:
    return datetime.strptime(text, "%d.%m.%Y").replace(tzinfo=UTC).date()


def _wrong(reason: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid value for 'xml': {reason}.", param="xml", code="invalid_value")
