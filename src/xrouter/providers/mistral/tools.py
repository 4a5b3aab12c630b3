"""Tools and tool choice: OpenAI's and the legacy shapes to the provider's."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.tools import FunctionTool, function_tools
from xrouter.providers.mistral.content import Dropped, Part, keep
from xrouter.providers.mistral.messages import CUSTOM_INPUT
from xrouter.providers.mistral.schema import inlined

NATIVE = frozenset({"image_generation", "document_library", "connector"})
"""Types of tools that are the provider's own; they go out as they came."""

_NO_ARGUMENTS: Part = {"type": "object", "properties": {}}
_STAND_IN: Part = {"type": "function", "function": {"name": "-"}}
_FUNCTION = frozenset({"name", "description", "parameters", "strict"})
_CUSTOM = frozenset({"name", "description", "format"})
_MODES = {"auto": "auto", "none": "none", "required": "any", "any": "any"}


class Tooling(Struct):
    """fields: of the body. custom: names of functions that stand for custom tools.

    legacy: the answer goes back as `function_call`. only_one: no second call may come back.
    alone: the one tool that is named by the choice, None where it names none.
    """

    fields: Part = {}
    custom: frozenset[str] = frozenset()
    legacy: bool = False
    only_one: bool = False
    alone: Part | None = None


def tooling_of(request: ChatRequest, dropped: Dropped) -> Tooling:
    """Read `tools`, `tool_choice`, `parallel_tool_calls` and the legacy fields."""
    legacy = not request.tools and bool(request.functions)
    custom: set[str] = set()
    if request.tools:
        tools = _nested(request, request.tools, custom, dropped)
    else:
        tools = [_function(one) for one in function_tools(request)]
    choice = request.function_call if legacy else request.tool_choice
    param = "function_call" if legacy else "tool_choice"
    if not tools:
        if choice not in (None, "auto", "none"):
            raise _wrong(param, f"'{param}' is only allowed when 'tools' are specified.")
        return Tooling()
    tooling = Tooling({"tools": tools}, frozenset(custom), legacy=legacy)
    if choice is not None:
        _choose(tooling, choice, param)
    if request.parallel_tool_calls is not None and not legacy:
        tooling.fields["parallel_tool_calls"] = request.parallel_tool_calls
    elif legacy:
        tooling.fields["parallel_tool_calls"] = False
    tooling.only_one = tooling.fields.get("parallel_tool_calls") is False
    return tooling


def _nested(
    request: ChatRequest, given: list[Part], custom: set[str], dropped: Dropped
) -> list[Part]:
    kinds = [tool.get("type", "function") for tool in given]
    others = ("custom", *NATIVE)
    plain = [_STAND_IN if kind in others else tool for kind, tool in zip(kinds, given, strict=True)]
    functions = function_tools(msgspec.structs.replace(request, tools=plain))
    tools: list[Part] = []
    for index, (kind, tool) in enumerate(zip(kinds, given, strict=True)):
        if kind in NATIVE:
            tools.append(tool)
        elif kind == "custom":
            tools.append(_custom(tool, f"tools[{index}]", custom, dropped))
        else:
            _note_strange(tool, dropped)
            tools.append(_function(functions[index]))
    return tools


def _note_strange(tool: Part, dropped: Dropped) -> None:
    """Fields that a function does not have; a flat tool is one without the layer between."""
    inner = tool.get("function")
    if isinstance(inner, dict):
        keep(tool, frozenset({"type", "function"}), "tools", dropped)
        keep(inner, _FUNCTION, "tools.function", dropped)
    else:
        keep(tool, _FUNCTION | {"type"}, "tools", dropped)


def _function(function: FunctionTool) -> Part:
    """`parameters` must be there, also for a function without any."""
    inner: Part = {"name": function.name}
    if function.description is not None:
        inner["description"] = function.description
    if function.strict is not None:
        inner["strict"] = function.strict
    inner["parameters"] = inlined(function.parameters) if function.parameters else _NO_ARGUMENTS
    return {"type": "function", "function": inner}


def _custom(given: Part, where: str, custom: set[str], dropped: Dropped) -> Part:
    """A function with one text; a grammar cannot be enforced, so it is only told."""
    nested = given.get("custom")
    spec = nested if isinstance(nested, dict) else given
    kept = keep(spec, _CUSTOM | {"type"}, "tools.custom", dropped)
    name = kept.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(
            f"Missing required parameter: '{where}.custom.name'.",
            code="missing_required_parameter",
            param=f"{where}.custom.name",
        )
    told = [str(kept["description"])] if kept.get("description") else []
    form = kept.get("format")
    if isinstance(form, dict) and form.get("type") != "text":
        dropped.add("tools.custom.format")
        told.append(f"The input has this form: {msgspec.json.encode(form).decode()}")
    custom.add(name)
    parameters = {
        "type": "object",
        "properties": {CUSTOM_INPUT: {"type": "string"}},
        "required": [CUSTOM_INPUT],
    }
    return _function(FunctionTool(name, "\n\n".join(told) or None, parameters))


def _choose(tooling: Tooling, choice: Any, param: str) -> None:
    tools: list[Part] = tooling.fields["tools"]
    if isinstance(choice, str):
        if choice not in _MODES:
            raise _wrong(
                param,
                f"Invalid value for '{param}': '{choice[:40]}'. Use none, auto, required or a "
                "function.",
            )
        tooling.fields["tool_choice"] = _MODES[choice]
        return
    allowed = choice.get("allowed_tools") if choice.get("type") == "allowed_tools" else None
    if isinstance(allowed, dict):
        items = allowed.get("tools")
        names = [_name_of(one) for one in items] if isinstance(items, list) else []
        known = {name: _found(tools, name, param) for name in names}
        tooling.fields["tools"] = [tool for tool in tools if _name_of(tool) in known]
        if not tooling.fields["tools"]:
            raise _wrong(param, f"'{param}' allows no tool at all.")
        tooling.fields["tool_choice"] = "any" if allowed.get("mode") == "required" else "auto"
        return
    name = _name_of(choice)
    tooling.alone = _found(tools, name, param)
    tooling.fields["tool_choice"] = {"type": "function", "function": {"name": name}}


def _found(tools: list[Part], name: str, param: str) -> Part:
    for tool in tools:
        if name and _name_of(tool) == name:
            return tool
    raise _wrong(param, f"'{param}' names a function that is not in 'tools': '{name[:64]}'.")


def _name_of(tool: Any) -> str:
    """The name of a tool or of a choice, nested or flat; "" for none."""
    if not isinstance(tool, dict):
        return ""
    nested = tool.get("function") or tool.get("custom")
    name = (nested if isinstance(nested, dict) else tool).get("name")
    return name if isinstance(name, str) else ""


def _wrong(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_value", param=param)
