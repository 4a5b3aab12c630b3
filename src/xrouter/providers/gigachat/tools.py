"""Tools in GigaChat's terms: flat functions and an explicit mode of calling them."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.tools import FunctionTool, ToolChoice, function_tools, tool_choice
from xrouter.providers.gigachat.names import upstream_name
from xrouter.providers.gigachat.schema import Budget, normalise

_OWN_KEYS = ("return_parameters", "few_shot_examples")
"""What GigaChat knows of a function besides OpenAI's keys; passed on as the client wrote it."""

_MUST_CALL = "Answer the last message by calling one of the functions, not with text."


class Tooling(Struct):
    """The request fields for tools, an instruction for the system text, and what was given up."""

    fields: dict[str, Any] = {}
    instruction: str | None = None
    dropped: list[str] = []


def read_tools(request: ChatRequest) -> Tooling:
    """Translate tools (or the legacy functions) and the tool choice. Raises InvalidRequest."""
    tools = function_tools(request)
    choice = tool_choice(request)
    if not tools:
        # Without functions "auto" would switch GigaChat's own ones on: it is not sent.
        if choice.mode in ("required", "named"):
            raise _bad_choice(request, "A tool choice needs tools to choose from.")
        return Tooling()
    budget = Budget()
    functions = [_function(request, index, tool, budget) for index, tool in enumerate(tools)]
    tooling = Tooling({"functions": functions})
    if any(tool.strict for tool in tools):
        tooling.dropped.append("tools.strict")
    _put_choice(request, choice, [tool.name for tool in tools], tooling)
    return tooling


def _put_choice(
    request: ChatRequest, choice: ToolChoice, names: list[str], tooling: Tooling
) -> None:
    if choice.mode == "named":
        if choice.name not in names:
            raise _bad_choice(request, f"There is no function '{choice.name}' among the tools.")
        tooling.fields["function_call"] = _forced(str(choice.name), request)
    elif choice.mode == "required" and len(names) == 1:
        tooling.fields["function_call"] = _forced(names[0], request)
    elif choice.mode == "required":
        # GigaChat cannot be forced to call any one of several functions; it is only asked to.
        tooling.fields["function_call"] = "auto"
        tooling.instruction = _MUST_CALL
        tooling.dropped.append("tool_choice")
    else:
        # Always said: the specification's default is "none", newer servers behave as "auto".
        tooling.fields["function_call"] = choice.mode


def _function(
    request: ChatRequest, index: int, tool: FunctionTool, budget: Budget
) -> dict[str, Any]:
    if request.tools:
        outer = request.tools[index]
        inner = outer.get("function")
        spec = inner if isinstance(inner, dict) else outer
        where = f"tools[{index}].function.parameters"
    else:
        spec = (request.functions or [])[index]
        where = f"functions[{index}].parameters"
    function: dict[str, Any] = {"name": upstream_name(tool.name)}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = normalise(tool.parameters, where, budget)
    function.update((key, spec[key]) for key in _OWN_KEYS if spec.get(key) is not None)
    return function


def _forced(name: str, request: ChatRequest) -> dict[str, Any]:
    """A forced call; `partial_arguments` is GigaChat's own addition to the legacy parameter."""
    forced: dict[str, Any] = {"name": upstream_name(name)}
    given = request.function_call
    if isinstance(given, dict) and isinstance(given.get("partial_arguments"), dict):
        forced["partial_arguments"] = given["partial_arguments"]
    return forced


def _bad_choice(request: ChatRequest, message: str) -> InvalidRequest:
    param = "tool_choice" if request.tool_choice is not None else "function_call"
    return InvalidRequest(message, code="invalid_value", param=param)
