"""What differs between two states of an object, path by path; secrets are never shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

SECRETS = frozenset({"credential", "sealed"})
SEALED = "sealed"
CHANGED = "changed"
_NAMES = ("label", "name")
"""Fields by which the items of a list are known."""


class Difference(Struct, frozen=True):
    """path: as `versions[v2].channel`. old, new: None where there is nothing."""

    path: str
    old: Any
    new: Any


def differences(before: Any, after: Any) -> list[Difference]:
    """All places in which two JSON values differ, in the order of their names."""
    return list(_walk("", before, after))


def hidden(document: Any) -> Any:
    """The value with each credential replaced by the word `sealed`."""
    if isinstance(document, dict):
        return {
            name: (SEALED if value else value) if name in SECRETS else hidden(value)
            for name, value in document.items()
        }
    if isinstance(document, list):
        return [hidden(item) for item in document]
    return document


def _walk(path: str, old: Any, new: Any) -> Iterator[Difference]:
    if old == new:
        return
    if path.rpartition(".")[2] in SECRETS:
        yield Difference(path, SEALED if old else None, _new_secret(old, new))
    elif isinstance(old, dict) and isinstance(new, dict):
        yield from _fields(path, old, new)
    elif _is_table(old) and _is_table(new):
        yield from _items(path, old, new)
    else:
        yield Difference(path, hidden(old), hidden(new))


def _new_secret(old: Any, new: Any) -> str | None:
    if not new:
        return None
    return CHANGED if old else SEALED


def _fields(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for name in sorted(old.keys() | new.keys()):
        inner = f"{path}.{name}" if path else name
        yield from _walk(inner, old.get(name), new.get(name))


def _items(path: str, old: list[Any], new: list[Any]) -> Iterator[Difference]:
    """By name; when only the order differs, the order."""
    before, after = _by_name(old), _by_name(new)
    for name in sorted(before.keys() | after.keys()):
        yield from _walk(f"{path}[{name}]", before.get(name), after.get(name))
    stayed = [name for name in before if name in after]
    moved = [name for name in after if name in before]
    if stayed != moved:
        yield Difference(f"{path}.order", list(before), list(after))


def _is_table(value: Any) -> bool:
    """A list of objects that have names, each its own; also an empty list."""
    if not isinstance(value, list):
        return False
    names = [_name(item) for item in value]
    return None not in names and len(names) == len(set(names))


def _by_name(items: list[Any]) -> dict[str, Any]:
    return {str(_name(item)): item for item in items}


def _name(item: Any) -> str | None:
    if isinstance(item, dict):
        for field in _NAMES:
            if isinstance(item.get(field), str):
                name: str = item[field]
                return name
    return None
