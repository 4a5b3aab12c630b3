"""`make docs`: what the attacks of the tests prove, as docs/security.md and docs/ru/security.md."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tests.pitfalls.__main__ import ROOT, row

HERE = Path(__file__).parent
LISTS = {"incidents": "incident", "oauth": "rule"}
"""Files, and what each holds."""
EN = """# Security, and the tests that attack it

Made by `make docs` from `tests/security/*.toml`; `make test` checks that each test is there.
How applications and people get in: [OAuth 2.0](oauth.md).

[По-русски](ru/security.md)
"""
RU = """# Безопасность и тесты, которые на неё нападают

Страницу делает `make docs` из `tests/security/*.toml`; `make test` следит, чтобы тесты были.
Как входят приложения и люди: [OAuth 2.0](oauth.md).

[In English](../security.md)
"""
EN_TITLES = {
    "incidents": ("What happened elsewhere", ("incident", "what XRouter does", "tests")),
    "oauth": ("What OAuth demands", ("rule", "what XRouter does", "tests")),
}
RU_TITLES = {
    "incidents": ("Что случилось у других", ("случай", "что делает XRouter", "тесты")),
    "oauth": ("Чего требует OAuth", ("правило", "что делает XRouter", "тесты")),
}
Titles = dict[str, tuple[str, tuple[str, str, str]]]


def main() -> None:
    """Write both pages."""
    (ROOT / "docs/security.md").write_text(page("", EN, EN_TITLES), "utf-8")
    (ROOT / "docs/ru/security.md").write_text(page("_ru", RU, RU_TITLES), "utf-8")


def page(language: str, head: str, titles: Titles) -> str:
    """One page. language: the ending of the fields."""
    parts = [head]
    for name, (title, words) in titles.items():
        parts.append(f"## {title}\n\n| {' | '.join(words)} |\n|---|---|---|")
        parts += [row(each, language) for each in listed(name)]
        parts.append("")
    return "\n".join(parts)


def listed(name: str) -> list[dict[str, Any]]:
    """The rows of a list; a rule is a `must` where a pitfall is a `quirk`."""
    found = tomllib.loads((HERE / f"{name}.toml").read_text("utf-8"))[LISTS[name]]
    return [{key.replace("must", "quirk"): value for key, value in each.items()} for each in found]


if __name__ == "__main__":
    main()
