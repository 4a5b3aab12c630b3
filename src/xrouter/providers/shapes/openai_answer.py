"""From whole answers in OpenAI's language to ours, and what streams share with them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from xrouter.domain.answer import (
    FINISH_REASONS,
    AnswerMessage,
    AnswerMeta,
    ChatAnswer,
    Choice,
    Usage,
)
from xrouter.domain.errors import UpstreamFailed, UpstreamMalformed
from xrouter.providers.shapes.openai_calls import legacy_call, whole_calls

_MAX_PRICE = 40
MAX_TOKENS = 1_000_000_000
"""More than this in one answer is a mistake of whoever counted."""

OUR_TOP = frozenset(
    {
        "id", "object", "created", "model", "choices", "usage", "system_fingerprint",
        "obfuscation", "error",
    }
)  # fmt: skip
OUR_MESSAGE = frozenset(
    {
        "role", "content", "refusal", "tool_calls", "function_call", "reasoning_content",
        "reasoning", "thinking",
    }
)  # fmt: skip
_MORE = OUR_MESSAGE - {"role", "content", "refusal"}
OUR_CHOICE = frozenset({"index", "message", "delta", "finish_reason", "logprobs", "error"})
_REASONING = ("reasoning_content", "reasoning", "thinking")

_FINISH = {
    "end_turn": "stop", "eos": "stop", "eos_token": "stop", "stop_sequence": "stop",
    "max_tokens": "length", "model_length": "length", "max_length": "length",
    "max_output_tokens": "length", "abort": "length", "repetition": "length",
    "tool_use": "tool_calls", "tool_call": "tool_calls", "tool-calls": "tool_calls",
    "safety": "content_filter", "sensitive": "content_filter", "recitation": "content_filter",
    "content-filter": "content_filter", "blocked": "content_filter",
}  # fmt: skip
"""Other services' words; an unknown one means that the model stopped."""

_decoder = msgspec.json.Decoder()


def read_object(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises UpstreamMalformed for anything else."""
    try:
        body = _decoder.decode(data)
    except (ValueError, RecursionError):
        page = data.lstrip()[:1] == b"<"
        raise UpstreamMalformed(
            "The provider's answer is not JSON.",
            hint="For the operator: the base URL leads to a web page, not to an API."
            if page
            else None,
        ) from None
    if not isinstance(body, dict):
        raise UpstreamMalformed("The provider's answer is not a JSON object.")
    return body


def answer_of(body: dict[str, Any]) -> ChatAnswer:
    """A whole answer. Raises UpstreamMalformed when it has no choices."""
    items = body.get("choices")
    if not isinstance(items, list) or not items:
        raise UpstreamMalformed("The provider's answer has no choices.")
    choices = [_choice(item, position) for position, item in enumerate(items)]
    return ChatAnswer(choices, usage_of(body.get("usage")), meta_of(body))


def _choice(given: Any, position: int) -> Choice:
    message = given.get("message") if given.__class__ is dict else None
    if message.__class__ is not dict:
        raise UpstreamMalformed("The provider's answer has a choice without a message.")
    said = message_of(message)
    finish = given.get("finish_reason")
    if finish != "stop":
        finish = finish_of(finish) or ("tool_calls" if said.tool_calls else "stop")
    index = given.get("index")
    return Choice(
        said,
        finish,
        index if isinstance(index, int) else position,
        given.get("logprobs"),
        None if OUR_CHOICE.issuperset(given) else extra_of(given, OUR_CHOICE),
    )


def message_of(given: dict[str, Any]) -> AnswerMessage:
    """The assistant's message; what we have no field for is kept in `extra`."""
    content = given.get("content")
    extra = None if OUR_MESSAGE.issuperset(given) else extra_of(given, OUR_MESSAGE)
    refusal = given.get("refusal")
    if content.__class__ is str and not refusal and _MORE.isdisjoint(given):
        return AnswerMessage(content, extra=extra)
    reasoning = reasoning_of(given)
    if isinstance(content, list):
        content, thoughts = parts_of(content)
        reasoning = reasoning or thoughts
    elif content.__class__ is not str:
        content = None
    calls = whole_calls(given.get("tool_calls"))
    legacy = legacy_call(given.get("function_call"))
    if not content and (calls or legacy):
        content = None
    return AnswerMessage(
        content=content,
        reasoning=reasoning,
        refusal=refusal if isinstance(refusal, str) and refusal else None,
        tool_calls=calls,
        function_call=legacy,
        extra=extra,
    )


def reasoning_of(given: dict[str, Any]) -> str | None:
    """The model's thoughts, under any of the names in use."""
    for name in _REASONING:
        value = given.get(name)
        if value and isinstance(value, str):
            return str(value)
    return None


def parts_of(parts: list[Any]) -> tuple[str, str | None]:
    """Text and thoughts of a content that came as a list of parts."""
    text: list[str] = []
    thoughts: list[str] = []
    for part in parts:
        if not isinstance(part, dict):
            continue
        thinking = part.get("thinking")
        if isinstance(thinking, list):
            thoughts.append(parts_of(thinking)[0])
        elif isinstance(thinking, str):
            thoughts.append(thinking)
        elif isinstance(part.get("text"), str):
            text.append(part["text"])
    return "".join(text), "".join(thoughts) or None


def finish_of(value: Any) -> str | None:
    """One of the five finish reasons; None for none. Raises UpstreamFailed for "error"."""
    if not value:
        return None
    reason = str(value).lower()
    if reason == "error":
        raise UpstreamFailed("The provider broke the answer off.")
    if reason in FINISH_REASONS:
        return reason
    return _FINISH.get(reason, "stop")


def meta_of(body: dict[str, Any]) -> AnswerMeta:
    """What the provider said of itself."""
    model, fingerprint = body.get("model"), body.get("system_fingerprint")
    return AnswerMeta(
        model if model.__class__ is str else None,
        fingerprint if fingerprint.__class__ is str else None,
        None if OUR_TOP.issuperset(body) else extra_of(body, OUR_TOP),
    )


def extra_of(given: dict[str, Any], known: frozenset[str]) -> dict[str, Any] | None:
    """The fields we have no place for, nulls left out."""
    extra: dict[str, Any] | None = None
    for name, value in given.items():  # the fastest way: some services have nulls in every chunk
        if name not in known and value is not None:
            if extra is None:
                extra = {}
            extra[name] = value
    return extra


def usage_of(value: Any) -> Usage | None:
    """Token counts made sound; None when there are none, or nothing but zeros."""
    if not isinstance(value, dict) or not value:
        return None
    get = value.get
    prompt = _count(get("prompt_tokens")) or _count(get("input_tokens"))
    completion = _count(get("completion_tokens")) or _count(get("output_tokens"))
    if not prompt and not completion:
        return None
    usage = Usage(prompt, completion, details=value)
    asked, said = get("prompt_tokens_details"), get("completion_tokens_details")
    if isinstance(said, dict) and (reasoning := _count(said.get("reasoning_tokens"))):
        if _count(get("total_tokens")) == prompt + completion + reasoning:
            usage.completion_tokens = completion = completion + reasoning  # counted apart by some
        usage.reasoning_tokens = min(reasoning, completion)
    if isinstance(asked, dict):
        usage.cached_tokens = min(_count(asked.get("cached_tokens")), prompt)
        usage.cache_write_tokens = _count(asked.get("cache_write_tokens")) or None
    if not usage.cached_tokens and "prompt_cache_hit_tokens" in value:
        usage.cached_tokens = min(_count(get("prompt_cache_hit_tokens")), prompt)
    if "cost" in value:
        usage.cost = _price(value["cost"])
    return usage


def _price(value: Any) -> str | None:
    """An amount of money as text, so that no digit of it is changed."""
    if isinstance(value, str):
        return value[:_MAX_PRICE] or None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    return f"{Decimal(repr(value)):f}"[:_MAX_PRICE]


def _count(value: Any) -> int:
    if value.__class__ is int:
        return value if 0 <= value <= MAX_TOKENS else min(max(value, 0), MAX_TOKENS)
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return min(int(value[:12]), MAX_TOKENS)
    if isinstance(value, float):
        return min(max(int(value), 0), MAX_TOKENS)
    return 0
