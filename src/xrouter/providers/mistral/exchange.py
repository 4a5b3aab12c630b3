"""One chat call: how the provider's answer is read, and what is made of it for the caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from typing_extensions import override

from xrouter.domain.answer import ChatAnswer, ChatDelta, Choice, Usage
from xrouter.domain.chat import ToolCall
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.providers.base import ChatExchange
from xrouter.providers.mistral.content import Part
from xrouter.providers.mistral.errors import is_error, request_id_of
from xrouter.providers.mistral.outward import Outward, input_of, with_cached
from xrouter.providers.mistral.thinking import detail_of, signature_in
from xrouter.providers.mistral.tools import Tooling
from xrouter.providers.shapes.openai_answer import answer_of, parts_of, read_object
from xrouter.providers.shapes.openai_chat import OpenAIChat
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.wire.types import WireReply, WireRequest

Post = Callable[[Part], WireRequest]


class Call(Struct):
    """What goes out, and how its answer is to be turned back.

    echo: text that the answer begins with and the caller does not expect.
    """

    body: Part
    tooling: Tooling
    dropped: frozenset[str]
    echo: str = ""


class MistralChat(OpenAIChat):
    """Reads answers; may ask in another way when the model is one of the older ones."""

    def __init__(self, call: Call, post: Post, errors: ErrorReader) -> None:
        super().__init__(post(call.body), errors, tuple(sorted(call.dropped)))
        self.only_first_call = call.tooling.only_one
        self._call = call
        self._post = post
        self._outward: dict[int, Outward] = {}

    @override
    def instead(self, error: XRouterError) -> ChatExchange | None:
        """Without the effort for a model that knows none; with "any" and the one named tool."""
        if not isinstance(error, InvalidRequest):
            return None
        call, about = self._call, f"{error.param} {error.message}"
        if "reasoning_effort" in about and "reasoning_effort" in call.body:
            body = {name: one for name, one in call.body.items() if name != "reasoning_effort"}
            dropped = call.dropped | {"reasoning_effort"}
            other = msgspec.structs.replace(call, body=body, dropped=dropped)
            return MistralChat(other, self._post, self._errors)
        if "tool_choice" in about and call.tooling.alone is not None:
            body = {**call.body, "tools": [call.tooling.alone], "tool_choice": "any"}
            tooling = msgspec.structs.replace(call.tooling, alone=None)
            other = msgspec.structs.replace(call, body=body, tooling=tooling)
            return MistralChat(other, self._post, self._errors)
        return None

    @override
    def answer(self, reply: WireReply) -> ChatAnswer:
        body = read_object(reply.body)
        if is_error(body):
            error = self._errors.of_object(body)
            error.upstream_request_id = request_id_of(reply)
            raise error
        choices = body.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            message = choice.get("message") if isinstance(choice, dict) else None
            if isinstance(message, dict):
                _mend(message)
                _tell_thoughts(message)
        answer = answer_of(body)
        for told in answer.choices:
            self._turn(told)
        if answer.usage is not None:
            answer.usage = with_cached(answer.usage)
        return answer

    @override
    def feed(self, name: str, data: bytes) -> list[ChatDelta]:
        if data[:1] == b"{" and b'"choices"' not in data:
            body = read_object(data)
            if is_error(body):
                raise self._errors.of_object(body)
        return super().feed(name, data)

    @override
    def merged(self, usage: Usage) -> Usage:
        return with_cached(usage)

    @override
    def _read(self, given: Any, deltas: list[ChatDelta]) -> None:
        said = given.get("delta") if isinstance(given, dict) else None
        content = said.get("content") if isinstance(said, dict) else None
        if isinstance(said, dict):
            _mend(said)
        start = len(deltas)
        super()._read(given, deltas)
        if isinstance(content, list):  # the piece with the signature may say nothing else
            self._of(given.get("index") or 0).think(content)
        turned = [self._of(delta.choice).turned(delta) for delta in deltas[start:]]
        deltas[start:] = [delta for delta in turned if delta != ChatDelta(delta.choice)]

    @override
    def _close(self) -> list[ChatDelta]:
        return [
            self._of(delta.choice).turned(delta) if delta.finish_reason else delta
            for delta in super()._close()
        ]

    @override
    def _note(self, body: dict[str, Any]) -> None:
        body.pop("p", None)  # padding of random length against listeners
        super()._note(body)

    def _of(self, choice: int) -> Outward:
        found = self._outward.get(choice)
        if found is None:
            tooling = self._call.tooling
            found = Outward(self._call.echo, tooling.custom, legacy=tooling.legacy)
            self._outward[choice] = found
        return found

    def _turn(self, choice: Choice) -> None:
        """A whole alternative as the caller asked for it."""
        message = choice.message
        if message.content is not None:
            message.content = message.content.removeprefix(self._call.echo)
        if not message.tool_calls:
            return
        kept = message.tool_calls[:1] if self.only_first_call else message.tool_calls
        message.tool_calls = [self._as_asked(call) for call in kept]
        if self._call.tooling.legacy:
            message.function_call = message.tool_calls[0].function
            message.tool_calls = None
            choice.finish_reason = "function_call"

    def _as_asked(self, call: ToolCall) -> ToolCall:
        """A call of a custom tool where its function stands for one."""
        function = call.function
        if function is None or function.name not in self._call.tooling.custom:
            return call
        custom = {"name": function.name, "input": input_of(function.arguments)}
        return ToolCall(call.id, "custom", custom=custom)


def _mend(said: dict[str, Any]) -> None:
    """Take out of a message, or a piece of one, what nobody can use."""
    said.pop("prefix", None)
    calls = said.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict) and call.get("id") in ("null", ""):
            call["id"] = None
    content = said.get("content")
    if isinstance(content, list):
        references = [
            chunk
            for chunk in content
            if isinstance(chunk, dict) and chunk.get("type") == "reference"
        ]
        if references:
            said["references"] = references


def _tell_thoughts(message: dict[str, Any]) -> None:
    """The thoughts of a whole message as they are to come back."""
    content = message.get("content")
    if not isinstance(content, list):
        return
    thinking = [
        chunk for chunk in content if isinstance(chunk, dict) and chunk.get("type") == "thinking"
    ]
    details = [detail_of(parts_of([chunk])[1] or "", signature_in([chunk])) for chunk in thinking]
    if details:
        message["reasoning_details"] = details
