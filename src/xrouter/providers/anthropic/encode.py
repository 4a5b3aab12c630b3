"""From a chat request to the body of `POST /messages`."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.tools import function_tools, tool_choice
from xrouter.providers.anthropic.messages import read_history

DEFAULT_MAX_TOKENS = 8192
MAX_COPIES = 16
PLAIN_VERSION = "2023-06-01"
"""The version of the API that still takes temperature, top_p and top_k."""

_ONLY_JSON = "Answer with one valid JSON object and nothing else: no words or Markdown around it."
_LEAST_BUDGET = 1024
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 24_576, "xhigh": 32_000}
_HANDLED = frozenset(
    {
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
        "temperature", "top_p", "stop", "n", "tools", "tool_choice", "parallel_tool_calls",
        "functions", "function_call", "response_format", "reasoning_effort", "user", "modalities",
        "logprobs", "top_logprobs", "logit_bias", "audio", "thinking", "output_config",
        "service_tier", "metadata",
    }
)  # fmt: skip
_DROPPED = (
    "seed", "presence_penalty", "frequency_penalty", "prediction", "store", "verbosity",
    "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "web_search_options",
)  # fmt: skip
_TIERS = ("auto", "standard_only")


class Encoded(Struct):
    """json_only: the answer must be a JSON object; nobody but us checks it."""

    body: dict[str, Any]
    dropped: set[str]
    json_only: bool = False


def encode(request: ChatRequest, upstream: str, max_tokens: int, version: str) -> Encoded:
    """Translate. Raises InvalidRequest, naming the parameter, for what cannot be said."""
    _refuse(request)
    history = read_history(request.messages)
    encoded = Encoded({"model": upstream, "max_tokens": request.output_limit or max_tokens}, set())
    encoded.dropped |= history.dropped
    body = encoded.body
    _pass_on(request, encoded)
    _format(request, encoded)
    system = history.spoken_system([_ONLY_JSON] if encoded.json_only else [])
    if system is not None:
        body["system"] = system
    body["messages"] = history.messages
    _tools(request, body)
    _think(request, encoded)
    _sample(request, encoded, version)
    if request.stops:
        body["stop_sequences"] = request.stops
    if request.user is not None:
        body["metadata"] = {"user_id": request.user}
    if request.streaming:
        body["stream"] = True
    return encoded


def _refuse(request: ChatRequest) -> None:
    for name, given in (
        ("logprobs", request.logprobs),
        ("logit_bias", request.logit_bias),
        ("modalities", request.modalities and "audio" in request.modalities),
    ):
        if given:
            raise InvalidRequest(
                f"Anthropic has no '{name}'.", code="unsupported_parameter", param=name
            )
    if any(not stop.strip() for stop in request.stops):
        raise InvalidRequest(
            "Anthropic does not take stop sequences of white space.",
            code="unsupported_value",
            param="stop",
        )
    if request.n is not None and request.n > MAX_COPIES:
        raise InvalidRequest(
            f"Anthropic is asked once for each answer; 'n' may be {MAX_COPIES} at most.",
            code="unsupported_value",
            param="n",
        )


def _pass_on(request: ChatRequest, encoded: Encoded) -> None:
    """Anthropic's own parameters travel through; OpenAI's that it lacks are named."""
    for name, raw in request.fields.items():
        if bytes(raw) == b"null":
            continue
        if name in _DROPPED or name in ("metadata", "audio"):
            encoded.dropped.add(name)
        elif name == "service_tier":
            tier = msgspec.json.decode(raw)
            if tier in _TIERS:
                encoded.body[name] = tier
            else:
                encoded.dropped.add(name)
        elif name == "output_config" or name not in _HANDLED:
            encoded.body[name] = msgspec.json.decode(raw)


def _format(request: ChatRequest, encoded: Encoded) -> None:
    given = request.response_format
    kind = given.get("type") if given else None
    if given is None or kind == "text":
        return
    if kind == "json_object":
        encoded.json_only = True
        return
    nested = given.get("json_schema")
    schema = nested.get("schema") if isinstance(nested, dict) else None
    if kind != "json_schema" or not isinstance(schema, dict):
        raise InvalidRequest(
            "'response_format' must be text, json_object, or json_schema with a schema.",
            code="invalid_value",
            param="response_format",
        )
    config = encoded.body.get("output_config")
    form = {"type": "json_schema", "schema": schema}
    encoded.body["output_config"] = {**(config if isinstance(config, dict) else {}), "format": form}


def _tools(request: ChatRequest, body: dict[str, Any]) -> None:
    tools = function_tools(request)
    if not tools:
        return
    marks = [tool.get("cache_control") for tool in request.tools or ()] or [None] * len(tools)
    told = []
    for tool, mark in zip(tools, marks, strict=True):
        entry: dict[str, Any] = {
            "name": tool.name,
            "input_schema": {"type": "object", "properties": {}} | (tool.parameters or {}),
        }
        if tool.description:
            entry["description"] = tool.description
        if tool.strict:
            entry["strict"] = True
        if mark is not None:
            entry["cache_control"] = mark
        told.append(entry)
    body["tools"] = told
    choice = tool_choice(request)
    kinds = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
    asked: dict[str, Any] = {"type": kinds[choice.mode]}
    if choice.name is not None:
        asked["name"] = choice.name
    if request.parallel_tool_calls is False and choice.mode != "none":
        asked["disable_parallel_tool_use"] = True
    if asked != {"type": "auto"}:
        body["tool_choice"] = asked


def _think(request: ChatRequest, encoded: Encoded) -> None:
    """The caller's own `thinking` stands; an effort becomes a budget inside the answer's limit."""
    body = encoded.body
    if "thinking" in request.fields and bytes(request.fields["thinking"]) != b"null":
        body["thinking"] = msgspec.json.decode(request.fields["thinking"])
        return
    effort = request.reasoning_effort
    if effort is None or effort == "none":
        return
    budget = min(_BUDGETS.get(effort, _BUDGETS["medium"]), body["max_tokens"] // 2)
    forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
    if budget < _LEAST_BUDGET or forced:  # thinking and a forced call exclude each other
        encoded.dropped.add("reasoning_effort")
        return
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _sample(request: ChatRequest, encoded: Encoded, version: str) -> None:
    body = encoded.body
    thinks = body.get("thinking", {}).get("type") == "enabled"
    for name, value in (("temperature", request.temperature), ("top_p", request.top_p)):
        if value is None:
            continue
        if thinks or version != PLAIN_VERSION:
            encoded.dropped.add(name)
            continue
        body[name] = min(value, 1.0)
        if value > 1.0:
            encoded.dropped.add(name)
    if (thinks or version != PLAIN_VERSION) and body.pop("top_k", None) is not None:
        encoded.dropped.add("top_k")
