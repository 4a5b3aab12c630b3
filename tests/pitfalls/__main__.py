"""`make docs`: the lists of pitfalls as pages, docs/pitfalls.md and docs/ru/pitfalls.md."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TITLES = {
    "gigachat": "GigaChat",
    "yandexgpt": "YandexGPT",
    "openrouter": "OpenRouter",
    "mistral": "Mistral",
    "llamacpp": "llama.cpp",
    "anthropic": "Anthropic",
    "openai": "OpenAI",
}
EN = """# Pitfalls, and what XRouter does about them

What providers and clients are known for, and a test that would fail if XRouter met it wrongly.
Made by `make docs` from `tests/pitfalls/`; `make test` checks that each test is there.

[По-русски](ru/pitfalls.md)
"""
RU = """# Ловушки и что с ними делает XRouter

Чем известны провайдеры и клиенты, и тест, который не прошёл бы, если бы XRouter обошёлся с этим
неверно. Страницу делает `make docs` из `tests/pitfalls/`; `make test` следит, чтобы тесты были.

[In English](../pitfalls.md)
"""
EN_WORDS = ("pitfall", "what XRouter does", "tests")
RU_WORDS = ("ловушка", "что делает XRouter", "тесты")


def main() -> None:
    """Write both pages."""
    (ROOT / "docs/pitfalls.md").write_text(page("", EN, EN_WORDS), "utf-8")
    (ROOT / "docs/ru/pitfalls.md").write_text(page("_ru", RU, RU_WORDS), "utf-8")


def page(language: str, head: str, words: tuple[str, str, str]) -> str:
    """One page. language: the ending of the fields."""
    parts = [head]
    for sheet, title in TITLES.items():
        path = HERE / f"{sheet}.toml"
        rows = tomllib.loads(path.read_text("utf-8"))["pitfall"]
        parts.append(f"## {title}\n\n| {' | '.join(words)} |\n|---|---|---|")
        parts += [row(each, language) for each in rows]
        parts.append("")
    return "\n".join(parts)


def row(told: dict[str, Any], language: str) -> str:
    """A line of a table."""
    quirk = f"{told['quirk' + language]} ({told['source']})"
    answer = told.get("answer" + language) or told["not_ours" + language]
    tests = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in told.get("tests", ()))
    return f"| {_cell(quirk)} | {_cell(answer)} | {tests} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main()
