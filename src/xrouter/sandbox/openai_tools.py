"""What the simulated OpenAI refuses in tools, their schemas, and the choice among them."""

from __future__ import annotations

import re
from typing import Any

from xrouter.sandbox.openai_errors import ApiError, invalid_type, invalid_value, missing

Body = dict[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_KINDS = ("function", "custom")
_MODES = ("none", "auto", "required")


def check_tools(body: Body) -> None:
    """Raise ApiError for the first tool, function or choice that is wrong."""
    tools, functions = body.get("tools") or [], body.get("functions") or []
    for index, tool in enumerate(tools):
        _check_tool(tool, f"tools[{index}]")
    for index, function in enumerate(functions):
        if not isinstance(function, dict):
            raise invalid_type(f"functions[{index}]", "an object", function)
        check_name(function.get("name"), f"functions[{index}].name")
    if body.get("tool_choice") is not None:
        _check_choice(body["tool_choice"], [tool[tool["type"]]["name"] for tool in tools])
    if body.get("function_call") is not None:
        known = [function["name"] for function in functions]
        _check_legacy_choice(body["function_call"], known)


def _check_choice(choice: Any, known: list[str]) -> None:
    if isinstance(choice, str):
        if choice not in _MODES:
            raise invalid_value("tool_choice", choice, _MODES)
        return
    if not isinstance(choice, dict):
        raise invalid_type("tool_choice", "one of a string or object", choice)
    if choice.get("type") != "allowed_tools":
        _check_named(choice, "tool_choice", known)
        return
    allowed = choice.get("allowed_tools")
    if not isinstance(allowed, dict) or not isinstance(allowed.get("tools"), list):
        raise missing("tool_choice.allowed_tools.tools")
    if allowed.get("mode") not in _MODES[1:]:
        raise invalid_value("tool_choice.allowed_tools.mode", allowed.get("mode"), _MODES[1:])
    for index, one in enumerate(allowed["tools"]):
        _check_named(one, f"tool_choice.allowed_tools.tools[{index}]", known)


def _check_named(choice: Any, param: str, known: list[str]) -> None:
    """A reference to one of the tools: {type, <type>: {name}}."""
    if not isinstance(choice, dict):
        raise invalid_type(param, "an object", choice)
    kind = choice.get("type")
    if kind not in _KINDS:
        raise invalid_value(f"{param}.type", kind, _KINDS)
    inner = choice.get(kind)
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise missing(f"{param}.{kind}.name")
    if inner["name"] not in known:
        raise _not_given(inner["name"], "tool_choice", "tools")


def _check_legacy_choice(choice: Any, known: list[str]) -> None:
    if isinstance(choice, str):
        if choice not in _MODES[:2]:
            raise invalid_value("function_call", choice, _MODES[:2])
        return
    if not isinstance(choice, dict):
        raise invalid_type("function_call", "one of a string or object", choice)
    if not isinstance(choice.get("name"), str):
        raise missing("function_call.name")
    if choice["name"] not in known:
        raise _not_given(choice["name"], "function_call", "functions")


def _not_given(name: str, param: str, where: str) -> ApiError:
    message = f"Invalid value for '{param}': no function named '{name}' is given in '{where}'."
    return ApiError(message, param=param)


def check_name(name: Any, param: str) -> None:
    """A name of a function or of a schema."""
    if not isinstance(name, str):
        raise missing(param)
    if not _NAME.match(name):
        raise ApiError(
            f"Invalid '{param}': string does not match pattern. Expected a string that matches the"
            " pattern '^[a-zA-Z0-9_-]+$'.",
            code="invalid_value",
            param=param,
        )


def check_strict(schema: Any, what: str, param: str, path: tuple[str, ...] = ()) -> None:
    """In a strict schema each object is closed and all its properties are required."""
    if not isinstance(schema, dict):
        return
    start = f"Invalid schema for {what}: In context={path!r}, "
    properties = schema.get("properties")
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            fault = "'additionalProperties' is required to be supplied and to be false."
            raise ApiError(start + fault, param=param)
        for name in properties or {}:
            if name not in (schema.get("required") or []):
                fault = (
                    "'required' is required to be supplied and to be an array including every key"
                    f" in properties. Missing '{name}'."
                )
                raise ApiError(start + fault, param=param)
    for name, inner in (properties or {}).items():
        check_strict(inner, what, param, (*path, "properties", name))
    if "items" in schema:
        check_strict(schema["items"], what, param, (*path, "items"))
    for name, inner in (schema.get("$defs") or {}).items():
        check_strict(inner, what, param, (*path, "$defs", name))


def _check_tool(tool: Any, param: str) -> None:
    if not isinstance(tool, dict):
        raise invalid_type(param, "an object", tool)
    kind = tool.get("type")
    if kind is None:
        raise missing(f"{param}.type")
    if kind not in ("function", "custom"):
        raise invalid_value(f"{param}.type", kind, ("function", "custom"))
    inner = tool.get(kind)
    if not isinstance(inner, dict):
        raise missing(f"{param}.{kind}")
    check_name(inner.get("name"), f"{param}.{kind}.name")
    schema = inner.get("parameters")
    if schema is not None and not isinstance(schema, dict):
        raise invalid_type(f"{param}.function.parameters", "an object", schema)
    if inner.get("strict"):
        check_strict(schema, f"function '{inner['name']}'", f"{param}.function.parameters")
