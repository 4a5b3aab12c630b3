"""How the simulated OpenRouter answers a chat: OpenAI's answer with what OpenRouter adds."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import msgspec

from xrouter.sandbox.openai_chat import Turn, completion, compose, stream
from xrouter.sandbox.openai_checks import check
from xrouter.sandbox.openai_models import Model
from xrouter.sandbox.openrouter_checks import EXTRAS, check_extras, check_history
from xrouter.sandbox.openrouter_errors import Failure
from xrouter.sandbox.openrouter_models import Listed, served

PROCESSING = b": OPENROUTER PROCESSING\n\n"

_MODERATED = "[[moderated]]"
_BEFORE_A_FAILURE = 2

Body = dict[str, Any]


class Chat:
    """One chat: who serves it, what is said, what it costs. Raises Failure, ApiError."""

    def __init__(self, body: Body) -> None:
        check_extras(body)
        if body.get("messages") is None:
            raise Failure(400, 'Input required: specify "prompt" or "messages"')
        self.model: Listed = served(body)
        said = json.dumps(body["messages"])
        if _MODERATED in said:
            raise Failure(
                403,
                "The input was flagged by moderation.",
                metadata={
                    "reasons": ["violence"],
                    "flagged_input": said[:100],
                    "provider_name": self.model.author,
                    "model_slug": self.model.id,
                },
            )
        self.fails = _number_of("fail", said)
        plain = _for_openai(body, self.model)
        check(plain, _plain_model(self.model))
        if self.model.strict:
            check_history(plain["messages"], self.model.author)
        effort = _effort(body, self.model)
        thinks = effort is not None and effort != "none"
        if thinks:
            plain["reasoning_effort"] = effort
        self.turn: Turn = compose(plain, _plain_model(self.model, reasoning=thinks))
        self.turn.id = f"gen-{uuid4().hex}"
        self.streamed = bool(body.get("stream"))
        self.hidden = _is_hidden(body)

    @property
    def spent(self) -> int:
        """Completion tokens, with those of reasoning."""
        return self.turn.spoken + self.turn.thought

    def whole(self) -> Body:
        """The answer, or the failure under status 200 that was wished for."""
        if self.fails is not None:
            return Failure(self.fails, "Provider returned error").envelope
        answer = self._told(completion(self.turn))
        for choice in answer["choices"]:
            choice["message"] |= self._thoughts()
        answer["usage"] |= self._price()
        return answer

    def frames(self) -> tuple[list[bytes], list[int]]:
        """The stream without its first comments, and the tokens spent after each chunk."""
        frames, costs = stream(self.turn, usage=True, padded=False)
        chunks = [self._retold(frame) for frame in frames]
        if self.fails is not None:
            told = Failure(self.fails, "Provider returned error").envelope
            failure = error_frame(self.turn.id, self.model, told["error"])
            return [*chunks[:_BEFORE_A_FAILURE], failure], costs[:_BEFORE_A_FAILURE]
        thoughts = self._thoughts()
        if thoughts:
            choice = {"index": 0, "delta": {"content": ""} | thoughts, "finish_reason": None}
            head = self.turn.head("chat.completion.chunk") | {"choices": [choice]}
            chunks.insert(1, _frame(self._told(head)))
            costs.insert(1, self.turn.thought)
        return chunks, costs

    def _thoughts(self) -> Body:
        if not self.turn.thought or self.hidden:
            return {}
        text = " ".join(["hm"] * self.turn.thought)
        detail = {
            "type": "reasoning.text",
            "text": text,
            "signature": f"sig-{self.turn.thought}",
            "format": "anthropic-claude-v1",
            "index": 0,
        }
        return {"reasoning": text, "reasoning_details": [detail]}

    def _told(self, answer: Body) -> Body:
        for choice in answer["choices"]:
            choice["native_finish_reason"] = choice["finish_reason"]
        return answer | {"model": self.model.id, "provider": self.model.author}

    def _retold(self, frame: bytes) -> bytes:
        data = frame.removeprefix(b"data: ").strip()
        if data == b"[DONE]":
            return frame
        chunk = self._told(msgspec.json.decode(data))
        if chunk.get("usage") is None:
            chunk.pop("usage", None)
        else:
            chunk["usage"] |= self._price()
        return _frame(chunk)

    def _price(self) -> Body:
        cost = float(self.model.cost(self.turn.prompt, self.spent))
        return {
            "cost": cost,
            "is_byok": False,
            "cost_details": {"upstream_inference_cost": None},
        }


def error_frame(generation: str, model: Listed, error: Body) -> bytes:
    """An error in the middle of a stream, after which it ends."""
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    return _frame(
        {
            "id": generation,
            "object": "chat.completion.chunk",
            "created": model.created,
            "model": model.id,
            "provider": model.author,
            "error": error,
            "choices": [choice],
        }
    )


_THOUGHTS = ("reasoning", "reasoning_content", "reasoning_details")


def _frame(chunk: Body) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _plain_model(model: Listed, *, reasoning: bool = False) -> Model:
    return Model(
        id=model.id,
        snapshot=model.id,
        context=model.context,
        created=model.created,
        reasoning=reasoning,
    )


def _for_openai(body: Body, model: Listed) -> Body:
    """What is left for OpenAI's checks: unsupported parameters go without a word, and so does n.

    The usage always comes, whatever `stream_options` says.
    """
    silent = {*EXTRAS, *model.lacks(body), "n", "stream_options"}
    left = {name: value for name, value in body.items() if name not in silent}
    if "tools" not in left:
        left.pop("tool_choice", None)
        left.pop("parallel_tool_calls", None)
    if "logprobs" not in left:
        left.pop("top_logprobs", None)
    if isinstance(left.get("messages"), list):
        left["messages"] = [_without_thoughts(message) for message in left["messages"]]
    return left | {"model": model.id}


def _without_thoughts(message: Any) -> Any:
    """Thoughts of a history are taken under three names."""
    if not isinstance(message, dict):
        return message
    return {name: value for name, value in message.items() if name not in _THOUGHTS}


def _effort(body: Body, model: Listed) -> str | None:
    """How much is to be thought, None for a model that cannot or need not."""
    if "reasoning" not in model.parameters:
        return None
    wanted = body.get("reasoning")
    if wanted is None:
        asked = body.get("reasoning_effort") or ("medium" if body.get("include_reasoning") else "")
        return asked or None
    if wanted.get("enabled") is False:
        return None
    return str(wanted.get("effort") or "medium")


def _is_hidden(body: Body) -> bool:
    return bool((body.get("reasoning") or {}).get("exclude")) or (
        body.get("include_reasoning") is False
    )


def _number_of(mark: str, text: str) -> int | None:
    start = text.find(f"[[{mark}:")
    digits = text[start + len(mark) + 3 :].partition("]]")[0] if start >= 0 else ""
    return int(digits) if digits.isdecimal() else None
