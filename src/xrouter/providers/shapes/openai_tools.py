"""Tools and tool choice for services that speak OpenAI's language, but not all of it.

Tools stay as the client wrote them, byte for byte, where they need no repair.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest

_KINDS = ("function", "custom")


def repair_tools(request: ChatRequest, body: dict[str, Any]) -> None:
    """Turn flat tools into nested ones, and a flat or foreign choice into OpenAI's."""
    if request.tools and any(_is_flat(tool) for tool in request.tools):
        body["tools"] = [_nested(tool) for tool in request.tools]
    choice = request.tool_choice
    if choice == "any":
        body["tool_choice"] = "required"
    elif isinstance(choice, dict) and _is_flat(choice):
        body["tool_choice"] = _nested(choice)


def narrow_tools(request: ChatRequest, body: dict[str, Any]) -> str | None:
    """For services that know no tool choice but words: leave only the tools that may be called.

    Takes `tool_choice` out of the body and returns the word that is left of it ("auto",
    "required"), or None when no tools are. Raises InvalidRequest for a choice of no tool at all.
    """
    body.pop("tool_choice", None)
    choice = request.tool_choice
    if choice == "none" or not request.tools:
        body.pop("tools", None)
        return None
    if not isinstance(choice, dict):
        return "required" if choice in ("required", "any") else "auto"
    names, mode = _chosen(choice)
    tools: list[Any] = msgspec.json.decode(msgspec.json.encode(body["tools"]), type=list[Raw])
    kept = [raw for raw, tool in zip(tools, request.tools, strict=True) if _name_of(tool) in names]
    missing = names - {_name_of(tool) for tool in request.tools}
    if missing or not kept:
        raise InvalidRequest(
            f"'tool_choice' names a function that is not in 'tools': {', '.join(sorted(missing))}.",
            code="invalid_value",
            param="tool_choice",
        )
    body["tools"] = kept
    return mode


def _chosen(choice: dict[str, Any]) -> tuple[set[str], str]:
    """The names a choice allows, and how: "auto" or "required"."""
    allowed = choice.get("allowed_tools")
    if choice.get("type") == "allowed_tools" and isinstance(allowed, dict):
        tools = allowed.get("tools")
        names = {_name_of(tool) for tool in tools} if isinstance(tools, list) else set()
        mode = "required" if allowed.get("mode") == "required" else "auto"
    else:
        names, mode = {_name_of(choice)}, "required"
    if not names or "" in names:
        raise InvalidRequest(
            "'tool_choice' must name a function: {'type': 'function', 'function': {'name': ...}}.",
            code="invalid_value",
            param="tool_choice",
        )
    return names, mode


def _name_of(tool: Any) -> str:
    """The name of a tool or of a choice, nested or flat; "" for none."""
    if not isinstance(tool, dict):
        return ""
    inner = tool.get("function")
    name = inner.get("name") if isinstance(inner, dict) else tool.get("name")
    return name if isinstance(name, str) else ""


def _is_flat(tool: dict[str, Any]) -> bool:
    kind = tool.get("type", "function")
    return kind in _KINDS and kind not in tool and isinstance(tool.get("name"), str)


def _nested(tool: dict[str, Any]) -> dict[str, Any]:
    if not _is_flat(tool):
        return tool
    kind = tool.get("type", "function")
    return {"type": kind, kind: {name: value for name, value in tool.items() if name != "type"}}
