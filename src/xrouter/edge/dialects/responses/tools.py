"""The flat tools of the Responses API as those of chat completions, and calls back again.

Custom tools (free text instead of arguments) become functions with one text, `input`, for hardly
any provider has them. Tools that OpenAI itself would run are left out, and named as given up.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.errors import InvalidRequest
from xrouter.edge.mistakes import missing

_INPUT = "input"
_FREE_TEXT = {
    "type": "object",
    "properties": {_INPUT: {"type": "string", "description": "The input of the tool, as text."}},
    "required": [_INPUT],
    "additionalProperties": False,
}
_FUNCTION_KEYS = ("name", "description", "parameters", "strict")


class Tooling(Struct):
    """tools and choice: for chat completions. custom: names of custom tools.

    namespaces: by function name, where a tool came in a namespace. dropped: what was left out.
    """

    tools: list[dict[str, Any]] = []
    choice: str | dict[str, Any] | None = None
    custom: set[str] = set()
    namespaces: dict[str, str] = {}
    dropped: list[str] = []


def read_tools(tools: list[dict[str, Any]] | None, choice: str | dict[str, Any] | None) -> Tooling:
    """Translate. Raises InvalidRequest that names the tool at fault."""
    tooling = Tooling()
    for index, tool in enumerate(tools or ()):
        _read(tool, f"tools[{index}]", tooling)
    tooling.choice = _choice(choice, tooling)
    return tooling


def input_of(arguments: str) -> str:
    """The free text in the arguments of a custom tool's call; the arguments if they hold none."""
    try:
        parsed = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return arguments
    text = parsed.get(_INPUT) if isinstance(parsed, dict) else None
    return text if isinstance(text, str) else arguments


def arguments_of(text: str) -> str:
    """The reverse of `input_of`."""
    return msgspec.json.encode({_INPUT: text}).decode()


def _read(tool: dict[str, Any], where: str, tooling: Tooling) -> None:
    kind = tool.get("type")
    if kind == "function":
        tooling.tools.append(_function(tool, where))
    elif kind == "custom":
        _custom(tool, where, tooling)
    elif kind == "namespace":
        inner = tool.get("tools")
        for index, each in enumerate(inner if isinstance(inner, list) else ()):
            if not isinstance(each, dict):
                raise missing(f"{where}.tools[{index}].type")
            before = len(tooling.tools)
            _read(each, f"{where}.tools[{index}]", tooling)
            for made in tooling.tools[before:]:
                tooling.namespaces[made["function"]["name"]] = str(tool.get("name"))
    elif kind is None:
        raise missing(f"{where}.type")
    else:
        tooling.dropped.append(f"{where}.{str(kind)[:40]}")


def _function(tool: dict[str, Any], where: str) -> dict[str, Any]:
    nested = tool.get("function")
    flat = nested if isinstance(nested, dict) else tool  # many clients nest it, as in chat
    if not isinstance(flat.get("name"), str) or not flat["name"]:
        raise missing(f"{where}.name")
    function = {key: flat[key] for key in _FUNCTION_KEYS if flat.get(key) is not None}
    return {"type": "function", "function": function}


def _custom(tool: dict[str, Any], where: str, tooling: Tooling) -> None:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise missing(f"{where}.name")
    given_description = tool.get("description")
    described = given_description if isinstance(given_description, str) else ""
    form = tool.get("format")
    if isinstance(form, dict) and form.get("type") == "grammar":
        described += f"\n\nThe input must follow this grammar:\n{form.get('definition', '')}"
        tooling.dropped.append(f"{where}.format")
    function = {"name": name, "description": described, "parameters": _FREE_TEXT}
    tooling.tools.append({"type": "function", "function": function})
    tooling.custom.add(name)


def _choice(choice: str | dict[str, Any] | None, tooling: Tooling) -> str | dict[str, Any] | None:
    if choice is None or isinstance(choice, str):
        return choice if tooling.tools else None
    kind = choice.get("type")
    if kind in ("function", "custom"):
        return {"type": "function", "function": {"name": choice.get("name")}}
    if kind == "allowed_tools":
        return _allowed(choice, tooling)
    raise InvalidRequest(
        f"The tool choice '{str(kind)[:40]}' is not supported: only functions can be called here.",
        code="unsupported_value",
        param="tool_choice",
    )


def _allowed(choice: dict[str, Any], tooling: Tooling) -> str:
    """Only some of the tools may be called: the others are not offered."""
    given = choice.get("tools")
    listed = [tool for tool in given if isinstance(tool, dict)] if isinstance(given, list) else []
    names = {str(tool.get("name")) for tool in listed}
    tooling.tools = [tool for tool in tooling.tools if tool["function"]["name"] in names]
    if not tooling.tools:
        raise InvalidRequest(
            "'tool_choice.tools' names none of the tools.",
            code="invalid_value",
            param="tool_choice.tools",
        )
    return str(choice.get("mode") or "auto")
