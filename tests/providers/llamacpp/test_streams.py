"""Streams of several alternatives: each has a usage of its own, at its end."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tests.providers.llamacpp.test_adapter import endpoint_of, target

from xrouter.domain.answer import ChatDelta, Usage
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.providers.llamacpp.adapter import LlamaCppAdapter

USED = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}
DONE = "[DONE]"


def said(index: int) -> dict[str, Any]:
    """All that an alternative says."""
    choice = {"index": index, "delta": {"content": "A"}, "finish_reason": "stop"}
    return {"choices": [choice]}


def usages(n: int, *events: Any) -> list[Usage]:
    """What is told of the usage of a stream of n alternatives that was asked for."""
    messages = [{"role": "user", "content": "x"}]
    body = json.dumps({"model": "llamacpp/m", "messages": messages, "n": n, "stream": True})
    request = msgspec.json.decode(body, type=ChatRequest)
    request.fields = msgspec.json.decode(body, type=Fields)
    exchange = LlamaCppAdapter(endpoint_of()).encode_chat(request, target())
    deltas: list[ChatDelta] = []
    for event in events:
        deltas += exchange.feed("", (event if event == DONE else json.dumps(event)).encode())
    deltas += exchange.end()
    return [delta.usage for delta in deltas if delta.usage is not None]


@pytest.mark.parametrize(
    "n,events,expected",
    [
        (1, [said(0), USED, DONE], [5]),
        (1, [said(0), USED], [5]),
        (2, [said(0), USED, said(1), USED, DONE], [10]),
        (2, [said(0), said(1), USED, USED], [10]),
        (3, [said(0), said(1), said(2), USED, USED, USED, DONE], [15]),
        (2, [said(0), USED, said(1)], []),
        (2, [said(0), said(1), USED, DONE], []),
        (2, [said(0), USED, DONE], [5]),
        (2, [said(0), said(1), DONE], []),
    ],
)
def test_usage_is_told_when_all_have_told_theirs(
    n: int, events: list[Any], expected: list[int]
) -> None:
    """A part would be taken for the whole; a server may also know no `n`."""
    found = usages(n, *events)
    assert [usage.completion_tokens for usage in found] == expected
    assert all(usage.prompt_tokens == 9 for usage in found)
