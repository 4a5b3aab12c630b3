"""Every pitfall the providers and clients are known for has a test that meets it (docs/pitfalls.md is made from the same lists)."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LISTS = sorted(HERE.glob("*.toml"))


def _pitfalls() -> list[tuple[str, dict[str, Any]]]:
    return [(path.stem, one) for path in LISTS for one in tomllib.loads(path.read_text("utf-8"))["pitfall"]]


def _functions(path: Path) -> set[str]:
    """Names of the tests in `path`, those of classes as `Class::test`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef))}
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
    return names


def _exists(test: str) -> bool:
    file, _, name = test.partition("::")
    path = ROOT / file
    if not path.is_file():
        return False
    if path.suffix != ".py":
        return True
    if not name:
        return False
    return name in _functions(path)


def test_every_list_is_there() -> None:
    assert [path.stem for path in LISTS] == ["anthropic", "gigachat", "llamacpp", "mistral", "openai", "openrouter", "yandexgpt"]


@pytest.mark.parametrize(("sheet", "pitfall"), _pitfalls(), ids=lambda value: value if isinstance(value, str) else value["quirk"][:40])
def test_a_pitfall_has_its_tests(sheet: str, pitfall: dict[str, Any]) -> None:
    words = {"quirk", "quirk_ru", "source"}
    if "not_ours" in pitfall:
        assert set(pitfall) == words | {"not_ours", "not_ours_ru"}
        return
    assert set(pitfall) == words | {"answer", "answer_ru", "tests"}
    assert pitfall["tests"], "a pitfall without a test"
    assert [test for test in pitfall["tests"] if not _exists(test)] == []
