"""What the simulated GigaChat refuses in function definitions: it knows a part of JSON schema."""

from __future__ import annotations

from typing import Any

from xrouter.sandbox.gigachat.errors import Refusal, invalid

DEPTH_MAX = 32
_TYPES = ("object", "array", "string", "integer", "number", "boolean")
_FORMATS = ("date", "date-time", "time")
_UNKNOWN = ("$ref", "$defs", "definitions", "anyOf", "oneOf", "allOf", "not")


def check_functions(body: dict[str, Any]) -> None:
    """Raise Refusal for the first function that is wrong, or a call of one that is not there."""
    _check_choice(body.get("function_call"), names_of(body.get("functions")))


def names_of(functions: Any) -> set[str]:
    """The names of functions. Raises Refusal for the first that is wrong."""
    if functions is not None and not isinstance(functions, list):
        raise invalid("functions must be an array")
    for function in functions or []:
        check_function(function)
    names = {function["name"] for function in functions or []}
    if len(names) != len(functions or []):
        raise invalid("function names must be unique")
    return names


def _check_choice(choice: Any, names: set[str]) -> None:
    if choice is None or choice in ("none", "auto"):
        return
    if not isinstance(choice, dict):
        raise invalid("function_call must be none, auto or an object")
    if not isinstance(choice.get("name"), str) or choice["name"] not in names:
        raise invalid(f"function_call: function {choice.get('name')!r} is not in functions")
    if not isinstance(choice.get("partial_arguments", {}), dict):
        raise invalid("function_call.partial_arguments must be an object")


def check_function(function: Any) -> None:
    """Raise Refusal for a definition that is wrong."""
    if not isinstance(function, dict):
        raise invalid("a function must be an object")
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise invalid("function name is required")
    if not isinstance(function.get("parameters"), dict):
        raise invalid(f"parameters of function {function['name']} are required")
    _check_schema(function["parameters"], "", 0)
    if function.get("return_parameters") is not None:
        _check_schema(function["return_parameters"], "", 0)
    for shot in function.get("few_shot_examples") or []:
        good = isinstance(shot, dict) and isinstance(shot.get("request"), str)
        if not good or not isinstance(shot.get("params"), dict):
            raise invalid("few_shot_examples need request and params")


def _check_schema(schema: Any, place: str, depth: int) -> None:
    """place: the path of the schema, with a dot at its end unless it is the root."""
    if not isinstance(schema, dict):
        raise _field(place.rstrip("."), "must be an object")
    if depth > DEPTH_MAX:
        raise _field(place.rstrip("."), "is nested too deep")
    for name in _UNKNOWN:
        if name in schema:
            raise _field(f"{place}{name}", "is not supported")
    kind = schema.get("type")
    if kind is None:
        raise _field(f"{place}type", "is missing")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise _field(f"{place}type", f"must be one of {', '.join(_TYPES)}")
    if kind == "object":
        _check_object(schema, place, depth)
    elif kind == "array":
        if "items" not in schema:
            raise _field(f"{place}items", "is missing")
        _check_schema(schema["items"], f"{place}items.", depth + 1)
    else:
        _check_leaf(schema, place)


def _check_object(schema: dict[str, Any], place: str, depth: int) -> None:
    properties = schema.get("properties")
    if properties is None:
        raise _field(f"{place}properties", "is missing")
    if not isinstance(properties, dict):
        raise _field(f"{place}properties", "must be an object")
    for name, inner in properties.items():
        _check_schema(inner, f"{place}properties.{name}.", depth + 1)


def _check_leaf(schema: dict[str, Any], place: str) -> None:
    options = schema.get("enum", [])
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise _field(f"{place}enum", "must be an array of strings")
    if schema.get("format", "date") not in _FORMATS:
        raise _field(f"{place}format", f"must be one of {', '.join(_FORMATS)}")


def _field(path: str, trouble: str) -> Refusal:
    return Refusal(422, f"Field '{path}' {trouble}")
