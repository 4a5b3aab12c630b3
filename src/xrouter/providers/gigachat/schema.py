"""From JSON Schema to the subset that GigaChat accepts for functions. Lossy, and bounded.

The backend answers 422 to anything else: an object needs `properties`, an array needs typed
`items`, every property a single `type`; there are no references, unions or `null`; `enum` holds
strings only; `format` is a date or a time (facts: what its own proxy is known to rewrite).

What is lost is named: all but one variant of a union and null, that a value may be anything,
conditions, patterns of property names, formats, the inside of a recursive reference, what two
merged schemas say differently, keywords that are not known here.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from xrouter.domain.errors import InvalidRequest

Schema = dict[str, Any]

MAX_DEPTH = 32
MAX_BYTES = 4 << 20
"""Of all schemas of a request together, about, when references are inlined."""

_ENTRY_BYTES = 64
"""What a schema or a name costs at least: it bounds the work as well as the size."""

_WORD_BYTES = 16
"""What a keyword costs, known or not, and what stands in its list: they are looked at each time
their schema is referred to."""

_FORMATS = frozenset({"date", "date-time", "time"})
_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean"})
_UNIONS = ("anyOf", "oneOf")
_SIZED = ("properties", "required", "enum")
_PLAIN = frozenset(
    {
        "title",
        "description",
        "default",
        "examples",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "deprecated",
        "readOnly",
        "writeOnly",
    }
)
"""Keywords that hold no schema and are kept as they are."""

_HANDLED = frozenset(
    {
        "type",
        "properties",
        "required",
        "items",
        "enum",
        "const",
        "format",
        "additionalProperties",
        "$ref",
        "allOf",
        "anyOf",
        "oneOf",
        "prefixItems",
    }
)
_KEPT: dict[str, Callable[[Any], bool]] = {
    "type": lambda value: not isinstance(value, list) or len(value) == 1,
    "format": lambda value: isinstance(value, str) and value in _FORMATS,
    "items": lambda value: not isinstance(value, list),
    "additionalProperties": lambda value: isinstance(value, bool) or value == {},
    "enum": lambda value: isinstance(value, list) and None not in value,
    "const": lambda value: value is not None,
    "prefixItems": lambda _: False,
}
"""Which values of these keywords are kept."""

_SILENT = frozenset({"$schema", "$id", "id", "$anchor", "$comment", "$defs", "definitions"})
"""Keywords that demand nothing of a value."""

_UNITED = frozenset({"description", "title", "required"})
"""Keywords of two merged schemas that do not contradict each other."""

_MAX_LOST = 32
_MAX_NAME = 40


class Budget:
    """How much the schemas of one request may still grow to."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_BYTES

    def spend(self, amount: int) -> bool:
        """Take some bytes; whether there were as many."""
        self._left -= amount
        return self._left >= 0


def normalise(
    schema: Schema | None, param: str, budget: Budget, lost: dict[str, None] | None = None
) -> Schema:
    """The parameters of a function as an object schema of the subset; None means no parameters.

    lost: gets the keywords that could not be kept, at most some dozens, each once.
    Raises InvalidRequest naming `param` when it is not an object's schema or too large.
    """
    if not schema:
        return {"type": "object", "properties": {}}
    root = schema if schema.get("type") else {**schema, "type": "object"}
    done = _Normaliser(root, param, budget, {} if lost is None else lost).node(root, 0, ())
    if done["type"] != "object":
        raise InvalidRequest(
            f"'{param}' must be the schema of an object, not of a {done['type']}.",
            code="invalid_type",
            param=param,
        )
    return done


class _Normaliser:
    """Walks one schema once; `root` is where references point into."""

    def __init__(self, root: Schema, param: str, budget: Budget, lost: dict[str, None]) -> None:
        self._root = root
        self._param = param
        self._budget = budget
        self._lost = lost

    def node(self, schema: Any, depth: int, trail: tuple[str, ...]) -> Schema:
        """The normal form of one schema. trail: the references being followed."""
        self._enter(depth)
        flat, trail = self._flatten(schema if isinstance(schema, dict) else {}, depth, trail)
        self._note(_lost_of(flat))
        found = _type_of(flat)
        self._note(["type"] if found is None else [])
        kind = found or "string"
        done: Schema = {"type": kind}
        done.update((k, v) for k, v in flat.items() if k in _PLAIN and v is not None)
        _put_format_and_enum(flat, done)
        self._spend(len(msgspec.json.encode(done)))
        if kind == "object":
            self._put_properties(flat, done, depth, trail)
        elif kind == "array":
            done["items"] = self.node(_items_of(flat), depth + 1, trail)
        return done

    def _note(self, words: Iterable[str]) -> None:
        """Keywords that are lost."""
        for word in words:
            if len(self._lost) < _MAX_LOST:
                self._lost[word[:_MAX_NAME]] = None

    def _enter(self, depth: int) -> None:
        """Go one schema further. Raises InvalidRequest when that is too deep."""
        if depth > MAX_DEPTH:
            raise self._too_large()
        self._spend(_ENTRY_BYTES)

    def _spend(self, amount: int) -> None:
        if not self._budget.spend(amount):
            raise self._too_large()

    def _too_large(self) -> InvalidRequest:
        return InvalidRequest(
            f"The schema in '{self._param}' is too large once its references are inlined.",
            code="invalid_value",
            param=self._param,
            hint=f"All tools together: {MAX_BYTES >> 20} MiB, nested at most {MAX_DEPTH} deep.",
        )

    def _put_properties(
        self, flat: Schema, done: Schema, depth: int, trail: tuple[str, ...]
    ) -> None:
        given = flat.get("properties")
        properties = given if isinstance(given, dict) else {}
        done["properties"] = {
            name: self.node(child, depth + 1, trail)
            for name, child in properties.items()
            if child is not False
        }
        required = flat.get("required")
        if isinstance(required, list):
            self._spend(_ENTRY_BYTES * len(required))
            known = [n for n in required if isinstance(n, str) and n in done["properties"]]
            if known:
                done["required"] = known
            self._note(["required"] if len(known) < len(required) else [])
        if isinstance(flat.get("additionalProperties"), bool):
            done["additionalProperties"] = flat["additionalProperties"]

    def _flatten(
        self, schema: Schema, depth: int, trail: tuple[str, ...]
    ) -> tuple[Schema, tuple[str, ...]]:
        """Without $ref, allOf and unions: what they lead to is merged under the schema itself."""
        listed = sum(len(value) for value in schema.values() if isinstance(value, list))
        self._spend(_WORD_BYTES * (len(schema) + listed))
        own = {
            key: value
            for key, value in schema.items()
            if key not in ("$ref", "allOf", "anyOf", "oneOf")
        }
        parts: list[Any] = []
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference in trail:
                self._note(["$ref"])
                own.setdefault("type", "object")
            else:
                trail = (*trail, reference)
                parts.append(self._lookup(reference))
        merged = schema.get("allOf")
        parts += merged if isinstance(merged, list) else []
        for key in _UNIONS:
            union = schema.get(key)
            parts += [variant] if (variant := _first_variant(union)) else []
            self._note([key] if isinstance(union, list) and len(union) > 1 else [])
        for part in parts:
            if isinstance(part, dict):
                self._enter(depth + 1)
                inner, trail = self._flatten(part, depth + 1, trail)
                self._spend(_bytes_compared(inner, own))
                self._note(_contradicted(inner, own))
                own = _merge(inner, own)
                self._spend(_ENTRY_BYTES * _entries(own) + _WORD_BYTES * len(own))
        return own, trail

    def _lookup(self, reference: str) -> Any:
        """What a reference of this document (`#/$defs/Name`) points to."""
        found: Any = self._root
        if reference.startswith("#"):
            for step in reference[1:].split("/")[1:]:
                key = step.replace("~1", "/").replace("~0", "~")
                found = found.get(key) if isinstance(found, dict) else None
            if isinstance(found, dict):
                return found
        raise InvalidRequest(
            f"The schema in '{self._param}' refers to '{reference[:80]}', which is not in it.",
            code="invalid_value",
            param=self._param,
        )


def _first_variant(union: Any) -> Schema | None:
    """The first variant of a union that is not null."""
    for variant in union if isinstance(union, list) else ():
        if isinstance(variant, dict) and variant.get("type") != "null":
            return variant
    return None


def _lost_of(flat: Schema) -> Iterator[str]:
    """The keywords of a schema without references and unions that its normal form has not."""
    for word, value in flat.items():
        if word in _PLAIN or word in _SILENT or (value is None and word != "const"):
            continue
        kept = value is False
        if word in _HANDLED:
            kept = word not in _KEPT or _KEPT[word](value)
        if not kept:
            yield word


def _compared(under: Schema, over: Schema) -> list[str]:
    """The keywords that both have and of which one only can hold."""
    return [w for w in over if w in under and w not in _SILENT and w not in _UNITED]


def _bytes_compared(under: Schema, over: Schema) -> int:
    return sum(len(msgspec.json.encode(under[word])) for word in _compared(under, over))


def _contradicted(under: Schema, over: Schema) -> Iterator[str]:
    """What both schemas demand in different ways: one demand only is kept."""
    for word in _compared(under, over):
        differ = _differ if word == "properties" else operator.ne
        if differ(under[word], over[word]):
            yield word


def _differ(under: Any, over: Any) -> bool:
    """Whether both describe a property of the same name, in different ways."""
    if not isinstance(under, dict) or not isinstance(over, dict):
        return bool(under != over)
    return any(under[name] != over[name] for name in under.keys() & over.keys())


def _merge(under: Schema, over: Schema) -> Schema:
    """Both schemas in one; `over` wins, except that properties and required names are united."""
    both = {**under, **over}
    if isinstance(under.get("properties"), dict) and isinstance(over.get("properties"), dict):
        both["properties"] = {**over["properties"], **under["properties"], **over["properties"]}
    if isinstance(under.get("required"), list) and isinstance(over.get("required"), list):
        names = [n for n in (*over["required"], *under["required"]) if isinstance(n, str)]
        both["required"] = list(dict.fromkeys(names))
    return both


def _entries(schema: Schema) -> int:
    return sum(len(schema[k]) for k in _SIZED if isinstance(schema.get(k), dict | list))


def _type_of(schema: Schema) -> str | None:
    """The one type: as said, the first that is not null, or what the other keywords mean.

    None when nothing tells, and for null alone.
    """
    said = schema.get("type")
    for kind in said if isinstance(said, list) else [said]:
        if isinstance(kind, str) and kind in _TYPES:
            return kind
    if "properties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    for example in _allowed(schema):
        return _type_of_value(example)
    return None


def _type_of_value(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "number" if isinstance(value, float) else "string"


def _items_of(schema: Schema) -> Any:
    """The schema of an array's items; of a tuple's, the first."""
    items = schema.get("items")
    if isinstance(items, dict):
        return items
    several = items if isinstance(items, list) else schema.get("prefixItems")
    return several[0] if isinstance(several, list) and several else {}


def _allowed(schema: Schema) -> list[Any]:
    """The values of `enum` or `const`, without null."""
    values = schema.get("enum")
    if not isinstance(values, list):
        values = [schema["const"]] if "const" in schema else []
    return [value for value in values if value is not None]


def _put_format_and_enum(flat: Schema, done: Schema) -> None:
    """Values that are not strings cannot be an `enum` here: the description tells them instead."""
    if isinstance(flat.get("format"), str) and flat["format"] in _FORMATS:
        done["format"] = flat["format"]
    values = _allowed(flat)
    if not values:
        return
    if all(isinstance(value, str) for value in values):
        done["enum"] = values
        return
    told = "Allowed values: " + ", ".join(msgspec.json.encode(v).decode() for v in values) + "."
    before = done.get("description")
    done["description"] = f"{before} {told}" if isinstance(before, str) and before else told
