"""A request of the Messages API as a chat request."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from xrouter.domain.catalog import Model
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.errors import InvalidRequest
from xrouter.edge.dialects.anthropic.history import History
from xrouter.edge.dialects.anthropic.places import Places
from xrouter.edge.dialects.anthropic.tools import Tooling, read_tools
from xrouter.edge.dialects.anthropic.types import CountTokensBody, MessagesBody
from xrouter.edge.dialects.openai.chat import MAX_STOPS, read_chat
from xrouter.edge.mistakes import explain, invalid_value, missing
from xrouter.edge.voice import encode

BETA = "anthropic-beta"
"""The header with flags for what is in trial: they mean something to Anthropic alone."""
_HERE = frozenset(
    {
        "model", "messages", "system", "max_tokens", "stream", "stop_sequences", "temperature",
        "top_p", "top_k", "tools", "tool_choice", "metadata", "thinking", "output_config",
        "output_format",
    }
)  # fmt: skip
"""Parameters that have a translation."""
_CHATS = frozenset(ChatRequest.__struct_fields__)
"""Names that mean something else in the chat body."""
_WITHOUT_EFFECT = {"service_tier": "auto", "speed": "standard"}
"""What is so anyway."""
_THINKING = ("enabled", "disabled", "adaptive", "between_tools")
_LEAST_BUDGET = 1024
_LOW, _MEDIUM = 4096, 16_384
_USER_LENGTH = 64


class Upstream(Struct, frozen=True):
    """What will answer. native: it speaks this API. marks: it reads marks of the prompt cache."""

    native: bool = False
    marks: bool = False


class Asked(Struct):
    """places: for telling errors in the caller's words. dropped: what the dialect has given up."""

    chat: ChatRequest
    places: Places
    dropped: tuple[str, ...]


def upstream_of(model: Model | None) -> Upstream:
    """By its adapter; marks are read for Claude models wherever they are served."""
    if model is None:
        return Upstream()
    native = ".anthropic" in model.adapter_class
    return Upstream(native, native or "claude" in model.model_id)


def translate(body: CountTokensBody, upstream: Upstream, betas: Sequence[str] = ()) -> Asked:
    """A checked chat request. betas: flags beside the body.

    Raises InvalidRequest that names the caller's parameter.
    """
    try:
        return _translate(body, upstream, betas)
    except RecursionError as error:
        raise explain(error) from None


def _translate(body: CountTokensBody, upstream: Upstream, betas: Sequence[str]) -> Asked:
    history = History(marks=upstream.marks, steady=not upstream.native)
    if body.system:
        history.say_system(body.system, "system")
    for index, turn in enumerate(body.messages):
        history.read(turn, f"messages[{index}]")
    tooling = read_tools(body.tools, body.tool_choice, marks=upstream.marks)
    places = Places(history.places, tooling.origins)
    chat: dict[str, Any] = {"model": body.model, "messages": history.messages}
    chat |= _tool_fields(tooling)
    chat |= _thinking(body, upstream, places)
    form = _format(body)
    if form is not None:
        chat["response_format"] = form
    if isinstance(body, MessagesBody):
        chat |= _sampling(body)
    rest = _rest(body.fields)
    if betas and upstream.native:
        rest["betas"] = _joined(betas, rest.get("betas"))
        places.betas = BETA
    if upstream.native:
        chat |= {name: raw for name, raw in rest.items() if name not in _CHATS}
        rest = {name: raw for name, raw in rest.items() if name in _CHATS}
    dropped = (*history.dropped, *tooling.dropped, *_lost(body, upstream, betas), *sorted(rest))
    stops = body.stop_sequences if isinstance(body, MessagesBody) else None
    return Asked(_read(chat, stops, places), places, tuple(dict.fromkeys(dropped)))


def _tool_fields(tooling: Tooling) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if tooling.tools:
        fields["tools"] = tooling.tools
    if tooling.choice is not None:
        fields["tool_choice"] = tooling.choice
    if tooling.parallel is not None:
        fields["parallel_tool_calls"] = tooling.parallel
    return fields


def _thinking(body: CountTokensBody, upstream: Upstream, places: Places) -> dict[str, Any]:
    """How much it is to think: as it was said for who speaks this API, else as an effort."""
    budget = _budget(body.thinking)
    effort = (body.output_config or {}).get("effort")
    if effort is not None and not isinstance(effort, str):
        raise InvalidRequest(
            "Invalid type for 'output_config.effort': expected a string.",
            code="invalid_type",
            param="output_config.effort",
        )
    if upstream.native:
        names = ("thinking", "output_config")
        return {name: body.fields[name] for name in names if getattr(body, name) is not None}
    if body.thinking is not None and body.thinking["type"] == "disabled":
        return {"reasoning_effort": "none"}
    if effort is not None:
        places.effort = "output_config.effort"
        return {"reasoning_effort": effort}
    if budget is None:
        return {}
    return {
        "reasoning_effort": "low" if budget < _LOW else "medium" if budget < _MEDIUM else "high"
    }


def _budget(thinking: dict[str, Any] | None) -> int | None:
    """Checked; None where it is left to the model."""
    if thinking is None:
        return None
    kind = thinking.get("type")
    if kind not in _THINKING:
        raise invalid_value(
            f"Invalid value for 'thinking.type'. Supported values are: "
            f"{', '.join(map(repr, _THINKING))}.",
            param="thinking.type",
        )
    budget = thinking.get("budget_tokens")
    if kind != "enabled":
        return None
    if budget is None:
        raise missing("thinking.budget_tokens")
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < _LEAST_BUDGET:
        raise invalid_value(
            f"Invalid 'thinking.budget_tokens': expected an integer >= {_LEAST_BUDGET}.",
            param="thinking.budget_tokens",
        )
    return budget


def _format(body: CountTokensBody) -> dict[str, Any] | None:
    given = (body.output_config or {}).get("format") or body.output_format
    if given is None:
        return None
    where = "output_config.format" if given is not body.output_format else "output_format"
    schema = given.get("schema") if isinstance(given, dict) else None
    if not isinstance(given, dict) or given.get("type") != "json_schema":
        raise invalid_value(f"'{where}.type' must be 'json_schema'.", param=f"{where}.type")
    if not isinstance(schema, dict):
        raise missing(f"{where}.schema")
    named: dict[str, Any] = {"name": "output", "schema": schema}
    if _is_strict(schema):
        named["strict"] = True
    return {"type": "json_schema", "json_schema": named}


def _is_strict(schema: Any) -> bool:
    """Whether each object in a schema names all its properties as required, and allows no more.

    Only such schemas can be promised to be kept to; others are asked for without the promise.
    """
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if isinstance(properties, dict) or schema.get("type") == "object":
        required = schema.get("required")
        names = set(properties or ())
        if schema.get("additionalProperties") is not False or not isinstance(required, list):
            return False
        if names != set(map(str, required)):
            return False
    return all(map(_is_strict, schema.values()))


def _sampling(body: MessagesBody) -> dict[str, Any]:
    fields: dict[str, Any] = {"max_tokens": body.max_tokens}
    for name in ("temperature", "top_p", "top_k"):
        if getattr(body, name) is not None:
            fields[name] = body.fields[name]
    if body.stream is not None:
        fields["stream"] = body.stream
    user = (body.metadata or {}).get("user_id")
    if user is not None:
        if not isinstance(user, str):
            raise InvalidRequest(
                "Invalid type for 'metadata.user_id': expected a string.",
                code="invalid_type",
                param="metadata.user_id",
            )
        fields["user"] = user if len(user) <= _USER_LENGTH else _short(user)
    return fields


def _short(user: str) -> str:
    """Providers take 64 characters: as many say who it is, and no more."""
    return hashlib.sha256(user.encode()).hexdigest()


def _rest(fields: Fields) -> Fields:
    """Parameters without a translation that ask for something."""
    return {
        name: raw
        for name, raw in fields.items()
        if name not in _HERE
        and bytes(raw) != b"null"
        and (name not in _WITHOUT_EFFECT or msgspec.json.decode(raw) != _WITHOUT_EFFECT[name])
    }


def _joined(betas: Sequence[str], own: Raw | None) -> Raw:
    """Flags of the header, then those of the body; the adapter checks them."""
    given = [] if own is None else msgspec.json.decode(own)
    return Raw(encode([*betas, *(given if isinstance(given, list) else [given])]))


def _lost(body: CountTokensBody, upstream: Upstream, betas: Sequence[str]) -> list[str]:
    """What has no translation of the flags and of parts of translated parameters."""
    if upstream.native:
        return []
    names = [BETA] if betas else []
    names += [
        f"output_config.{name[:40]}"
        for name in body.output_config or ()
        if name not in ("effort", "format")
    ]
    if isinstance(body, MessagesBody):
        names += [f"metadata.{name[:40]}" for name in body.metadata or () if name != "user_id"]
    if body.thinking and body.thinking.get("display"):
        names.append("thinking.display")
    return names


def _read(chat: dict[str, Any], stops: list[str] | None, places: Places) -> ChatRequest:
    """Check as chat completions do; what is wrong is told in the caller's words.

    More stop sequences than OpenAI takes are allowed here, and left to the adapter.
    """
    try:
        if stops and len(stops) <= MAX_STOPS:
            chat["stop"] = stops
        request = read_chat(encode(chat))
    except InvalidRequest as error:
        places.retell(error)
        raise
    if stops and len(stops) > MAX_STOPS:
        request.stop = stops
        request.fields["stop"] = Raw(encode(stops))
    return request
