"""Anthropic's tools and tool choice as those of chat completions."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from xrouter.domain.errors import InvalidRequest
from xrouter.edge.mistakes import invalid_value, missing

_MODES = {"auto": "auto", "any": "required", "none": "none"}
_READ = frozenset({"name", "description", "input_schema", "strict", "type", "cache_control"})


class Tooling(Struct):
    """tools, choice and parallel: for chat completions, None where nothing is to be said.

    origins: of each tool, its index in the caller's list. dropped: what was left out.
    """

    tools: list[dict[str, Any]] = []
    choice: str | dict[str, Any] | None = None
    parallel: bool | None = None
    origins: list[int] = []
    dropped: list[str] = []


def read_tools(
    tools: list[dict[str, Any]] | None, choice: dict[str, Any] | None, *, marks: bool
) -> Tooling:
    """Translate. marks: marks of the prompt cache stay. Raises InvalidRequest.

    Tools that Anthropic itself defines or runs are left out: no other provider has them.
    """
    tooling = Tooling()
    for index, tool in enumerate(tools or ()):
        kind = tool.get("type")
        if kind is None or kind == "custom":
            tooling.tools.append(_custom(tool, f"tools[{index}]", tooling, marks=marks))
            tooling.origins.append(index)
        else:
            tooling.dropped.append(f"tools[{index}].{str(kind)[:40]}")
    if choice is not None:
        _choose(choice, tooling)
    return tooling


def _custom(tool: dict[str, Any], where: str, tooling: Tooling, *, marks: bool) -> dict[str, Any]:
    name, schema = tool.get("name"), tool.get("input_schema")
    if not isinstance(name, str) or not name:
        raise missing(f"{where}.name")
    if schema is None:
        raise missing(f"{where}.input_schema")
    if not isinstance(schema, dict):
        raise InvalidRequest(
            f"Invalid type for '{where}.input_schema': expected an object.",
            code="invalid_type",
            param=f"{where}.input_schema",
        )
    function: dict[str, Any] = {"name": name, "parameters": schema}
    if tool.get("description") is not None:
        function["description"] = tool["description"]
    if tool.get("strict"):
        function["strict"] = True
    made: dict[str, Any] = {"type": "function", "function": function}
    if tool.get("cache_control") is not None:
        if marks:
            made["cache_control"] = tool["cache_control"]
        else:
            tooling.dropped.append("cache_control")
    tooling.dropped += [f"tools.{key[:40]}" for key in tool if key not in _READ and tool[key]]
    return made


def _choose(choice: dict[str, Any], tooling: Tooling) -> None:
    kind, name = str(choice.get("type")), choice.get("name")
    if kind != "tool" and kind not in _MODES:
        raise invalid_value(
            "Invalid value for 'tool_choice.type'. Supported values are: 'auto', 'any', 'tool', "
            "'none'.",
            param="tool_choice.type",
        )
    names = {tool["function"]["name"] for tool in tooling.tools}
    if kind == "tool" and (not isinstance(name, str) or name not in names):
        raise invalid_value(
            "'tool_choice.name' names none of the tools that can be called here.",
            param="tool_choice.name",
        )
    if not names:
        if kind == "any":
            raise invalid_value(
                "'tool_choice' asks for a call, but there is no tool that can be called here.",
                param="tool_choice",
            )
        return
    named = {"type": "function", "function": {"name": name}}
    tooling.choice = named if kind == "tool" else _MODES[kind]
    if choice.get("disable_parallel_tool_use") is True:
        tooling.parallel = False
