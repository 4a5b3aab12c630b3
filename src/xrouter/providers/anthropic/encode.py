"""From a chat request to the body of `POST /messages`."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.anthropic.manners import Manners
from xrouter.providers.anthropic.messages import read_history
from xrouter.providers.anthropic.schema import Fitting
from xrouter.providers.anthropic.thinking import Room, own_thinking, sample, think
from xrouter.providers.anthropic.tools import put_tools

MAX_COPIES = 16
_ONLY_JSON = "Answer with one valid JSON object and nothing else: no words or Markdown around it."
_HANDLED = frozenset(
    {
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
        "temperature", "top_p", "stop", "n", "tools", "tool_choice", "parallel_tool_calls",
        "functions", "function_call", "response_format", "reasoning_effort", "user", "modalities",
        "logprobs", "top_logprobs", "logit_bias", "thinking",
    }
)  # fmt: skip
_DROPPED = frozenset(
    {
        "seed", "presence_penalty", "frequency_penalty", "prediction", "store", "verbosity",
        "prompt_cache_key", "prompt_cache_retention", "web_search_options", "audio",
    }
)  # fmt: skip
_TIERS = {"auto": "auto", "standard_only": "standard_only", "default": "standard_only"}
_BETA = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_MAX_BETAS = 50


class Terms(Struct, frozen=True):
    """What holds for an endpoint and a model. upstream: the model's name there.

    max_tokens: of an answer without a limit of its own. longest: the most that the model can
    answer with, None when unknown. thinks: it can think at all.
    """

    upstream: str
    max_tokens: int
    longest: int | None
    manners: Manners
    thinks: bool = True


class Encoded(Struct):
    """json_only: the answer must be a JSON object; nobody but us checks it. betas: flags."""

    body: dict[str, Any]
    dropped: set[str]
    json_only: bool = False
    betas: tuple[str, ...] = ()


def encode(request: ChatRequest, terms: Terms) -> Encoded:
    """Translate. Raises InvalidRequest, naming the parameter, for what cannot be said."""
    _refuse(request)
    history = read_history(request.messages)
    limit = min(terms.max_tokens, terms.longest or terms.max_tokens)
    body: dict[str, Any] = {"model": terms.upstream, "max_tokens": request.output_limit or limit}
    encoded = Encoded(body, set(history.dropped))
    _pass_on(request, encoded)
    _format(request, encoded)
    system = history.spoken_system([_ONLY_JSON] if encoded.json_only else [])
    if system is not None:
        body["system"] = system
    body["messages"] = history.messages
    encoded.dropped |= put_tools(request, body, history.called())
    if terms.thinks or own_thinking(request) is not None:
        room = Room(history.thinking_is_over(), terms.longest)
        encoded.dropped |= think(request, body, terms.manners, room)
    elif request.reasoning_effort not in (None, "none"):
        encoded.dropped.add("reasoning_effort")
    encoded.dropped |= sample(request, body, terms.manners)
    if request.stops:
        body["stop_sequences"] = request.stops
    if request.streaming:
        body["stream"] = True
    return encoded


def _refuse(request: ChatRequest) -> None:
    for name, given in (
        ("logprobs", request.logprobs),
        ("top_logprobs", request.top_logprobs),
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
    body, dropped = encoded.body, encoded.dropped
    given: dict[str, Any] = {
        name: msgspec.json.decode(raw)
        for name, raw in request.fields.items()
        if name not in _HANDLED and bytes(raw) != b"null"
    }
    dropped |= given.keys() & _DROPPED
    tier = given.pop("service_tier", None)
    if isinstance(tier, str) and tier in _TIERS:
        body["service_tier"] = _TIERS[tier]
    elif tier is not None:
        dropped.add("service_tier")
    if "betas" in given:
        encoded.betas = _betas(given.pop("betas"))
    user = _take_user(request, given, dropped)
    if user is not None:
        body["metadata"] = {"user_id": user}
    if not isinstance(given.get("output_config", {}), dict):
        raise _wrong("output_config", "'output_config' must be an object.")
    body |= {name: value for name, value in given.items() if name not in _DROPPED}


def _take_user(request: ChatRequest, given: dict[str, Any], dropped: set[str]) -> str | None:
    """Who asks, under the first name that says it; all of the names are taken out of `given`."""
    metadata = given.pop("metadata", {})
    fields = metadata if isinstance(metadata, dict) else {}
    if not isinstance(metadata, dict) or fields.keys() - {"user_id"}:
        dropped.add("metadata")
    named = {
        "user": request.user,
        "safety_identifier": given.pop("safety_identifier", None),
        "metadata.user_id": fields.get("user_id"),
    }
    found = {name: user for name, user in named.items() if user is not None}
    for name, user in found.items():
        if not isinstance(user, str):
            raise _wrong(name, f"'{name}' must be a text.")
    dropped |= {name for name, user in found.items() if user != next(iter(found.values()))}
    return next(iter(found.values()), None)


def _betas(given: Any) -> tuple[str, ...]:
    flags = given if isinstance(given, list) else [given]
    sound = all(isinstance(flag, str) and _BETA.fullmatch(flag) for flag in flags)
    if not sound or len(flags) > _MAX_BETAS:
        raise _wrong("betas", "'betas' must be a list of flags of 'anthropic-beta'.")
    return tuple(flags)


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
        raise _wrong(
            "response_format",
            "'response_format' must be text, json_object, or json_schema with a schema.",
        )
    config = encoded.body.get("output_config", {})
    if config.get("format") is None:  # else it is said in Anthropic's own way
        fitting = Fitting()
        form = {"type": "json_schema", "schema": fitting.fit(schema)}
        if fitting.lossy:
            encoded.dropped.add("response_format.json_schema.schema")
        encoded.body["output_config"] = {**config, "format": form}


def _wrong(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_value", param=param)
