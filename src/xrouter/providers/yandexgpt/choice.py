"""Tools and their choice, checked against each other."""

from __future__ import annotations

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.tools import FunctionTool, ToolChoice, function_tools, tool_choice


def asked_tools(request: ChatRequest) -> tuple[list[FunctionTool], ToolChoice]:
    """The tools to send, and how they are to be used.

    `none` takes the tools away: told not to use them, the models write the call as text.
    Raises InvalidRequest when a tool is required, or named, that is not there.
    """
    choice = tool_choice(request)
    tools = [] if choice.mode == "none" else function_tools(request)
    missing = choice.mode == "required" and not tools
    if missing or (choice.mode == "named" and choice.name not in {tool.name for tool in tools}):
        param = "tool_choice" if request.tool_choice is not None else "function_call"
        raise InvalidRequest(
            f"'{param}' asks for a function that is not among the tools.",
            code="invalid_value",
            param=param,
        )
    return tools, choice
