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

_MAX_LOST = 32
_MAX_NAME = 40
_KNOWN_KEYS = frozenset({"type", "function", "name", "description", "parameters", "strict"})

_MUST_CALL = "Answer the last message by calling one of the functions, not with text."


class Tooling(Struct):
    """The request fields for tools, an instruction for the system text, and what was given up.

    instruction: set where a call is required that GigaChat cannot be forced to make.
    """

    fields: dict[str, Any] = {}
    instruction: str | None = None
    dropped: list[str] = []


def read_tools(request: ChatRequest) -> Tooling:
    """Translate tools (or the legacy functions) and the tool choice. Raises InvalidRequest."""
    tools = function_tools(request)
    choice = tool_choice(request)
    draws = "image" in (request.modalities or ())
    if not tools:
        if choice.mode in ("required", "named"):
            raise _bad_choice(request, "A tool choice needs tools to choose from.")
        # Without functions "auto" switches GigaChat's own ones on: only for who asks for them.
        own = draws or request.function_call == "auto"
        return Tooling({"function_call": "auto"} if own else {})
    if draws:
        raise InvalidRequest(
            "GigaChat draws only in requests without tools.",
            code="unsupported_value",
            param="modalities",
        )
    budget = Budget()
    lost: dict[str, None] = {}
    functions = [_function(request, index, tool, budget, lost) for index, tool in enumerate(tools)]
    tooling = Tooling({"functions": functions}, dropped=list(lost))
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
        # GigaChat cannot be forced to call any one of several functions: it is asked to, and the
        # answer is checked.
        tooling.fields["function_call"] = "auto"
        tooling.instruction = _MUST_CALL
    else:
        # Always said: the specification's default is "none", newer servers behave as "auto".
        tooling.fields["function_call"] = choice.mode


def _function(
    request: ChatRequest, index: int, tool: FunctionTool, budget: Budget, lost: dict[str, None]
) -> dict[str, Any]:
    """One function. lost: gets the paths of what it cannot keep."""
    if request.tools:
        outer = request.tools[index]
        inner = outer.get("function")
        spec = inner if isinstance(inner, dict) else outer
        root, where = "tools", f"tools[{index}].function.parameters"
    else:
        spec = outer = (request.functions or [])[index]
        root, where = "functions", f"functions[{index}].parameters"
    function: dict[str, Any] = {"name": upstream_name(tool.name)}
    if tool.description is not None:
        function["description"] = tool.description
    words: dict[str, None] = {}
    function["parameters"] = normalise(tool.parameters, where, budget, words)
    function.update((key, spec[key]) for key in _OWN_KEYS if spec.get(key) is not None)
    paths = ["strict"] if tool.strict else []
    paths += [
        key[:_MAX_NAME]
        for key in {**outer, **spec}
        if key not in _KNOWN_KEYS and key not in _OWN_KEYS and {**outer, **spec}[key] is not None
    ]
    paths += [f"parameters.{word}" for word in words]
    lost.update(dict.fromkeys([f"{root}.{path}" for path in paths][:_MAX_LOST]))
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
