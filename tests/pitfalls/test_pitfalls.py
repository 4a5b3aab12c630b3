"""Every pitfall that providers and clients are known for has a test that meets it."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.pitfalls.__main__ import EN, EN_WORDS, RU, RU_WORDS, page

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LISTS = sorted(HERE.glob("*.toml"))
SHEETS = ["anthropic", "gigachat", "llamacpp", "mistral", "openai", "openrouter", "yandexgpt"]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _pitfalls() -> list[Any]:
    return [
        pytest.param(one, id=f"{path.stem}: {one['quirk'][:40]}")
        for path in LISTS
        for one in tomllib.loads(path.read_text("utf-8"))["pitfall"]
    ]


@cache
def _functions(path: Path) -> set[str]:
    """Names of the tests in `path`, those of classes as `Class::test`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef):
            inside = (inner for inner in node.body if isinstance(inner, FUNCTIONS))
            names |= {f"{node.name}::{inner.name}" for inner in inside}
        elif isinstance(node, FUNCTIONS):
            names.add(node.name)
    return names


def exists(test: str) -> bool:
    """Whether there is such a file, and such a test in it."""
    file, _, name = test.partition("::")
    path = ROOT / file
    if not path.is_file():
        return False
    return path.suffix != ".py" or name in _functions(path)


def test_every_list_is_there() -> None:
    assert [path.stem for path in LISTS] == SHEETS


@pytest.mark.parametrize("pitfall", _pitfalls())
def test_a_pitfall_has_its_tests(pitfall: dict[str, Any]) -> None:
    words = {"quirk", "quirk_ru", "source"}
    if "not_ours" in pitfall:
        assert set(pitfall) == words | {"not_ours", "not_ours_ru"}
        return
    assert set(pitfall) == words | {"answer", "answer_ru", "tests"}
    assert pitfall["tests"], "a pitfall without a test"
    assert [test for test in pitfall["tests"] if not exists(test)] == []


def test_the_pages_say_what_the_lists_say() -> None:
    assert (ROOT / "docs/pitfalls.md").read_text("utf-8") == page("", EN, EN_WORDS)
    assert (ROOT / "docs/ru/pitfalls.md").read_text("utf-8") == page("_ru", RU, RU_WORDS)
