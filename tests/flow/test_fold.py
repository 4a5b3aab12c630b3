from __future__ import annotations

from xrouter.domain.answer import (
    AnswerMessage,
    AnswerMeta,
    ChatAnswer,
    ChatDelta,
    Choice,
    ToolCallDelta,
    Usage,
)
from xrouter.domain.chat import FunctionCall, ToolCall
from xrouter.flow.fold import deltas_of


def test_everything_that_an_answer_says_is_in_its_deltas() -> None:
    logprobs = {"content": [{"token": "a"}]}
    message = AnswerMessage(
        content="a",
        reasoning="r",
        refusal="n",
        function_call=FunctionCall("old", "{}"),
        extra={"audio": 1},
    )
    choices = [
        Choice(message, "stop", 0, logprobs, {"stop_reason": 7}),
        Choice(AnswerMessage(content="b"), "length", 1),
    ]
    usage, meta = Usage(1, 2), AnswerMeta("m")
    assert deltas_of(ChatAnswer(choices, usage, meta)) == [
        ChatDelta(
            choice=0,
            text="a",
            reasoning="r",
            refusal="n",
            legacy_call=FunctionCall("old", "{}"),
            finish_reason="stop",
            logprobs=logprobs,
            extra={"audio": 1},
            choice_extra={"stop_reason": 7},
        ),
        ChatDelta(choice=1, text="b", finish_reason="length"),
        ChatDelta(usage=usage, meta=meta),
    ]


def test_calls_of_functions_and_of_custom_tools_keep_their_places() -> None:
    calls = [
        ToolCall("c0", "custom", None, {"name": "sql", "input": "select 1"}),
        ToolCall("c1", "function", FunctionCall("f", "{}")),
        ToolCall("c2", "custom", None, {"name": "quiet"}),
    ]
    first, _ = deltas_of(ChatAnswer([Choice(AnswerMessage(tool_calls=calls), "tool_calls")]))
    assert first.tool_calls == [
        ToolCallDelta(0, "c0", "sql", "select 1", custom=True),
        ToolCallDelta(1, "c1", "f", "{}"),
        ToolCallDelta(2, "c2", "quiet", "", custom=True),
    ]
