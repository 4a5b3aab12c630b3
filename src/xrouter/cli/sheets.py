"""CSV files of the control API, which come in pages, as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from csv import reader, writer
from io import StringIO
from typing import Any

from xrouter.cli.control import fetch

PAGE = 1000

Behind = Callable[[Sequence[Sequence[str]]], Any]
"""`after` of the page behind these rows."""


def whole(path: str, query: dict[str, Any], behind: Behind, charset: str = "utf-8-sig") -> bytes:
    """All pages of the CSV that `/control/v1<path>` answers, with one head."""
    wanted = query | {"format": "csv", "limit": PAGE}
    rows: list[list[str]] = []
    after = None
    while True:
        page = fetch(path, wanted | {"after": after}).decode(charset)
        head, *found = reader(StringIO(page, newline=""), delimiter=";")
        rows += found
        if len(found) < PAGE:
            break
        after = behind(rows)
    text = StringIO(newline="")
    writer(text, delimiter=";").writerows([head, *rows])
    return text.getvalue().encode(charset, "replace")
