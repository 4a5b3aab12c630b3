"""Where in the caller's body a thing of the chat body came from."""

from __future__ import annotations

import re

from msgspec import Struct

from xrouter.domain.errors import XRouterError

_INSIDE = re.compile(
    r"^(?P<list>messages|tools)\[(?P<number>\d+)\]"
    r"(?:\.(?P<inner>content|tool_calls)\[(?P<place>\d+)\])?(?P<rest>.*)$"
)
_NAMES = {
    "stop": "stop_sequences",
    "max_completion_tokens": "max_tokens",
    "response_format": "output_config.format",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "user": "metadata.user_id",
    "messages.reasoning_content": "messages.thinking",
    "messages.reasoning_details": "messages.thinking",
}
_RESTS = (
    (".function.arguments", ".input"),
    (".function.parameters", ".input_schema"),
    (".function.name", ".name"),
    (".function", ""),
    (".tool_call_id", ".tool_use_id"),
    (".image_url", ".source"),
    (".file", ".source"),
)


class Place(Struct):
    """Of one chat message: its own origin, and those of its content parts and calls."""

    origin: str
    parts: list[str] = []
    calls: list[str] = []


class Places(Struct):
    """By index in the chat body.

    effort, betas: the parameters that `reasoning_effort` and `betas` were made of.
    """

    messages: list[Place] = []
    tools: list[int] = []
    effort: str = "thinking"
    betas: str = "betas"

    def renamed(self, param: str) -> str:
        """The caller's name for a parameter of the chat body."""
        if param == "reasoning_effort":
            return self.effort
        if param == "betas":
            return self.betas
        found = _INSIDE.match(param)
        if found is not None:
            return self._inside(found) or param
        head = param.partition(".")[0]
        return _NAMES.get(param) or _NAMES.get(head) or param

    def retell(self, error: XRouterError) -> None:
        """Let an error speak of the caller's parameters."""
        if error.param is None:
            return
        name = self.renamed(error.param)
        error.message = error.message.replace(f"'{error.param}'", f"'{name}'")
        error.param = name

    def dropped(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The caller's names of parameters that were given up, each once."""
        return tuple(dict.fromkeys(self.renamed(name) for name in names))

    def _inside(self, found: re.Match[str]) -> str | None:
        number, rest = int(found["number"]), found["rest"]
        for theirs, ours in _RESTS:
            if rest.startswith(theirs):
                rest = ours
                break
        if found["list"] == "tools":
            return f"tools[{self.tools[number]}]{rest}" if number < len(self.tools) else None
        if number >= len(self.messages):
            return None
        message = self.messages[number]
        if found["inner"] is None:
            is_content = message.origin == "system" or message.origin.endswith(".content")
            return message.origin + (rest.removeprefix(".content") if is_content else rest)
        inner = message.parts if found["inner"] == "content" else message.calls
        place = int(found["place"])
        return inner[place] + rest if place < len(inner) else message.origin
