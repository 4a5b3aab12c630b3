"""The Responses API's names for what chat completions call otherwise."""

from __future__ import annotations

import re

_NAMES = {
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
    "logprobs": "top_logprobs",
}
_BEGINNINGS = (
    ("response_format.json_schema", "text.format"),
    ("response_format", "text.format"),
    ("tool_choice.function", "tool_choice"),
)
_TOOL = re.compile(r"^tools\[(?P<index>\d+)\](?:\.function)?")


def renamed(param: str | None, places: list[str]) -> str | None:
    """A parameter of chat completions by the name that the caller used.

    places: of the tools in the request. A message is not traced back to its items.
    """
    if param is None:
        return None
    if param.startswith("messages"):
        return "input"
    found = _TOOL.match(param)
    if found is not None and int(found["index"]) < len(places):
        return places[int(found["index"])] + param[found.end() :]
    for beginning, ours in _BEGINNINGS:
        if param == beginning or param.startswith(f"{beginning}."):
            return ours + param[len(beginning) :]
    return _NAMES.get(param, param)
