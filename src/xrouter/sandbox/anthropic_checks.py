"""What the simulated Anthropic insists on in a request, in the words of the original."""

from __future__ import annotations

from typing import Any

from xrouter.sandbox.anthropic_history import (
    NAME,
    Block,
    Refusal,
    check_mark,
    check_system,
    forbid_extra,
    read_turns,
)
from xrouter.sandbox.anthropic_models import MODELS, Claude
from xrouter.sandbox.anthropic_speech import prompt_tokens

PLAIN_VERSION = "2023-06-01"
_COUNTED = frozenset(
    {
        "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config",
        "cache_control", "context_management", "mcp_servers", "speed",
    }
)  # fmt: skip
_KNOWN = _COUNTED | {
    "max_tokens", "stop_sequences", "stream", "temperature", "top_p", "top_k", "metadata",
    "service_tier", "container", "inference_geo", "diagnostics", "user_profile_id",
}  # fmt: skip
_TOOL = (
    "type", "name", "description", "input_schema", "cache_control", "strict", "defer_loading",
    "eager_input_streaming", "input_examples", "allowed_callers",
)  # fmt: skip
_SAMPLING = ("temperature", "top_p", "top_k")
_THINKING = {
    "enabled": ("budget_tokens", "display"),
    "adaptive": ("display",),
    "disabled": (),
    "between_tools": (),
}
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_LIMITS = ("minimum", "maximum", "minLength", "maxLength", "multipleOf", "maxItems", "pattern")
_LEAST_BUDGET = 1024
_LEAST_TOP_P = 0.95
_MAX_DEPTH = 64


def check(body: dict[str, Any], version: str, *, counting: bool = False) -> None:
    """Raise Refusal for the first thing that is wrong."""
    for name in ("model", "messages") if counting else ("model", "max_tokens", "messages"):
        if name not in body:
            raise Refusal(f"{name}: Field required")
    for name in body:
        if name not in (_COUNTED if counting else _KNOWN):
            raise Refusal(f"{name}: Extra inputs are not permitted")
    model = MODELS.get(body["model"]) if isinstance(body["model"], str) else None
    if model is None:
        raise Refusal(f"model: {body['model']}", 404)
    _check_limit(body.get("max_tokens", 1), body["model"], model)
    _check_sampling(body, version, model)
    _check_others(body)
    _check_tools(body)
    check_system(body.get("system"))
    turns = read_turns(body["messages"])
    called = any(block["type"] == "tool_use" for _, blocks in turns for block in blocks)
    if called and not body.get("tools"):
        raise Refusal("Requests which include `tool_use` or `tool_result` blocks must define tools")
    if turns[-1][0] == "assistant" and model.modern:
        raise Refusal(
            "This model does not support assistant message prefill. "
            "The conversation must end with a user message."
        )
    _check_thinking(body, model, turns)
    _check_output(body.get("output_config"))
    tokens = prompt_tokens(body)
    if tokens > model.context:
        raise Refusal(f"prompt is too long: {tokens} tokens > {model.context} maximum")


def _check_limit(limit: Any, name: str, model: Claude) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise Refusal("max_tokens: Input should be greater than or equal to 1")
    if limit > model.longest:
        raise Refusal(
            f"max_tokens: {limit} > {model.longest}, which is the maximum allowed number of "
            f"output tokens for {name}"
        )


def _check_sampling(body: dict[str, Any], version: str, model: Claude) -> None:
    given = [name for name in _SAMPLING if name in body]
    for name in given:
        if version != PLAIN_VERSION:
            raise Refusal(f"{name}: this parameter is not supported in version {version}")
        if model.modern:
            raise Refusal(f"`{name}` is deprecated for this model.")
    for name in ("temperature", "top_p"):
        value = body.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise Refusal(f"{name}: range: 0..1")
    if {"temperature", "top_p"} <= set(given):
        raise Refusal(
            "`temperature` and `top_p` cannot both be specified for this model. "
            "Please use only one."
        )


def _check_others(body: dict[str, Any]) -> None:
    metadata = body.get("metadata", {})
    if not isinstance(metadata, dict):
        raise Refusal("metadata: Input should be a valid dictionary")
    forbid_extra(metadata, ("user_id",), "metadata")
    if body.get("service_tier", "auto") not in ("auto", "standard_only"):
        raise Refusal("service_tier: Input should be 'auto' or 'standard_only'")
    if not isinstance(body.get("stream", False), bool):
        raise Refusal("stream: Input should be a valid boolean")
    check_mark(body, "body")
    for index, stop in enumerate(body.get("stop_sequences") or ()):
        if not isinstance(stop, str) or not stop.strip():
            raise Refusal(f"stop_sequences.{index}: each stop sequence must contain non-whitespace")


def _check_tools(body: dict[str, Any]) -> None:
    names: set[str] = set()
    for index, tool in enumerate(body.get("tools") or ()):
        where = f"tools.{index}.custom"
        if not isinstance(tool, dict) or not NAME.fullmatch(str(tool.get("name"))):
            raise Refusal(f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        forbid_extra(tool, _TOOL, where)
        check_mark(tool, where)
        schema = tool.get("input_schema")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise Refusal(f"{where}.input_schema.type: Input should be 'object'")
        if tool.get("strict"):
            _check_closed(schema, f"{where}.input_schema")
        if tool["name"] in names:
            raise Refusal("tools: Tool names must be unique.")
        names.add(tool["name"])
    if body.get("tool_choice") is not None:
        _check_choice(body["tool_choice"], names)


def _check_choice(choice: Any, names: set[str]) -> None:
    if not names:
        raise Refusal("tool_choice: may only be specified while providing tools")
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind not in ("auto", "any", "tool", "none"):
        raise Refusal("tool_choice: Input tag does not match any of the expected tags")
    own = {"tool": ("name", "disable_parallel_tool_use"), "none": ()}
    known = own.get(kind, ("disable_parallel_tool_use",))
    forbid_extra(choice, ("type", *known), f"tool_choice.{kind}")
    if kind == "tool" and choice.get("name") not in names:
        raise Refusal(f"Tool '{choice.get('name')}' not found in provided tools")


def _check_thinking(
    body: dict[str, Any], model: Claude, turns: list[tuple[str, list[Block]]]
) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind not in _THINKING:
        raise Refusal("thinking: Input tag does not match any of the expected tags")
    forbid_extra(thinking, ("type", *_THINKING[kind]), f"thinking.{kind}")
    if kind not in ("enabled", "adaptive"):
        return
    if kind == "enabled":
        _check_budget(body, model, turns)
    elif "adaptive" not in model.thinking:
        raise Refusal("adaptive thinking is not supported on this model")
    if body.get("temperature", 1) != 1:
        raise Refusal("`temperature` may only be set to 1 when thinking is enabled.")
    if body.get("top_p", 1) < _LEAST_TOP_P:
        raise Refusal("`top_p` must be greater than or equal to 0.95 when thinking is enabled.")
    if "top_k" in body:
        raise Refusal("`top_k` must be unset when thinking is enabled.")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise Refusal("Thinking may not be enabled when tool_choice forces tool use.")


def _check_budget(
    body: dict[str, Any], model: Claude, turns: list[tuple[str, list[Block]]]
) -> None:
    if "enabled" not in model.thinking:
        raise Refusal(
            '"thinking.type.enabled" is not supported for this model. Use '
            '"thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
        )
    budget = body["thinking"].get("budget_tokens")
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < _LEAST_BUDGET:
        raise Refusal(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
        )
    if budget >= body.get("max_tokens", budget + 1):
        raise Refusal("`max_tokens` must be greater than `thinking.budget_tokens`.")
    results = turns[-1][1][0]["type"] == "tool_result"
    last = turns[-2] if results else turns[-1]
    if last[0] == "assistant" and last[1][0]["type"] not in ("thinking", "redacted_thinking"):
        raise Refusal(
            f"messages.{len(turns) - 1 - results}.content.0.type: Expected `thinking` or "
            f"`redacted_thinking`, but found `{last[1][0]['type']}`. When `thinking` is enabled, a "
            "final `assistant` message must start with a thinking block."
        )


def _check_output(config: Any) -> None:
    if config is None:
        return
    if not isinstance(config, dict):
        raise Refusal("output_config: Input should be a valid dictionary")
    forbid_extra(config, ("effort", "format"), "output_config")
    if config.get("effort") not in (None, *_EFFORTS):
        raise Refusal("output_config.effort: Input should be 'low', 'medium', 'high', ...")
    form = config.get("format")
    if form is None:
        return
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        raise Refusal("output_config.format.type: Input should be 'json_schema'")
    forbid_extra(form, ("type", "schema"), "output_config.format")
    if not isinstance(form.get("schema"), dict):
        raise Refusal("output_config.format.schema: Field required")
    _check_closed(form["schema"], "output_config.format.schema")


def _check_closed(schema: Any, where: str, depth: int = 0) -> None:
    """Objects allow nothing more, and there are no limits of values."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return
    kind = schema.get("type")
    if kind == "object" and schema.get("additionalProperties") is not False:
        raise Refusal(
            f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false"
        )
    for name in _LIMITS:
        if isinstance(kind, str) and name in schema:
            raise Refusal(f"{where}: For '{kind}' type, property '{name}' is not supported")
    inner = [schema.get("items"), *(schema.get("anyOf") or ()), *(schema.get("allOf") or ())]
    for name in ("properties", "$defs"):
        inner += (schema.get(name) or {}).values()
    for one in inner:
        _check_closed(one, where, depth + 1)
