from __future__ import annotations

import pytest

from xrouter.domain.answer import AnswerMessage, ChatAnswer, Choice
from xrouter.domain.chat import ChatRequest, FunctionCall, Message, ToolCall
from xrouter.flow.fold import deltas_of
from xrouter.flow.tally import Tally
from xrouter.flow.yardstick import CHARACTERS_PER_TOKEN

REQUEST = ChatRequest(model="m", messages=[Message("user", "x" * 40)])
CALLS = [
    ToolCall("c0", "function", FunctionCall("f" * 10, "x" * 20)),
    ToolCall("c1", "custom", None, {"name": "g" * 10, "input": "y" * 30}),
]


@pytest.mark.parametrize("streamed", [True, False])
def test_calls_of_any_kind_count_when_the_provider_counts_nothing(streamed: bool) -> None:
    answer = ChatAnswer([Choice(AnswerMessage(content="a" * 30, tool_calls=CALLS), "tool_calls")])
    tally = Tally("chat", "m", streamed=streamed, started_at=0.0)
    (copy,) = tally.ask(1)
    copy.accepted = True
    if streamed:
        tally.count(deltas_of(answer))
    else:
        copy.take(answer)
    tally.sum_up(REQUEST)
    assert tally.usage is not None
    assert tally.usage.estimated
    assert tally.usage.prompt_tokens == 40 / CHARACTERS_PER_TOKEN
    assert tally.usage.completion_tokens == 100 / CHARACTERS_PER_TOKEN
