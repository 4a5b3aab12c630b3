"""Answers of the native API: a completion whole or as cumulative lines, tokens, embeddings.

Marks in the last user text, for a stream (others are in `speech`):

    [[emoji]]    a partial text ends in the middle of an emoji, the next one corrects it
    [[rewrite]]  a partial text says something that the next one takes back
"""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.sandbox.generate import number_of, tokens_of, vector
from xrouter.sandbox.kit import count_tokens
from xrouter.sandbox.script import phrases
from xrouter.sandbox.yandex.models import Chosen
from xrouter.sandbox.yandex.speech import EMOJI, Ask, Said

PHRASE = 5
"""Words by which each partial text is longer than the one before."""
RESPONSE = "type.googleapis.com/yandex.cloud.ai.foundation_models.v1.CompletionResponse"

_FINAL = {
    "stop": "FINAL",
    "length": "TRUNCATED_FINAL",
    "content_filter": "CONTENT_FILTER",
    "tool_calls": "TOOL_CALLS",
}
_VOCABULARY = 129_024
_encode = msgspec.json.Encoder().encode

Body = dict[str, Any]


def completion(ask: Ask, said: Said) -> Body:
    """The whole answer, without the wrapper."""
    if said.calls:
        calls = [
            {"functionCall": {"name": call.name, "arguments": call.arguments}}
            for call in said.calls
        ]
        content: Body = {"toolCallList": {"toolCalls": calls}}
    else:
        content = {"text": said.text}
    return _response(ask, content, _FINAL[said.finish], said.tokens, count_tokens(said.thought))


def stream(ask: Ask, said: Said) -> list[bytes]:
    """The lines: each holds the whole text so far."""
    thought = count_tokens(said.thought)
    lines = [
        _response(ask, {"text": text}, "PARTIAL", thought + count_tokens(text), thought)
        for text in _partials(ask, said)
    ]
    return [line(wrapped) for wrapped in [*lines, completion(ask, said)]]


def line(response: Body) -> bytes:
    """A line of a stream."""
    return _encode({"result": response}) + b"\n"


def _partials(ask: Ask, said: Said) -> list[str]:
    """The texts before the final one."""
    if said.calls:
        return []
    told = said.text
    if said.finish == "content_filter":
        told = f"This was going to be an answer about {ask.script.wish.text}"
    parts = phrases(told, PHRASE)
    kept = parts if said.finish == "content_filter" else parts[:-1]
    texts = ["".join(kept[: place + 1]) for place in range(len(kept))]
    if "emoji" in ask.script.marks and EMOJI in told:
        texts.insert(0, told.partition(EMOJI)[0] + "\ufffd")
    if "rewrite" in ask.script.marks:
        texts.append(f"{texts[-1] if texts else ''} or rather not")
    return texts


def _response(ask: Ask, content: Body, status: str, tokens: int, thought: int) -> Body:
    message = {"role": "assistant"} | content
    return {
        "alternatives": [{"message": message, "status": f"ALTERNATIVE_STATUS_{status}"}],
        "usage": {
            "inputTextTokens": str(ask.prompt),
            "completionTokens": str(tokens),
            "totalTokens": str(ask.prompt + tokens),
            "completionTokensDetails": {"reasoningTokens": str(thought)},
        },
        "modelVersion": ask.chosen.version,
    }


def tokens(chosen: Chosen, text: str, template: int = 0) -> Body:
    """The answer of tokenize. template: how many special tokens the chat template adds."""
    special = [
        {"id": str(place + 1), "text": f"<s{place + 1}>", "special": True}
        for place in range(template)
    ]
    plain = [
        {"id": str(number_of(token) % _VOCABULARY), "text": token, "special": False}
        for token in tokens_of(text)
    ]
    return {"tokens": special + plain, "modelVersion": chosen.version}


def embedding(chosen: Chosen, text: str) -> list[float]:
    """The vector of a text; documents and queries have vectors that fit each other."""
    size = chosen.model.dimensions
    return vector(f"text-search {text}", size, size).tolist()
