"""Tools and tool choice, read once for all adapters.

Clients write them in several ways (nested, flat, the legacy `functions`); adapters get one.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest

ChoiceMode = Literal["auto", "none", "required", "named"]


class FunctionTool(Struct, frozen=True):
    """A function the model may call. `parameters` is its JSON schema, None for no arguments."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(Struct, frozen=True):
    """How the model is to use tools; `name` is set when `mode` is "named"."""

    mode: ChoiceMode
    name: str | None = None


def function_tools(request: ChatRequest) -> list[FunctionTool]:
    """The functions of `tools` (nested or flat) or of the legacy `functions`; [] for none.

    Raises InvalidRequest for tools that are not functions and for functions without a name.
    """
    if request.tools:
        return [_nested(tool, f"tools[{i}]") for i, tool in enumerate(request.tools)]
    return [_function(spec, f"functions[{i}]") for i, spec in enumerate(request.functions or [])]


def tool_choice(request: ChatRequest) -> ToolChoice:
    """The effective choice: `auto` when tools are given without a choice, `none` without tools."""
    choice = request.tool_choice if request.tool_choice is not None else request.function_call
    param = "tool_choice" if request.tool_choice is not None else "function_call"
    if choice is None:
        return ToolChoice("auto" if request.tools or request.functions else "none")
    if isinstance(choice, dict):
        return _named_choice(choice, param)
    mode: dict[str, ChoiceMode] = {
        "auto": "auto",
        "none": "none",
        "required": "required",
        "any": "required",
    }
    if choice not in mode:
        raise InvalidRequest(
            f"Invalid value for '{param}': '{choice}'. Use none, auto, required or a function.",
            code="invalid_value",
            param=param,
        )
    return ToolChoice(mode[choice])


def _named_choice(choice: dict[str, Any], param: str) -> ToolChoice:
    inner = choice.get("function")
    name = inner.get("name") if isinstance(inner, dict) else choice.get("name")
    if choice.get("type", "function") != "function" or not isinstance(name, str) or not name:
        raise InvalidRequest(
            f"'{param}' must name a function: {{'type': 'function', 'function': {{'name': ...}}}}.",
            code="invalid_value",
            param=param,
        )
    return ToolChoice("named", name)


def _nested(tool: dict[str, Any], where: str) -> FunctionTool:
    kind = tool.get("type", "function")
    if kind != "function":
        raise InvalidRequest(
            f"Tools of type '{kind}' are not supported by this model; only 'function' is.",
            code="unsupported_value",
            param=f"{where}.type",
        )
    inner = tool.get("function")
    return _function(inner if isinstance(inner, dict) else tool, f"{where}.function")


def _function(spec: dict[str, Any], where: str) -> FunctionTool:
    name, description, parameters = (spec.get(k) for k in ("name", "description", "parameters"))
    if not isinstance(name, str) or not name:
        raise InvalidRequest(
            f"Missing required parameter: '{where}.name'.",
            code="missing_required_parameter",
            param=f"{where}.name",
        )
    if parameters is not None and not isinstance(parameters, dict):
        raise InvalidRequest(
            f"'{where}.parameters' must be a JSON schema object.",
            code="invalid_type",
            param=f"{where}.parameters",
        )
    strict = spec.get("strict")
    return FunctionTool(
        name,
        description if isinstance(description, str) else None,
        parameters,
        strict if isinstance(strict, bool) else None,
    )
