"""The top-level request parameters: which are mapped, passed on, refused or given up."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.shapes import messages_fields

MAPPED = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "n",
        "stop",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "functions",
        "function_call",
        "response_format",
        "reasoning_effort",
        "modalities",
        "audio",
        "web_search_options",
        "additional_fields",
        "prompt_cache_key",
    }
)
"""Read one by one. parallel_tool_calls means nothing here: there is at most one call an answer."""

_NATIVE = (
    "repetition_penalty",
    "profanity_check",
    "update_interval",
    "flags",
    "function_ranker",
    "additional_data",
)
"""GigaChat's own, passed on as the client wrote them."""

_STATEFUL = ("storage", "assistant_id", "thread_id")
"""Of history that GigaChat keeps: it belongs to the account, and so to all callers together."""

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "metadata": ({},),
    "verbosity": ("medium",),
}
"""Values that ask for what happens anyway: nothing is lost when they are not passed on."""

_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_MAX_COPIES = 8
_MAX_STOPS = 16
_MAX_STOP = 1024
_MAX_DROPPED = 64
_MAX_NAME = 64


at_home = messages_fields.at_home
"""What a fallback from another API brings along becomes ours, or is named as lost."""


def refuse_unsupported(request: ChatRequest) -> None:
    """Raise InvalidRequest for what would change the answer and cannot be had from GigaChat."""
    if request.n is not None and request.n > _MAX_COPIES:
        raise _unsupported(
            "n", f"GigaChat is asked once for each answer; 'n' may be {_MAX_COPIES} at most."
        )
    if request.logprobs:
        raise _unsupported("logprobs", "GigaChat gives no log probabilities.")
    if request.top_logprobs:
        raise _unsupported("top_logprobs", "GigaChat gives no log probabilities.")
    if request.logit_bias:
        raise _unsupported("logit_bias", "GigaChat has no 'logit_bias'.")
    if any(kind not in ("text", "image") for kind in request.modalities or ()):
        raise _unsupported("modalities", "GigaChat answers with text and images only.")
    if len(request.stops) > _MAX_STOPS or any(len(stop) > _MAX_STOP for stop in request.stops):
        raise _unsupported(
            "stop", f"At most {_MAX_STOPS} stop sequences of {_MAX_STOP} characters are supported."
        )
    for name in ("audio", "web_search_options"):
        if name in request.fields and bytes(request.fields[name]) != b"null":
            raise _unsupported(name, f"'{name}' is not supported for GigaChat.")


def native_fields(fields: Fields) -> dict[str, Any]:
    """GigaChat's own parameters.

    Those inside `additional_fields` join the top level, as its SDK does it. Refused there are
    OpenAI's names, so that nothing is set behind the router's back, and history kept by GigaChat.
    """
    found: dict[str, Any] = {
        name: fields[name] for name in _NATIVE if name in fields and bytes(fields[name]) != b"null"
    }
    more = _value(fields["additional_fields"]) if "additional_fields" in fields else None
    if more is None:
        return found
    if not isinstance(more, dict):
        raise InvalidRequest(
            "'additional_fields' must be an object.", code="invalid_type", param="additional_fields"
        )
    for name in more:
        if name in MAPPED:
            raise InvalidRequest(
                f"'{name}' belongs to the top level of the request, not into 'additional_fields'.",
                code="invalid_value",
                param=f"additional_fields.{name}",
            )
        if name in _STATEFUL:
            raise InvalidRequest(
                f"'{name}' is not supported: each request holds its whole conversation.",
                code="invalid_value",
                param=f"additional_fields.{name}",
            )
    return more | found


def outdone(fields: Fields, own: tuple[str, ...] = ()) -> list[str]:
    """Names in `additional_fields` that count less than the same names at the top level.

    own: further names that are passed on from the top level.
    """
    more = _value(fields["additional_fields"]) if "additional_fields" in fields else None
    return [
        f"additional_fields.{name}"
        for name in (*_NATIVE, *own)
        if name in (more or {}) and name in fields and bytes(fields[name]) != b"null"
    ]


def sampling(request: ChatRequest) -> dict[str, Any]:
    """Temperature, top_p and the output limit.

    Temperature 0 means "the likeliest token": the specification excludes it, top_p 0 is the same.
    """
    found: dict[str, Any] = {}
    if request.temperature == 0:
        found["top_p"] = 0
    else:
        if request.temperature is not None:
            found["temperature"] = request.temperature
        if request.top_p is not None:
            found["top_p"] = request.top_p
    if request.output_limit is not None:
        found["max_tokens"] = request.output_limit
    return found


def reasoning(request: ChatRequest) -> tuple[dict[str, Any], list[str]]:
    """The effort, and the names given up: GigaChat cannot switch it off nor raise it over high."""
    effort = request.reasoning_effort
    if effort is None:
        return {}, []
    if effort in ("none", "minimal"):
        return {}, ["reasoning_effort"]
    if effort not in _EFFORTS:
        raise InvalidRequest(
            f"Invalid value for 'reasoning_effort': '{effort[:40]}'. Use low, medium or high.",
            code="invalid_value",
            param="reasoning_effort",
        )
    exact = _EFFORTS[effort] == effort
    return {"reasoning_effort": _EFFORTS[effort]}, [] if exact else ["reasoning_effort"]


def given_up(fields: Fields) -> list[str]:
    """Names of parameters that were set to something and are not passed on."""
    names = []
    for name, raw in fields.items():
        if name in MAPPED or name in _NATIVE:
            continue
        neutral = name in _NEUTRAL and _value(raw) in _NEUTRAL[name]
        if bytes(raw) != b"null" and not neutral:
            names.append(name[:_MAX_NAME])
    return names[:_MAX_DROPPED]


def _value(raw: Raw) -> Any:
    return msgspec.json.decode(raw)


def _unsupported(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="unsupported_value", param=param)
