"""The parameters of a request. The provider's schema is closed: one field too many is an error."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from xrouter.domain.chat import ChatRequest, text_of
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.mistral.content import MAX_NAME, Dropped, Part, keep

HOTTEST = 1.5
"""The highest temperature the provider is known to take."""

_AS_WRITTEN = frozenset(
    {
        "top_p", "random_seed", "metadata", "n", "presence_penalty", "frequency_penalty",
        "prompt_mode", "safe_prompt", "guardrails", "min_tokens", "repetition_penalty", "top_k",
        "logprobs", "top_logprobs", "prompt_logprobs", "top_prompt_logprobs",
    }
)  # fmt: skip
_READ = frozenset(
    {
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
        "temperature", "seed", "stop", "tools", "tool_choice", "parallel_tool_calls", "functions",
        "function_call", "response_format", "prediction", "reasoning_effort", "service_tier",
        "prompt_cache_key", "modalities", "web_search_options",
    }
)  # fmt: skip
SENT = _AS_WRITTEN | {
    "stream", "max_tokens", "temperature", "stop", "tools", "tool_choice", "parallel_tool_calls",
    "response_format", "prediction", "reasoning_effort", "service_tier", "prompt_cache_key",
}  # fmt: skip
"""All parameters that go out, by the provider's names."""

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "store": (False,),
    "logit_bias": ({},),
    "verbosity": ("medium",),
    "service_tier": ("default",),
}
"""Values that ask for what happens anyway: nothing is lost when they are not passed on."""

_NULL = Raw(b"null")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_TIERS = ("auto", "standard_only")
_FORMATS = ("text", "json_object", "json_schema")


def parameters_of(request: ChatRequest, dropped: Dropped) -> Part:
    """All fields of the body but model, messages, tools and reasoning. Values may be raw JSON."""
    _refuse(request)
    body = _passed_on(request, dropped)
    _limits(request, body, dropped)
    _sampling(request, body, dropped)
    _service(request, body, dropped)
    if request.stop:
        body["stop"] = request.stop
    if request.response_format is not None:
        body["response_format"] = _format(request.response_format, dropped)
    if _is_set(request, "prediction"):
        body["prediction"] = _prediction(request.fields["prediction"])
    if request.streaming:
        body["stream"] = True
    return body


def _passed_on(request: ChatRequest, dropped: Dropped) -> Part:
    """The fields that both sides call the same; what nobody here knows is noted."""
    body: Part = {}
    for name, raw in request.fields.items():
        if bytes(raw) == bytes(_NULL):
            if name == "prompt_mode":  # null is a value there
                body[name] = None
        elif name in _AS_WRITTEN:
            body[name] = raw
        elif name not in _READ and _value(raw) not in _NEUTRAL.get(name, ()):
            dropped.add(name[:MAX_NAME])
    return body


def _is_set(request: ChatRequest, name: str) -> bool:
    return bytes(request.fields.get(name, _NULL)) != bytes(_NULL)


def reason(
    request: ChatRequest,
    upstream: str,
    body: Part,
    dropped: Dropped,
    *,
    thinks: bool | None,
) -> None:
    """Put the effort into the body.

    thinks: whether the model reasons; None when that is not known, and tried. Magistral models
    know no effort, only a mode that is on or off.
    """
    effort = request.reasoning_effort
    if effort is None:
        return
    if effort not in _EFFORTS:
        raise _wrong(
            "reasoning_effort", f"'reasoning_effort' must be one of: {', '.join(_EFFORTS)}."
        )
    if "magistral" in upstream:
        body.setdefault("prompt_mode", None if effort == "none" else "reasoning")
    elif thinks is not False:
        body["reasoning_effort"] = effort
    elif effort != "none":
        dropped.add("reasoning_effort")


def _refuse(request: ChatRequest) -> None:
    if any(kind != "text" for kind in request.modalities or ()):
        raise _wrong("modalities", "This model answers with text only.", "unsupported_value")
    if _is_set(request, "web_search_options"):
        raise _wrong(
            "web_search_options",
            "'web_search_options' is not supported with this model.",
            "unsupported_parameter",
        )


def _limits(request: ChatRequest, body: Part, dropped: Dropped) -> None:
    if request.output_limit is not None:
        body["max_tokens"] = request.output_limit
    if request.max_tokens is not None and request.max_tokens != request.output_limit:
        dropped.add("max_tokens")


def _sampling(request: ChatRequest, body: Part, dropped: Dropped) -> None:
    if request.seed is not None:
        if body.get("random_seed") is None:
            body["random_seed"] = request.seed
        else:
            dropped.add("seed")
    if request.temperature is not None:
        body["temperature"] = min(request.temperature, HOTTEST)
        if request.temperature > HOTTEST:
            dropped.add("temperature")
    if request.temperature == 0 and request.top_p not in (None, 1):
        del body["top_p"]  # always the likeliest token: some models refuse another top_p then
        dropped.add("top_p")


def _service(request: ChatRequest, body: Part, dropped: Dropped) -> None:
    for name in ("service_tier", "prompt_cache_key"):
        raw = request.fields.get(name)
        value = None if raw is None else _value(raw)
        if value is None or value in _NEUTRAL.get(name, ()):
            continue
        fits = value in _TIERS if name == "service_tier" else _is_ascii(value)
        if fits:
            body[name] = value
        else:
            dropped.add(name)


def _is_ascii(value: Any) -> bool:
    return isinstance(value, str) and value.isascii()


def _format(given: Part, dropped: Dropped) -> Part:
    kind = given.get("type")
    if kind not in _FORMATS:
        raise _wrong(
            "response_format.type", f"'response_format.type' must be one of: {', '.join(_FORMATS)}."
        )
    kept = keep(given, frozenset({"type", "json_schema"}), "response_format", dropped)
    if kind != "json_schema":
        return {"type": kind}
    spec = kept.get("json_schema")
    name = spec.get("name") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(name, str) or not name:
        where = "response_format.json_schema.name"
        raise _wrong(where, f"Missing required parameter: '{where}'.", "missing_required_parameter")
    known = frozenset({"name", "schema", "description", "strict"})
    spec = keep(spec, known, "response_format.json_schema", dropped)
    return {"type": kind, "json_schema": {"schema": {"type": "object"}, **spec}}


def _prediction(raw: Raw) -> Part:
    """The provider takes one text; OpenAI also a list of text parts."""
    given = _value(raw)
    content = given.get("content") if isinstance(given, dict) else None
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        content = "".join(text_of([part]) for part in content)
    if not isinstance(content, str) or given.get("type", "content") != "content":
        raise _wrong("prediction", "'prediction' must be of type 'content' and hold a text.")
    return {"type": "content", "content": content}


def _value(raw: Raw) -> Any:
    return msgspec.json.decode(raw)


def _wrong(param: str, message: str, code: str = "invalid_value") -> InvalidRequest:
    return InvalidRequest(message, code=code, param=param)
