"""JSON schemas as the simulated llama.cpp server takes them, and what it says of wrong ones."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]

_TYPES = ("string", "number", "integer", "boolean", "null", "array", "object")
_DEPTH = 64
_TEXT_SIZES, _LIST_SIZES = ("minLength", "maxLength"), ("minItems", "maxItems")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


class _Flaw(Exception):
    """What is wrong, and where."""

    def __init__(self, place: str, words: str) -> None:
        super().__init__(f"JSON schema error at {place}: {words}")


def wanted_schema(body: Body) -> Body | None:
    """The schema that the answer to a chat has to fit, {} for any JSON; None for free text."""
    given = body.get("response_format")
    given = given if isinstance(given, dict) else {}
    if given.get("type") == "json_schema":
        inner = given.get("json_schema")
        schema = inner.get("schema", {}) if isinstance(inner, dict) else {}
    elif given.get("type") == "json_object" and given.get("schema") is not None:
        schema = given["schema"]
    else:
        schema = body.get("json_schema")
    return schema if isinstance(schema, dict) else None


def flaw_in(schema: Any) -> str | None:
    """What the server would say of the schema; None when it is sound."""
    try:
        _Check(schema).schema(schema, "#", 0)
    except _Flaw as flaw:
        return str(flaw)
    return None


class _Check:
    """A walk through a schema: every part is looked at in the place where it is used."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._followed: set[str] = set()

    def schema(self, given: Any, place: str, depth: int) -> None:
        """Raise _Flaw for the first thing that is wrong."""
        if not isinstance(given, dict):
            raise _Flaw(place, "schema must be an object")
        if depth >= _DEPTH or "const" in given:
            return
        if "$ref" in given:
            self._reference(given["$ref"], place, depth)
        elif "enum" in given:
            if not isinstance(given["enum"], list) or not given["enum"]:
                raise _Flaw(place, "enum must be a non-empty array")
        elif not self._alternatives(given, place, depth):
            self._typed(given, place, depth)

    def _reference(self, name: Any, place: str, depth: int) -> None:
        if not isinstance(name, str):
            raise _Flaw(place, "$ref must be a string")
        if not name.startswith("#/"):
            words = "only references into the same document are supported"
            raise _Flaw(place, f"unsupported $ref {name}, {words}")
        target = self._root
        for part in name.split("/")[1:]:
            if not isinstance(target, dict) or part not in target:
                raise _Flaw(place, f"cannot resolve $ref {name}, {part} not found")
            target = target[part]
        if name not in self._followed:
            self._followed.add(name)
            self.schema(target, name, depth + 1)

    def _alternatives(self, given: Body, place: str, depth: int) -> bool:
        """Whether the schema consists of others."""
        names = [name for name in ("oneOf", "anyOf", "allOf") if name in given]
        for name in names:
            parts = given[name]
            if not isinstance(parts, list):
                raise _Flaw(f"{place}/{name}", "must be an array of schemas")
            if not parts:
                raise _Flaw(f"{place}/{name}", "must not be empty")
            self._parts(parts, f"{place}/{name}", depth)
        return bool(names)

    def _parts(self, parts: list[Any], place: str, depth: int) -> None:
        for index, part in enumerate(parts):
            self.schema(part, f"{place}/{index}", depth + 1)

    def _typed(self, given: Body, place: str, depth: int) -> None:
        kind = given.get("type")
        if isinstance(kind, list):
            if not kind:
                raise _Flaw(place, "type must not be empty")
            for index, one in enumerate(kind):
                self.schema(given | {"type": one}, f"{place}/type/{index}", depth + 1)
            return
        if kind is not None and not isinstance(kind, str):
            raise _Flaw(place, "type must be a string or an array of strings")
        if kind is not None and kind not in _TYPES:
            raise _Flaw(place, f"unrecognized type {kind}")
        if kind in (None, "object"):
            self._object(given, place, depth)
        if kind in (None, "array"):
            self._array(given, place, depth)
        _check_scalar(given, kind, place)

    def _object(self, given: Body, place: str, depth: int) -> None:
        properties = given.get("properties", {})
        if not isinstance(properties, dict):
            raise _Flaw(place, "properties must be an object")
        for name, part in properties.items():
            self.schema(part, f"{place}/properties/{name}", depth + 1)
        more = given.get("additionalProperties", True)
        if isinstance(more, dict):
            self.schema(more, f"{place}/additionalProperties", depth + 1)
        elif not isinstance(more, bool):
            raise _Flaw(place, "additionalProperties must be a boolean or a schema")

    def _array(self, given: Body, place: str, depth: int) -> None:
        name = "items" if "items" in given else "prefixItems"
        if name not in given:
            return
        parts = given[name]
        if isinstance(parts, list):
            self._parts(parts, f"{place}/{name}", depth)
        else:
            self.schema(parts, f"{place}/{name}", depth + 1)
            _check_sizes(given, place, _LIST_SIZES)


def _check_scalar(given: Body, kind: str | None, place: str) -> None:
    if kind in (None, "string"):
        _check_sizes(given, place, _TEXT_SIZES)
    for name in ("pattern", "format") if kind == "string" else ():
        if name in given and not isinstance(given[name], str):
            raise _Flaw(place, f"{name} must be a string")
    for name in _BOUNDS if kind == "integer" else ():
        if name in given and not isinstance(given[name], int | float):
            raise _Flaw(place, f"{name} must be a number")


def _check_sizes(given: Body, place: str, names: tuple[str, ...]) -> None:
    for name in names:
        size = given.get(name, 0)
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise _Flaw(place, f"{name} must be a non-negative integer")
