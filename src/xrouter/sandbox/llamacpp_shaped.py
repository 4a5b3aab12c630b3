"""What the simulated model says where only JSON of a schema is grammatical."""

from __future__ import annotations

from typing import Any

from xrouter.sandbox.schema import example

_RESULT = "tool result"


def shaped(schema: dict[str, Any], asked: str, said: str) -> Any:
    """JSON of the schema. Of alternatives it is the one that the user speaks of, else the last.

    A user speaks of an alternative by naming a constant in it, in the last paragraph, but not when
    he tells a result. An object of nothing but one free text says what would be said without a
    schema.
    """
    asked = asked.rpartition("\n\n")[2]
    parts = schema.get("anyOf")
    chosen = schema
    if isinstance(parts, list) and _constants(parts):
        named = [part for part in parts if _named(part, asked)]
        chosen = (named or parts[-1:])[0]
    rooted = _narrowed(chosen, asked) | {"$defs": schema.get("$defs", {})}
    value = example(rooted)
    properties = rooted.get("properties")
    if isinstance(properties, dict) and [*properties.values()] == [{"type": "string"}]:
        return dict.fromkeys(properties, said)
    return value


def _narrowed(schema: Any, asked: str) -> Any:
    """The schema with lists of as many items as alternatives are named, one for each."""
    if not isinstance(schema, dict):
        return schema
    made = {name: _narrowed(part, asked) for name, part in schema.items()}
    parts = schema.get("anyOf")
    if isinstance(parts, list):
        named = [part for part in parts if _named(part, asked)]
        return (named or parts)[0]
    return made


def _named(schema: Any, asked: str) -> bool:
    if asked.lower().startswith(_RESULT):
        return False
    return any(constant in asked for constant in _constants(schema))


def _constants(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [one for part in schema for one in _constants(part)]
    if not isinstance(schema, dict):
        return []
    found = [schema["const"]] if isinstance(schema.get("const"), str) else []
    return found + [one for part in schema.values() for one in _constants(part)]
