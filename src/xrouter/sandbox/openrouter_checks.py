"""What the simulated OpenRouter refuses in its own parameters, beside OpenAI's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from xrouter.sandbox.openrouter_errors import Failure

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_FALLBACKS_MAX = 10
_SESSION_MAX = 256
_QUANTIZATIONS = frozenset(
    {
        "int4", "int8", "fp4", "mxfp4", "nvfp4", "fp6", "fp8", "mxfp8", "fp16", "bf16", "fp32",
        "unknown",
    }
)  # fmt: skip
_SORTS = ("price", "throughput", "latency", "exacto")
_PRICES = frozenset({"prompt", "completion", "request", "image", "audio"})
_PERCENTILES = frozenset({"p50", "p75", "p90", "p99"})

_CALL_ID = re.compile(r"[a-zA-Z0-9]{9}")

_Test = Callable[[Any], bool]


def _bool(value: Any) -> bool:
    return isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _models(value: Any) -> bool:
    return _texts(value) and len(value) <= _FALLBACKS_MAX


def _sort(value: Any) -> bool:
    if isinstance(value, dict):
        return value.get("by") in _SORTS and value.get("partition", "model") in ("model", "none")
    return value in _SORTS


def _limit(value: Any) -> bool:
    return _number(value) or (isinstance(value, dict) and value.keys() <= _PERCENTILES)


def _price(value: Any) -> bool:
    if not isinstance(value, dict) or not value.keys() <= _PRICES:
        return False
    return all(_number(one) or _is_amount(one) for one in value.values())


def _is_amount(value: Any) -> bool:
    return isinstance(value, str) and value.replace(".", "", 1).isdecimal()


def _plugins(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and isinstance(one.get("id"), str) for one in value
    )


def _reasoning(value: Any) -> bool:
    """Effort or a budget, not both."""
    if not isinstance(value, dict):
        return False
    effort, budget = value.get("effort"), value.get("max_tokens")
    if effort is not None and (effort not in EFFORTS or budget is not None):
        return False
    return budget is None or (_number(budget) and budget >= 0)


_PREFERENCES: dict[str, _Test] = {
    "order": _texts,
    "only": _texts,
    "ignore": _texts,
    "allow_fallbacks": _bool,
    "require_parameters": _bool,
    "data_collection": lambda value: value in ("allow", "deny"),
    "zdr": _bool,
    "enforce_distillable_text": _bool,
    "quantizations": lambda value: _texts(value) and set(value) <= _QUANTIZATIONS,
    "sort": _sort,
    "preferred_min_throughput": _limit,
    "preferred_max_latency": _limit,
    "max_price": _price,
    "options": _object,
}
EXTRAS: dict[str, _Test] = {
    "models": _models,
    "provider": _object,
    "route": lambda value: value == "fallback",
    "plugins": _plugins,
    "transforms": _texts,
    "reasoning": _reasoning,
    "reasoning_effort": lambda value: value in EFFORTS,
    "include_reasoning": _bool,
    "usage": _object,
    "top_k": _number,
    "min_p": _number,
    "top_a": _number,
    "repetition_penalty": _number,
    "session_id": lambda value: isinstance(value, str) and len(value) <= _SESSION_MAX,
    "trace": _object,
    "preset": _text,
    "debug": _object,
    "cache_control": lambda value: isinstance(value, dict) and value.get("type") == "ephemeral",
    "image_config": _object,
    "verbosity": lambda value: value in ("low", "medium", "high", "xhigh", "max"),
    "prompt_cache_options": _object,
}
"""Parameters that OpenAI does not have, or has otherwise, with what their values must be."""


def check_extras(body: dict[str, Any]) -> None:
    """Raise Failure for the first of OpenRouter's own parameters that is wrong."""
    _check(body, EXTRAS, "")
    preferences = body.get("provider")
    if preferences is not None:
        strange = preferences.keys() - _PREFERENCES.keys()
        if strange:
            raise Failure(400, f"provider: Unrecognized key: {min(strange)!r}")
        _check(preferences, _PREFERENCES, "provider.")


def _check(given: dict[str, Any], tests: dict[str, _Test], prefix: str) -> None:
    for name, test in tests.items():
        value = given.get(name)
        if value is not None and not test(value):
            raise Failure(400, f"{prefix}{name}: Invalid input")


def check_history(messages: list[dict[str, Any]], party: str) -> None:
    """Raise Failure where a strict party behind refuses the order of messages, or an id."""
    before = ""
    for message in messages:
        role = str(message.get("role"))
        if (before, role) == ("tool", "user"):
            text = "Unexpected role 'user' after role 'tool'"
            raise _refused_behind(text, "invalid_request_message_order", "3230", party)
        before = role
        ids = [call.get("id") for call in message.get("tool_calls") or ()]
        ids += [message.get("tool_call_id")] if role == "tool" else []
        for one in ids:
            if not _CALL_ID.fullmatch(str(one)):
                text = f"Tool call id was {one} but must be a-z, A-Z, 0-9, with a length of 9."
                raise _refused_behind(text, "invalid_function_call", "3280", party)


def _refused_behind(text: str, kind: str, code: str, party: str) -> Failure:
    """The words of the party behind stand in `metadata.raw`."""
    told = {"object": "error", "message": text, "type": kind, "param": None, "code": code}
    metadata = {"raw": json.dumps(told), "provider_name": party}
    return Failure(400, "Provider returned error", metadata=metadata)
