"""The laws of the house that import-linter cannot see."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "xrouter"
FILES = sorted(SRC.rglob("*.py"))
SCRIPTS = [path for path in FILES if SRC / "control" / "db" / "migrations" in path.parents]
"""Migrations: each is a script of what the tables were on a day."""
STREAM_FLOORS = {"edge", "flow", "wire", "providers", "stores"}

FILE_CEILING = 400
FUNCTION_CEILING = 50

OPTIONAL_PACKAGES = {"asyncpg"}
ENVIRONMENT_READERS = {SRC / "settings.py"}

OWN_FILES = {
    "gigachat": ("providers/gigachat", "sandbox/gigachat"),
    "mistral": ("providers/mistral", "sandbox/mistral"),
    "yandex": ("providers/yandexgpt", "sandbox/yandex"),
    "yandexgpt": ("providers/yandexgpt", "sandbox/yandex"),
    "llamacpp": ("providers/llamacpp", "sandbox/llamacpp"),
    "llama.cpp": ("providers/llamacpp", "sandbox/llamacpp"),
    "ollama": ("providers/rows", "providers/llamacpp"),
    "vllm": ("providers/rows", "providers/yandexgpt", "sandbox/yandex"),
    "openrouter": ("providers/openrouter", "sandbox/openrouter"),
    "anthropic": (
        "providers/anthropic",
        "sandbox/anthropic",
        "edge/dialects/anthropic",
        "providers/openrouter",
        "sandbox/openrouter",
    ),
    "deepseek": (
        "providers/rows",
        "providers/yandexgpt",
        "sandbox/yandex",
        "sandbox/llamacpp",
        "sandbox/openrouter",
    ),
}


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body; the docstring does not count."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return 0 if not body else (function.end_lineno or 0) - body[0].lineno + 1


def name_of(path: Path) -> str:
    return str(path.relative_to(SRC))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_file_is_small(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= FILE_CEILING, f"{lines} lines: split the file by what it knows"


@pytest.mark.parametrize("path", [path for path in FILES if path not in SCRIPTS], ids=name_of)
def test_functions_are_small(path: Path) -> None:
    long = {f.name: length(f) for f in functions(tree_of(path)) if length(f) > FUNCTION_CEILING}
    assert not long


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_import_hides_in_a_function(path: Path) -> None:
    hidden = [
        ast.unparse(node)
        for function in functions(tree_of(path))
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom) and not _optional(node)
    ]
    assert not hidden


def _optional(node: ast.Import | ast.ImportFrom) -> bool:
    names = (
        [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
    )
    return all(name.split(".")[0] in OPTIONAL_PACKAGES for name in names)


@pytest.mark.parametrize("path", sorted(set(FILES) - ENVIRONMENT_READERS), ids=name_of)
def test_environment_is_read_in_settings_only(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(
        r"\bos\.(environ\b(?!/)|getenv\b)|from os import .*\b(environ|getenv)\b", text
    )


@pytest.mark.parametrize(
    "path", [path for path in FILES if name_of(path).split("/")[0] in STREAM_FLOORS], ids=name_of
)
def test_no_async_generator_on_the_way_of_a_stream(path: Path) -> None:
    guilty = [
        f.name
        for f in functions(tree_of(path))
        if isinstance(f, ast.AsyncFunctionDef) and any(_yields(f))
    ]
    assert not guilty


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if name_of(path).split("/")[0] not in {"cli", "sandbox", "wire"}],
    ids=name_of,
)
def test_only_wire_speaks_http_to_the_outside(path: Path) -> None:
    """What import-linter cannot say of parts of the standard library."""
    banned = {"urllib.request", "http.client", "asyncio.open_connection"}
    tree = tree_of(path)
    named = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    named |= {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    named |= {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not named & banned


def _yields(function: ast.AsyncFunctionDef) -> Iterator[bool]:
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Yield):
            yield True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            stack.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_providers_are_named_in_their_own_files_only(path: Path) -> None:
    """In code: docstrings and comments may give examples."""
    place = name_of(path)
    words = _code_words(tree_of(path))
    named = {
        name
        for name, homes in OWN_FILES.items()
        if not place.startswith(homes) and any(name in word for word in words)
    }
    assert not named


def _code_words(tree: ast.Module) -> set[str]:
    """All names and strings of the code, docstrings aside, in lower case."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    } | {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    words: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docstrings:
                words.add(node.value.lower())
        elif isinstance(node, ast.Name):
            words.add(node.id.lower())
        elif isinstance(node, ast.alias):
            words.add(node.name.lower())
        elif isinstance(node, ast.ImportFrom) and node.module:
            words.add(node.module.lower())
    return words


def test_the_contracts_of_the_floors_are_kept() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_domain_is_made_of_the_standard_library_and_msgspec() -> None:
    allowed = set(sys.stdlib_module_names) | {"msgspec", "xrouter", "typing_extensions"}
    for path in (SRC / "domain").rglob("*.py"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] in allowed, path
            elif isinstance(node, ast.Import):
                assert all(a.name.split(".")[0] in allowed for a in node.names), path


@pytest.mark.parametrize("plane", ["gateway"])
def test_the_gateway_loads_no_database_and_no_admin_framework(plane: str) -> None:
    code = (
        f"import sys, xrouter.app.{plane};"
        "print([m for m in ('sqlalchemy','fastapi','alembic','pydantic','xrouter.control')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT / "src")},
    )
    assert done.stdout.strip() == "[]"


def test_lock_files_pin_by_hash_and_name_no_host() -> None:
    for lock in (ROOT / "requirements").glob("*.lock"):
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text
        pins = [line for line in text.splitlines() if re.match(r"^[a-z0-9]", line)]
        assert all("==" in pin for pin in pins), lock


def test_every_dependency_is_in_both_locks() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[\[<>=;\s]", d)[0].lower() for d in project["dependencies"]}
    for lock in ("run.lock", "dev.lock"):
        text = (ROOT / "requirements" / lock).read_text()
        assert names <= set(re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE))
