"""The history in the second contract's terms: messages of parts."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from xrouter.domain.chat import Message
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.gigachat.messages import Call, History
from xrouter.providers.gigachat.names import state_of

Wire = dict[str, Any]


def group_sizes(messages: list[Message]) -> list[int]:
    """How many calls each message of the assistant has that has any, in order."""
    sizes = [len(one.tool_calls or ()) or int(one.function_call is not None) for one in messages]
    return [size for size in sizes if size]


def wire_messages(history: History, sizes: list[int], instructions: list[str]) -> list[Wire]:
    """The `messages` of the request, with `instructions` added to the system text.

    Raises InvalidRequest when nothing is left to send.
    """
    system = "\n\n".join([*history.system, *instructions])
    messages: list[Wire] = [{"role": "system", "content": [{"text": system}]}] if system else []
    groups = iter(sizes)
    wanted, group = 0, list[Call]()
    for turn in history.turns:
        if not isinstance(turn, Call):
            messages.append(_said(turn))
            continue
        wanted = wanted or next(groups)
        group.append(turn)
        if len(group) == wanted:
            messages += _called(group)
            wanted, group = 0, []
    if not messages:
        raise InvalidRequest(
            "'messages' holds no text at all.", code="invalid_value", param="messages"
        )
    return messages


def _said(turn: Wire) -> Wire:
    """A message of text, and of the file that was uploaded for it."""
    parts: list[Wire] = [{"text": turn["content"]}]
    files = [{"id": file_id} for file_id in turn.get("attachments", ())]
    if files:
        parts.append({"files": files})
    return {"role": turn["role"], "content": parts}


def _called(group: list[Call]) -> list[Wire]:
    """The calls of one message, and their results in one that follows.

    Only calls made together have ids; the state belongs on both messages [recorded].
    """
    state = next((found for call in group if (found := state_of(call.id)) is not None), None)
    shared: Wire = {} if state is None else {"tools_state_id": state}
    parts: list[Wire] = [{"text": group[0].text}] if group[0].text else []
    results: list[Wire] = []
    for number, call in enumerate(group):
        named: Wire = {"id": call.id or f"call_{number}"} if len(group) > 1 else {}
        named["name"] = call.name
        parts.append({"function_call": {**named, "arguments": call.arguments}})
        if call.result is not None:
            result = Raw(call.result.encode())
            results.append({"function_result": {**named, "result": result}})
    messages = [{"role": "assistant", **shared, "content": parts}]
    if results:
        messages.append({"role": "tool", **shared, "content": results})
    return messages
