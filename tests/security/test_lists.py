"""Each rule and each incident has its tests, and the pages say what the lists say."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.pitfalls.__main__ import ROOT
from tests.pitfalls.test_pitfalls import exists
from tests.security.__main__ import EN, EN_TITLES, LISTS, RU, RU_TITLES, listed, page

ROWS = [
    pytest.param(row, id=f"{name}: {row['quirk'][:40]}") for name in LISTS for row in listed(name)
]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_its_tests(row: dict[str, Any]) -> None:
    words = {"quirk", "quirk_ru", "source"}
    if "not_ours" in row:
        assert set(row) == words | {"not_ours", "not_ours_ru"}
        return
    assert set(row) == words | {"answer", "answer_ru", "tests"}
    assert row["tests"], "a rule without a test"
    assert [test for test in row["tests"] if not exists(test)] == []


def test_every_rule_of_the_checklist_is_there() -> None:
    numbers = [re.match(r"O-(\d\d)", row["source"]) for row in listed("oauth")]
    assert [int(number[1]) for number in numbers if number] == list(range(1, 51))


def test_what_is_not_ours_is_little() -> None:
    left = [
        row["source"].partition(",")[0] for n in LISTS for row in listed(n) if "tests" not in row
    ]
    assert left == ["new-api CVE-2026-41432", "O-48"]


def test_the_pages_say_what_the_lists_say() -> None:
    assert (ROOT / "docs/security.md").read_text("utf-8") == page("", EN, EN_TITLES)
    assert (ROOT / "docs/ru/security.md").read_text("utf-8") == page("_ru", RU, RU_TITLES)
