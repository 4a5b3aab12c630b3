"""What the simulated OpenAI refuses in the parameters of a chat request.

Messages are in `openai_messages`, tools in `openai_tools`.
`check` raises ApiError for the first thing that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xrouter.sandbox.openai_errors import (
    ApiError,
    array_length,
    invalid_type,
    invalid_value,
    missing,
    out_of_range,
    unrecognized,
    unsupported,
)
from xrouter.sandbox.openai_messages import check_messages, mentions_json
from xrouter.sandbox.openai_models import Model
from xrouter.sandbox.openai_tools import check_name, check_strict, check_tools

Body = dict[str, Any]
_Check = Callable[[str, Any], None]

TOOLS_MAX = 128
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_TIERS = ("auto", "default", "flex", "scale", "priority", "fast")
_FORMATS = ("json_object", "json_schema", "text")


def check(body: Body, model: Model) -> None:
    """Raise ApiError for the first parameter that is wrong; absent and null are the same."""
    known = _PARAMETERS if model.reasoning else _PARAMETERS.keys() - {"reasoning_effort"}
    strange = [name for name in body if name not in known]
    if strange:
        raise unrecognized(strange)
    for name, value in body.items():
        if value is not None:
            _PARAMETERS[name](name, value)
    check_messages(body["messages"])
    _check_together(body)
    _check_format(body)
    check_tools(body)
    if model.reasoning:
        _check_reasoning(body)


def check_number(name: str, value: Any, low: float, high: float) -> None:
    """A JSON number within limits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid_type(name, "a decimal", value)
    if not low <= value <= high:
        raise out_of_range(name, float(value), low, high)


def check_integer(name: str, value: Any, low: int | None, high: int | None) -> None:
    """A JSON integer within limits."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid_type(name, "an integer", value)
    if (low is not None and value < low) or (high is not None and value > high):
        raise out_of_range(name, value, low, high)


def _number(low: float, high: float) -> _Check:
    return lambda name, value: check_number(name, value, low, high)


def _integer(low: int | None = None, high: int | None = None) -> _Check:
    return lambda name, value: check_integer(name, value, low, high)


def _typed(kind: type, expected: str) -> _Check:
    def one(name: str, value: Any) -> None:
        if not isinstance(value, kind):
            raise invalid_type(name, expected, value)

    return one


def _one_of(*values: str) -> _Check:
    def one(name: str, value: Any) -> None:
        if value not in values:
            raise invalid_value(name, value, values)

    return one


def _array(least: int, most: int) -> _Check:
    def one(name: str, value: Any) -> None:
        if not isinstance(value, list):
            raise invalid_type(name, "an array", value)
        if not least <= len(value) <= most:
            raise array_length(name, len(value), least, most)

    return one


def _stop(name: str, value: Any) -> None:
    if isinstance(value, list):
        if len(value) > 4:  # noqa: PLR2004 - the documented limit
            raise array_length(name, len(value), 0, 4)
        for index, one in enumerate(value):
            _str(f"{name}[{index}]", one)
    elif not isinstance(value, str):
        raise invalid_type(name, "a string", value)


def _tier(name: str, value: Any) -> None:
    if value not in _TIERS:
        raise ApiError("Invalid service_tier argument", param=name)


def _any(_name: str, _value: Any) -> None:
    return None


_bool = _typed(bool, "a boolean")
_str = _typed(str, "a string")
_dict = _typed(dict, "an object")

_PARAMETERS: dict[str, _Check] = {
    "model": _str,
    "messages": _array(1, 100_000),
    "audio": _dict,
    "frequency_penalty": _number(-2, 2),
    "function_call": _any,
    "functions": _array(1, TOOLS_MAX),
    "logit_bias": _dict,
    "logprobs": _bool,
    "max_completion_tokens": _integer(1),
    "max_tokens": _integer(1),
    "metadata": _dict,
    "modalities": _array(1, 2),
    "moderation": _dict,
    "n": _integer(1, 128),
    "parallel_tool_calls": _bool,
    "prediction": _dict,
    "presence_penalty": _number(-2, 2),
    "prompt_cache_key": _str,
    "prompt_cache_options": _dict,
    "prompt_cache_retention": _str,
    "reasoning_effort": _one_of(*_EFFORTS),
    "response_format": _dict,
    "safety_identifier": _str,
    "seed": _integer(),
    "service_tier": _tier,
    "stop": _stop,
    "store": _bool,
    "stream": _bool,
    "stream_options": _dict,
    "temperature": _number(0, 2),
    "tool_choice": _any,
    "tools": _array(0, TOOLS_MAX),
    "top_logprobs": _integer(0, 20),
    "top_p": _number(0, 1),
    "user": _str,
    "verbosity": _one_of("low", "medium", "high"),
    "web_search_options": _dict,
}


def _check_together(body: Body) -> None:
    if body.get("stream_options") is not None and not body.get("stream"):
        raise ApiError(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise ApiError(
            "The 'logprobs' parameter must be enabled to use 'top_logprobs'.", param="top_logprobs"
        )
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        raise ApiError(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            code="invalid_parameter_combination",
            param="max_tokens",
        )
    if not body.get("tools"):
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.get(name) is not None and body[name] != "none":
                raise ApiError(
                    f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are"
                    " specified.",
                    param=name,
                )


def _check_reasoning(body: Body) -> None:
    if body.get("max_tokens") is not None:
        raise unsupported("max_tokens", "max_completion_tokens")
    for name in ("logprobs", "top_logprobs", "logit_bias", "stop"):
        if body.get(name):
            raise unsupported(name)
    for name, usual in (
        ("temperature", 1), ("top_p", 1), ("presence_penalty", 0), ("frequency_penalty", 0)
    ):  # fmt: skip
        value = body.get(name)
        if value is not None and value != usual:
            raise ApiError(
                f"Unsupported value: '{name}' does not support {value:g} with this model. Only the"
                f" default ({usual}) value is supported.",
                code="unsupported_value",
                param=name,
            )


def _check_format(body: Body) -> None:
    wanted = body.get("response_format")
    if wanted is None:
        return
    kind = wanted.get("type")
    if kind not in _FORMATS:
        raise invalid_value("response_format.type", kind, _FORMATS)
    if kind == "json_object" and not mentions_json(body["messages"]):
        raise ApiError(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of"
            " type 'json_object'.",
            param="messages",
        )
    if kind == "json_schema":
        _check_schema(wanted.get("json_schema"))


def _check_schema(given: Any) -> None:
    if not isinstance(given, dict):
        raise missing("response_format.json_schema")
    if not isinstance(given.get("name"), str):
        raise missing("response_format.json_schema.name")
    check_name(given["name"], "response_format.json_schema.name")
    if given.get("strict"):
        check_strict(given.get("schema"), f"response_format '{given['name']}'", "response_format")
