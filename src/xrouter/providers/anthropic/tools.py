"""Tools and their choice as Anthropic has them."""

from __future__ import annotations

from typing import Any

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.tools import FunctionTool, function_tools, tool_choice
from xrouter.providers.anthropic.schema import Fitting

_CHOICES = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
_OWN = (
    "cache_control", "defer_loading", "input_examples", "allowed_callers", "eager_input_streaming",
)  # fmt: skip
"""What only Anthropic knows of a tool; it travels through."""


def put_tools(request: ChatRequest, body: dict[str, Any], called: list[str]) -> set[str]:
    """Set `tools` and `tool_choice`; what was given up. called: by the history.

    Raises InvalidRequest when a choice has nothing to choose from.
    """
    tools = function_tools(request)
    choice = tool_choice(request)
    if not tools:
        if choice.mode in ("required", "named"):
            raise InvalidRequest(
                "A tool can be required only where there are 'tools'.",
                code="invalid_value",
                param="tool_choice" if request.tool_choice is not None else "function_call",
            )
        if called:  # a history with calls is not taken without tools: these cannot be called
            body["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in called]
            body["tool_choice"] = {"type": "none"}
        return set()
    given = request.tools or [{}] * len(tools)
    dropped: set[str] = set()
    body["tools"] = [_tool(*pair, dropped) for pair in zip(tools, given, strict=True)]
    asked: dict[str, Any] = {"type": _CHOICES[choice.mode]}
    if choice.name is not None:
        asked["name"] = choice.name
    if request.parallel_tool_calls is False and choice.mode != "none":
        asked["disable_parallel_tool_use"] = True
    if asked != {"type": "auto"}:
        body["tool_choice"] = asked
    return dropped


def _tool(tool: FunctionTool, given: dict[str, Any], dropped: set[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {}} | (tool.parameters or {})
    entry: dict[str, Any] = {"name": tool.name, "input_schema": schema}
    if tool.description:
        entry["description"] = tool.description
    if tool.strict:
        fitting = Fitting()
        fitted = fitting.fit(schema)
        if fitting.lossy:
            dropped.add("tools.function.strict")
        else:
            entry |= {"input_schema": fitted, "strict": True}
    return entry | {name: given[name] for name in _OWN if given.get(name) is not None}
