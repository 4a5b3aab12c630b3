"""The flat tools of the Responses API as those of chat completions, and calls back again.

Custom tools (free text instead of arguments) become functions with one text, `input`, for hardly
any provider has them. Tools that OpenAI itself would run are left out, and named as given up.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.errors import InvalidRequest
from xrouter.edge.mistakes import invalid_value, missing

_INPUT = "input"
_FREE_TEXT = {
    "type": "object",
    "properties": {_INPUT: {"type": "string", "description": "The input of the tool, as text."}},
    "required": [_INPUT],
    "additionalProperties": False,
}
_FUNCTION_KEYS = ("name", "description", "parameters", "strict")
_CUSTOM_KEYS = ("name", "description", "format")
_MODES = ("auto", "required")
_CHOICES = ("none", "auto", "required", "any")
_SHOWN = 40


class Tooling(Struct):
    """tools and choice: for chat completions; places: of each of the tools in the request.

    custom: names of custom tools. namespaces: by function name, where a tool came in a namespace.
    dropped: what was left out.
    """

    tools: list[dict[str, Any]] = []
    places: list[str] = []
    choice: str | dict[str, Any] | None = None
    custom: set[str] = set()
    namespaces: dict[str, str] = {}
    dropped: list[str] = []

    @property
    def names(self) -> list[str]:
        """Of the tools that are offered."""
        return [tool["function"]["name"] for tool in self.tools]


def read_tools(tools: list[dict[str, Any]] | None, choice: str | dict[str, Any] | None) -> Tooling:
    """Translate. Raises InvalidRequest that names the tool at fault."""
    reader = _Reader()
    for index, tool in enumerate(tools or ()):
        reader.read(tool, f"tools[{index}]", None)
    tooling = reader.tooling
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


class _Reader:
    """Reads tool by tool. A name leads back to one tool: its kind and its namespace."""

    def __init__(self) -> None:
        self.tooling = Tooling()
        self._owners: dict[str, tuple[str, str | None]] = {}

    def read(self, tool: dict[str, Any], where: str, namespace: str | None) -> None:
        kind = tool.get("type")
        if kind == "function":
            self._function(tool, where, namespace)
        elif kind == "custom":
            self._custom(tool, where, namespace)
        elif kind == "namespace" and namespace is None:
            self._namespace(tool, where)
        elif kind is None:
            raise missing(f"{where}.type")
        else:
            self.tooling.dropped.append(f"{where}.{str(kind)[:_SHOWN]}")

    def _namespace(self, tool: dict[str, Any], where: str) -> None:
        name, inner = _name(tool, where), tool.get("tools")
        if not isinstance(inner, list):
            raise _no_list(f"{where}.tools") if inner is not None else missing(f"{where}.tools")
        for index, each in enumerate(inner):
            if not isinstance(each, dict):
                raise missing(f"{where}.tools[{index}].type")
            self.read(each, f"{where}.tools[{index}]", name)
        self._leave_out(tool, where, ("name", "tools"))

    def _function(self, tool: dict[str, Any], where: str, namespace: str | None) -> None:
        nested = tool.get("function")
        flat = nested if isinstance(nested, dict) else tool  # many clients nest it, as in chat
        function = {key: flat[key] for key in _FUNCTION_KEYS if flat.get(key) is not None}
        self._add(_name(flat, where), function, where, ("function", namespace))
        self._leave_out(flat, where, _FUNCTION_KEYS)

    def _custom(self, tool: dict[str, Any], where: str, namespace: str | None) -> None:
        name, given = _name(tool, where), tool.get("description")
        described = given if isinstance(given, str) else ""
        form = tool.get("format")
        if isinstance(form, dict) and form.get("type") == "grammar":
            described += f"\n\nThe input must follow this grammar:\n{form.get('definition', '')}"
            self.tooling.dropped.append(f"{where}.format")
        function = {"name": name, "description": described, "parameters": _FREE_TEXT}
        self._add(name, function, where, ("custom", namespace))
        self._leave_out(tool, where, _CUSTOM_KEYS)
        self.tooling.custom.add(name)

    def _add(
        self, name: str, function: dict[str, Any], where: str, owner: tuple[str, str | None]
    ) -> None:
        if self._owners.setdefault(name, owner) != owner:
            raise invalid_value(
                f"Invalid '{where}.name': another tool is called '{name[:_SHOWN]}', too, and a "
                "call could not be told from one of that.",
                param=f"{where}.name",
            )
        if owner[1] is not None:
            self.tooling.namespaces[name] = owner[1]
        self.tooling.tools.append({"type": "function", "function": function})
        self.tooling.places.append(where)

    def _leave_out(self, tool: dict[str, Any], where: str, known: tuple[str, ...]) -> None:
        """Name what is said of a tool and nobody reads."""
        self.tooling.dropped += [
            f"{where}.{key[:_SHOWN]}"
            for key, value in tool.items()
            if key not in (*known, "type", "function") and value not in (None, False)
        ]


def _name(tool: dict[str, Any], where: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise missing(f"{where}.name")
    return name


def _no_list(where: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid type for '{where}': expected an array.", code="invalid_type", param=where
    )


def _choice(choice: str | dict[str, Any] | None, tooling: Tooling) -> str | dict[str, Any] | None:
    if choice is None:
        return None
    if isinstance(choice, str):
        return _mode(choice, tooling)
    kind = choice.get("type")
    if kind in ("function", "custom"):
        nested = choice.get("function")  # as in chat
        name = (nested if isinstance(nested, dict) else choice).get("name")
        if name not in tooling.names:
            raise invalid_value(
                "'tool_choice' names none of the tools that can be called here.",
                param="tool_choice",
            )
        return {"type": "function", "function": {"name": name}}
    if kind == "allowed_tools":
        return _allowed(choice, tooling)
    raise InvalidRequest(
        f"The tool choice '{str(kind)[:_SHOWN]}' is not supported: only functions can be called "
        "here.",
        code="unsupported_value",
        param="tool_choice",
    )


def _mode(choice: str, tooling: Tooling) -> str | None:
    if tooling.tools:
        return choice
    if choice not in _CHOICES:
        raise invalid_value(
            "Invalid value for 'tool_choice': use none, auto, required or a function.",
            param="tool_choice",
        )
    if choice in ("required", "any"):
        raise invalid_value(
            "'tool_choice' demands a call, but there is no tool that can be called here.",
            param="tool_choice",
        )
    return None


def _allowed(choice: dict[str, Any], tooling: Tooling) -> str:
    """Only some of the tools may be called: the others are not offered."""
    mode = choice.get("mode")
    if mode is not None and mode not in _MODES:
        raise invalid_value(
            "'tool_choice.mode' must be 'auto' or 'required'.", param="tool_choice.mode"
        )
    given = choice.get("tools")
    if not isinstance(given, list):
        where = "tool_choice.tools"
        raise _no_list(where) if given is not None else missing(where)
    names = {tool["name"] for tool in given if _has_name(tool)}
    offered = [
        (tool, place)
        for tool, place in zip(tooling.tools, tooling.places, strict=True)
        if tool["function"]["name"] in names
    ]
    if not offered:
        raise invalid_value(
            "'tool_choice.tools' names none of the tools.", param="tool_choice.tools"
        )
    known = tooling.names
    tooling.dropped += [
        f"tool_choice.tools[{index}]"
        for index, tool in enumerate(given)
        if not _has_name(tool) or tool["name"] not in known
    ]
    tooling.tools = [tool for tool, _ in offered]
    tooling.places = [place for _, place in offered]
    return mode or "auto"


def _has_name(tool: Any) -> bool:
    return isinstance(tool, dict) and isinstance(tool.get("name"), str)
