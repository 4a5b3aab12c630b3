"""Schemas of tools without references: some models refuse `$ref` and `$defs`."""

from __future__ import annotations

from typing import Any

MAX_NODES = 10_000
MAX_DEPTH = 64
_PLACES = {"$defs", "definitions"}


class _CannotInlineError(Exception):
    """The schema refers to itself, to elsewhere, or grows beyond bounds."""


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its definitions in the place of the references to them.

    One that has none, or that cannot be written without (it refers to itself), stays as it is.
    """
    if not _PLACES & schema.keys():
        return schema
    try:
        whole = _Inliner(schema).value(schema, (), 0)
    except _CannotInlineError:
        return schema
    return {name: value for name, value in whole.items() if name not in _PLACES}


class _Inliner:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._nodes = 0

    def value(self, given: Any, within: tuple[str, ...], depth: int) -> Any:
        """within: the references that are being written out."""
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise _CannotInlineError
        if isinstance(given, list):
            return [self.value(one, within, depth + 1) for one in given]
        if not isinstance(given, dict):
            return given
        reference = given.get("$ref")
        if isinstance(reference, str):
            if reference in within:
                raise _CannotInlineError
            target = self.value(self._found(reference), (*within, reference), depth + 1)
            rest = {name: one for name, one in given.items() if name != "$ref"}
            return {**target, **self.value(rest, within, depth + 1)}
        return {
            name: one if name in _PLACES and depth == 0 else self.value(one, within, depth + 1)
            for name, one in given.items()
        }

    def _found(self, reference: str) -> dict[str, Any]:
        hash_sign, *steps = reference.split("/")
        if hash_sign != "#" or len(steps) != 2 or steps[0] not in _PLACES:  # noqa: PLR2004 - place and name
            raise _CannotInlineError
        place = self._root.get(steps[0])
        name = steps[1].replace("~1", "/").replace("~0", "~")
        found = place.get(name) if isinstance(place, dict) else None
        if not isinstance(found, dict):
            raise _CannotInlineError
        return found
