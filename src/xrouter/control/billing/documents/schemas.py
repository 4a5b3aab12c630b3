"""Shapes of the API of documents."""

from __future__ import annotations

from datetime import date
from typing import Literal

from xrouter.control.billing.documents.paper import Kind
from xrouter.control.billing.schemas import Encoding, Language
from xrouter.control.kit.schemas import In, Name, Out


class PaperQuery(In):
    """How a document is made. lines: for each model, or one for all. vat: inside, or on top."""

    project: Name | None = None
    format: Literal["json", "pdf", "xlsx"] = "pdf"
    language: Language = "ru"
    lines: Literal["models", "one"] = "models"
    vat: Literal["in", "out"] = "in"


class RegisterQuery(In):
    """Of which organisation, all where none is named, and in which encoding."""

    organization: Name | None = None
    encoding: Encoding = "utf-8"


class PartyOut(Out):
    """Who sells or buys."""

    name: str
    inn: str
    kpp: str
    ogrn: str
    address: str
    phone: str
    bank: str
    bik: str
    account: str
    correspondent_account: str
    director: str
    accountant: str
    contract: str


class ItemOut(Out):
    """A line: requests to one model, "" for several. is_late: of months before. Kopecks."""

    model: str
    is_late: bool
    requests: int
    net: int
    vat: int
    total: int
    vat_rate: int | None


class PaperOut(Out):
    """An invoice or an act, in kopecks. vat_rate: hundredths of a percent."""

    kind: Kind
    language: Language
    number: str
    month: str
    day: date
    is_draft: bool
    seller: PartyOut
    buyer: PartyOut
    items: list[ItemOut]
    requests: int
    net: int
    vat: int
    total: int
    vat_rate: int | None
    vat_inside: bool
