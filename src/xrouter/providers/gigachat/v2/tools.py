"""Tools in the second contract's terms: each is an object of one key, and a mode of calling."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from xrouter.domain.chat import ChatRequest
from xrouter.providers.gigachat.tools import Tooling, read_tools

_SEARCH = {"web_search": {"type": "actual_info_web_search"}}
_DRAW: dict[str, Any] = {"image_generate": {}}


class Toolbox(Struct, frozen=True):
    """The request's `tools` and `tool_config`, and what was given up.

    must_call: an answer without a call is none.
    """

    tools: list[dict[str, Any]] = []
    config: dict[str, Any] | None = None
    must_call: bool = False
    dropped: list[str] = []


def read_toolbox(request: ChatRequest, *, searching: bool) -> Toolbox:
    """Translate tools (or the legacy functions) and the tool choice. Raises InvalidRequest."""
    tooling = read_tools(request)
    own = [_SEARCH] if searching else []
    functions = tooling.fields.get("functions")
    if functions is None:
        own += [_DRAW] if tooling.fields else []
        return Toolbox(own, {"mode": "auto"} if own else None)
    dropped = list(tooling.dropped)
    if isinstance(tooling.fields["function_call"], dict):
        lost = "partial_arguments" in tooling.fields["function_call"]
        dropped += ["function_call.partial_arguments"] if lost else []
    config = _config(tooling, [function["name"] for function in functions])
    return Toolbox([_wrapped(functions), *own], config, config["mode"] == "any", dropped)


def forcing(function: dict[str, Any]) -> Toolbox:
    """One function that must be called."""
    return Toolbox([_wrapped([function])], {"mode": "forced", "function_name": function["name"]})


def _wrapped(functions: list[dict[str, Any]]) -> dict[str, Any]:
    return {"functions": {"specifications": functions}}


def _config(tooling: Tooling, names: list[str]) -> dict[str, Any]:
    """The mode, which is always said. Where the first contract asks by words, there is `any`."""
    choice = tooling.fields["function_call"]
    if isinstance(choice, dict):
        return {"mode": "forced", "function_name": choice["name"]}
    if tooling.instruction is not None:
        return {"mode": "any", "functions_names_any": names}
    return {"mode": choice}
