"""Chat templates of models that the simulated llama.cpp servers have: what they demand and make."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from xrouter.sandbox.generate import text_of
from xrouter.sandbox.llamacpp_errors import ServerError

Messages = list[dict[str, Any]]

_TURNS = "Conversation roles must alternate user/assistant/user/assistant/..."
_TURNS_BESIDE_TOOLS = (
    "After the optional system message, conversation roles must alternate"
    " user/assistant/user/assistant/..."
)
_NINE = "Tool call IDs should be alphanumeric strings with length 9!"
_NO_SYSTEM = "System role not supported"
_ID_LENGTH = 9


class Template(Struct, frozen=True):
    """What a template takes. The default takes everything (ChatML with tools).

    system: has a role for it. joins: puts the system's text before the first turn. turns: demands
    user and assistant in turns. tools: knows them; where it does, they do not count as turns.
    nine: ids of calls have nine characters. typed: takes content in parts.
    """

    system: bool = True
    joins: bool = False
    turns: bool = False
    tools: bool = True
    nine: bool = False
    typed: bool = False

    @property
    def source(self) -> str:
        """Its text, as far as it tells anything."""
        parts = ["{% for message in messages %}...{% endfor %}"]
        parts += ["{% if tools %}...{% endif %}"] * self.tools
        said = [] if self.system else [_NO_SYSTEM]
        if self.turns:
            said.append(_TURNS_BESIDE_TOOLS if self.tools else _TURNS)
        said += [_NINE] * self.nine
        return "\n".join([*parts, *(f"{{{{ raise_exception('{words}') }}}}" for words in said)])

    @property
    def caps(self) -> dict[str, bool]:
        """`chat_template_caps` of /props."""
        return {
            "supports_string_content": True,
            "supports_typed_content": self.typed,
            "supports_tools": self.tools,
            "supports_tool_calls": self.tools,
            "supports_parallel_tool_calls": self.tools,
            "supports_system_role": self.system,
            "supports_preserve_reasoning": False,
            "supports_reasoning_effort": False,
            "supports_object_arguments": self.tools,
        }

    def check(self, messages: Messages) -> None:
        """Raise ServerError for an order, or an id, that it does not take."""
        turns = self._merged(messages)
        if self.turns:
            if turns and turns[0]["role"] == "system":
                turns = turns[1:]
            self._check_turns(turns)
        if self.nine:
            for message in turns:
                ids = [call.get("id") for call in calls_of(message)]
                ids += [message.get("tool_call_id")] * (message["role"] == "tool")
                if any(len(one or "") != _ID_LENGTH for one in ids):
                    raise _raised(_NINE)

    def _check_turns(self, turns: Messages) -> None:
        counted = [m for m in turns if not (self.tools and _is_of_tools(m))]
        for place, message in enumerate(counted):
            if (message["role"] == "user") != (place % 2 == 0):
                raise _raised(_TURNS_BESIDE_TOOLS if self.tools else _TURNS)

    def render(self, messages: Messages, tools: Any) -> str:
        """The prompt; a last assistant message stays open."""
        turns = self._merged(messages)
        made = []
        if tools and self.tools:
            listed = "\n".join(msgspec.json.encode(tool).decode() for tool in tools)
            made.append(f"<|im_start|>system\n# Tools\n{listed}<|im_end|>\n")
        prefix = ""
        if self.joins and turns and turns[0]["role"] == "system":
            prefix, turns = f"{text_of(turns[0].get('content'))}\n\n", turns[1:]
        for message in turns:
            calls = calls_of(message) if self.tools else []
            told = [msgspec.json.encode(call["function"]).decode() for call in calls]
            said = "\n".join([prefix + text_of(message.get("content")), *told])
            made.append(f"<|im_start|>{message['role']}\n{said}<|im_end|>\n")
            prefix = ""
        if messages and messages[-1]["role"] == "assistant":
            return "".join(made).removesuffix("<|im_end|>\n")
        return "".join(made) + "<|im_start|>assistant\n"

    def _merged(self, messages: Messages) -> Messages:
        """What the server does itself: developer is system, which joins the next message.

        It does so only where the template has no system, and drops one that stands alone.
        """
        known = [m | {"role": "system"} if m["role"] == "developer" else m for m in messages]
        if self.system or not known or known[0]["role"] != "system":
            return known
        first, *rest = known
        if rest and isinstance(rest[0].get("content"), str):
            joined = f"{text_of(first.get('content'))}\n{rest[0]['content']}"
            rest[0] = rest[0] | {"content": joined}
        return rest


def calls_of(message: dict[str, Any]) -> list[Any]:
    """The calls of a message, in whatever they came: a list, an object, or one thing alone."""
    calls = message.get("tool_calls")
    if isinstance(calls, dict):
        return list(calls.values())
    return calls if isinstance(calls, list) else [] if calls is None else [calls]


def _is_of_tools(message: dict[str, Any]) -> bool:
    return message["role"] == "tool" or message.get("tool_calls") is not None


def _raised(words: str) -> ServerError:
    """An exception of a template, with the status of templates without a handler of their own."""
    return ServerError(
        400,
        "Unable to generate parser for this template. Automatic parser generation failed: \n"
        "------------\nWhile executing CallExpression at line 1, column 1 in source:\n...\n"
        f"Error: Jinja Exception: {words}",
    )


CHATML = Template()
GEMMA_2 = Template(system=False, turns=True, tools=False)
GEMMA_3 = Template(joins=True, turns=True, tools=False, typed=True)
NEMO = Template(turns=True, nine=True)
NO_TOOLS = Template(tools=False)
