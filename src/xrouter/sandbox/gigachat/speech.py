"""Answers of the simulated GigaChat as its first contract writes them: whole, or as a stream."""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.sandbox.gigachat.chat import PHRASE, Answer
from xrouter.sandbox.kit import count_tokens
from xrouter.sandbox.script import phrases

Body = dict[str, Any]

_encode = msgspec.json.Encoder().encode


def completion(answer: Answer) -> Body:
    """The whole answer. It has no id."""
    message: Body = {"role": "assistant", "content": _content(answer)}
    if answer.thought:
        message["reasoning_content"] = answer.thought
    message |= _called(answer)
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": answer.said.finish}],
        "created": answer.created,
        "model": answer.model.shown,
        "object": _object(answer),
        "usage": _usage(answer),
    }


def stream(answer: Answer) -> tuple[list[bytes], list[int]]:
    """The frames, and for each how many completion tokens had been sent after it."""
    steps: list[tuple[Body, int]] = []
    if "in_progress" in answer.script.marks or answer.said.pictures:
        work = {"role": "function_in_progress", "name": "text2image", "created": answer.created}
        steps.append((work | {"content": "5"}, 0))
    spoken = [
        ({"content": "", "reasoning_content": part}, count_tokens(part))
        for part in phrases(answer.thought, PHRASE)
    ]
    spoken += [
        ({"content": part}, count_tokens(part)) for part in phrases(_content(answer), PHRASE)
    ]
    last: tuple[Body, int] = ({"content": ""} | _called(answer), answer.call_tokens)
    if answer.said.calls and "split" in answer.script.marks:
        spoken.append(last)
        last = ({"content": ""}, 0)
    spoken.append(last)
    spoken[0][0]["role"] = "assistant"
    steps += spoken
    frames, costs, cost = [], [], 0
    for place, (delta, price) in enumerate(steps):
        cost += price
        frames.append(_frame(answer, delta, last=place == len(steps) - 1))
        costs.append(min(cost, answer.completion))
    frames.append(b"data: [DONE]\n\n")
    return frames, costs


def _content(answer: Answer) -> str:
    """The text; a picture is a tag in the middle of it."""
    tags = "".join(f'<img src="{file_id}" fuse="true"/>' for file_id in answer.said.pictures)
    return f"As you wish: {tags} {answer.said.text}" if tags else answer.said.text


def _called(answer: Answer) -> Body:
    """The part of a message that is a call, of one's own function or of a built-in one."""
    part: Body = {}
    for call in answer.said.calls[:1]:
        part["function_call"] = {"name": call.name, "arguments": call.arguments}
    if part or answer.said.pictures:
        part["functions_state_id"] = answer.state
    return part


def _usage(answer: Answer) -> dict[str, int]:
    """The usage object: what came from the cache is counted beside the prompt, not in it."""
    prompt = answer.prompt - answer.cached
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer.completion,
        "total_tokens": prompt + answer.completion,
        "precached_prompt_tokens": answer.cached,
    }


def _object(answer: Answer) -> str:
    """Newer models are in the plural, as it was recorded."""
    return "chat.completions" if answer.model.third else "chat.completion"


def _frame(answer: Answer, delta: Body, *, last: bool) -> bytes:
    choice: Body = {"delta": delta, "index": 0}
    chunk: Body = {
        "choices": [choice],
        "created": answer.created,
        "model": answer.model.shown,
        "object": "chat.completion",
    }
    if last:
        choice["finish_reason"] = answer.said.finish
        chunk["usage"] = _usage(answer)
    return b"data: " + _encode(chunk) + b"\n\n"
