"""Chat to the native API's completion request."""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.domain.chat import ChatRequest, Message
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.tools import FunctionTool
from xrouter.providers.yandexgpt.calls import Call, CallBook
from xrouter.providers.yandexgpt.choice import asked_tools
from xrouter.providers.yandexgpt.models import HIDDEN_REASONING
from xrouter.providers.yandexgpt.params import NO_REASONING, clamped_temperature
from xrouter.providers.yandexgpt.plain import (
    RESULT_ROLES,
    SYSTEM_ROLES,
    need_text,
    plain_text,
    unknown_role,
)
from xrouter.providers.yandexgpt.wanted_json import Way, instruction, native_shape

_Dict = dict[str, Any]


def native_body(
    request: ChatRequest, ref: str, uri: str, dropped: set[str], way: Way = Way.ASKED
) -> _Dict:
    """The body of `POST /foundationModels/v1/completion`; adds to `dropped` what got lost.

    ref: `name/branch`, uri: the same with our folder. way: how JSON is asked for.
    """
    body: _Dict = {
        "modelUri": uri,
        "completionOptions": _options(request, ref, dropped),
        "messages": native_messages(request.messages, instruction(request, way)),
    }
    return body | native_shape(request, way) | _tools(request)


def native_messages(messages: list[Message], instruction: str | None) -> list[_Dict]:
    """One system message first, then the turns.

    Several system messages are joined by an empty line (how the provider treats several is not
    documented). Consecutive tool results become one message of the user.
    """
    history = _History()
    for index, message in enumerate(messages):
        history.add(message, f"messages[{index}]")
    turns = history.turns()
    system = [text for text in (*history.system, instruction) if text]
    head = [{"role": "system", "text": "\n\n".join(system)}] if system else []
    if not head and not turns:
        raise InvalidRequest(
            "'messages' holds nothing to answer.", code="invalid_value", param="messages"
        )
    return head + turns


class _History:
    """Collects turns; results of tools wait until all of them are there."""

    def __init__(self) -> None:
        self.system: list[str] = []
        self._turns: list[_Dict] = []
        self._calls = CallBook()
        self._results: list[tuple[int, _Dict]] = []

    def add(self, message: Message, where: str) -> None:
        if message.role in SYSTEM_ROLES:
            self.system.append(plain_text(message, where))
        elif message.role in RESULT_ROLES:
            self._result(message, where)
        elif message.role == "assistant":
            self._assistant(message, where)
        elif message.role == "user":
            self._close()
            text = need_text(plain_text(message, where), where)
            self._turns.append({"role": "user", "text": text})
        else:
            raise unknown_role(message.role, where)

    def turns(self) -> list[_Dict]:
        self._close()
        return self._turns

    def _assistant(self, message: Message, where: str) -> None:
        """Text and calls are alternatives in one message: the text goes before, by itself."""
        self._close()
        text = plain_text(message, where)
        if text:
            self._turns.append({"role": "assistant", "text": text})
        calls = [_function_call(call) for call in self._calls.calls_of(message, where)]
        if calls:
            self._turns.append({"role": "assistant", "toolCallList": {"toolCalls": calls}})

    def _result(self, message: Message, where: str) -> None:
        call = self._calls.called_by(message, where)
        result = {"name": call.name, "content": plain_text(message, where)}
        self._results.append((call.order, {"functionResult": result}))

    def _close(self) -> None:
        """Results in the order of their calls: that is all that tells equal names apart."""
        if self._results:
            ordered = [result for _, result in sorted(self._results, key=lambda item: item[0])]
            self._turns.append({"role": "user", "toolResultList": {"toolResults": ordered}})
            self._results = []


def _function_call(call: Call) -> _Dict:
    param = f"{call.where}.arguments"
    try:
        arguments = msgspec.json.decode(call.arguments or "{}")
    except (msgspec.DecodeError, ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequest(f"'{param}' must be a JSON object.", code="invalid_value", param=param)
    return {"functionCall": {"name": call.name, "arguments": arguments}}


def _options(request: ChatRequest, ref: str, dropped: set[str]) -> _Dict:
    options: _Dict = {"stream": request.streaming}
    temperature = clamped_temperature(request, dropped)
    if temperature is not None:
        options["temperature"] = temperature
    if request.output_limit is not None:
        options["maxTokens"] = str(request.output_limit)  # int64 is a string in protobuf's JSON
    effort = request.reasoning_effort
    if effort is not None and ref in HIDDEN_REASONING:
        mode = "DISABLED" if effort in NO_REASONING else "ENABLED_HIDDEN"
        options["reasoningOptions"] = {"mode": mode}
    elif effort not in NO_REASONING:
        dropped.add("reasoning_effort")
    return options


def _tools(request: ChatRequest) -> _Dict:
    tools, choice = asked_tools(request)
    if not tools:
        return {}
    body: _Dict = {"tools": [_tool(tool) for tool in tools]}
    if choice.mode == "required":
        body["toolChoice"] = {"mode": "REQUIRED"}
    elif choice.mode == "named":
        body["toolChoice"] = {"functionName": choice.name}
    if request.parallel_tool_calls is False:
        body["parallelToolCalls"] = False
    return body


def _tool(tool: FunctionTool) -> _Dict:
    """No `type` here. A function without parameters gets an empty object (inferred)."""
    function: _Dict = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"function": function}
