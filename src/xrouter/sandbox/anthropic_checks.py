"""What the simulated Anthropic insists on, in the words of the original."""

from __future__ import annotations

import re
from typing import Any

from xrouter.sandbox.anthropic_speech import MODELS, prompt_tokens

_KNOWN = frozenset(
    {
        "model", "max_tokens", "messages", "system", "stop_sequences", "stream", "temperature",
        "top_p", "top_k", "tools", "tool_choice", "thinking", "output_config", "metadata",
        "service_tier", "cache_control", "container", "inference_geo", "context_management",
        "mcp_servers", "speed",
    }
)  # fmt: skip
_PARTS = {
    "user": ("text", "image", "document", "tool_result", "search_result"),
    "assistant": ("text", "tool_use", "thinking", "redacted_thinking"),
}
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_SAMPLING = ("temperature", "top_p", "top_k")
_PLAIN = "2023-06-01"
_LEAST_BUDGET = 1024


class Refusal(Exception):
    """An answer with this status and message."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def check(body: dict[str, Any], version: str) -> None:
    """Raise Refusal for the first thing that is wrong."""
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            raise Refusal(f"{name}: Field required")
    for name in body:
        if name not in _KNOWN:
            raise Refusal(f"{name}: Extra inputs are not permitted")
    if body["model"] not in MODELS:
        raise Refusal(f"model: {body['model']}", 404)
    limit = body["max_tokens"]
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise Refusal("max_tokens: Input should be greater than or equal to 1")
    _check_sampling(body, version)
    _check_tools(body)
    _check_thinking(body)
    for stop in body.get("stop_sequences") or ():
        if not isinstance(stop, str) or not stop.strip():
            raise Refusal("stop_sequences: each stop sequence must contain non-whitespace")
    _check_messages(body["messages"])
    tokens, context = prompt_tokens(body), MODELS[body["model"]]
    if tokens > context:
        raise Refusal(f"prompt is too long: {tokens} tokens > {context} maximum")


def _check_sampling(body: dict[str, Any], version: str) -> None:
    for name in _SAMPLING:
        if name in body and version != _PLAIN:
            raise Refusal(f"{name}: this parameter is not supported in version {version}")
    for name in ("temperature", "top_p"):
        value = body.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise Refusal(f"{name}: range: 0..1")
    metadata = body.get("metadata", {})
    if not isinstance(metadata, dict) or metadata.keys() - {"user_id"}:
        raise Refusal("metadata: Extra inputs are not permitted")
    if body.get("service_tier", "auto") not in ("auto", "standard_only"):
        raise Refusal("service_tier: Input should be 'auto' or 'standard_only'")


def _check_tools(body: dict[str, Any]) -> None:
    names = set()
    for index, tool in enumerate(body.get("tools") or ()):
        where = f"tools.{index}"
        if not isinstance(tool, dict) or not _NAME.fullmatch(str(tool.get("name"))):
            raise Refusal(f"{where}.custom.name: String should match pattern")
        schema = tool.get("input_schema")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise Refusal(f"{where}.custom.input_schema.type: Input should be 'object'")
        names.add(tool["name"])
    choice = body.get("tool_choice")
    if choice is None:
        return
    if not names:
        raise Refusal("tool_choice may only be specified while providing tools")
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind not in ("auto", "any", "tool", "none"):
        raise Refusal("tool_choice: Input tag does not match any of the expected tags")
    if kind == "tool" and choice.get("name") not in names:
        raise Refusal(f"Tool '{choice.get('name')}' not found in provided tools")


def _check_thinking(body: dict[str, Any]) -> None:
    thinking = body.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
        return
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or budget < _LEAST_BUDGET:
        raise Refusal("thinking.enabled.budget_tokens: Input should be >= 1024")
    if budget >= body["max_tokens"]:
        raise Refusal("`max_tokens` must be greater than `thinking.budget_tokens`")
    if body.get("temperature", 1) != 1:
        raise Refusal("`temperature` may only be set to 1 when thinking is enabled")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise Refusal("Thinking may not be enabled when tool_choice forces tool use.")


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise Refusal("messages: at least one message is required")
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in _PARTS:
            raise Refusal(f'{where}: Unexpected role "{role}". Allowed: user, assistant')
        blocks = _blocks(message.get("content"), role, where)
        answered = _results(blocks, where)
        if answered - open_calls:
            raise Refusal(
                f"{where}.content: unexpected `tool_use_id` found in `tool_result` blocks"
            )
        if open_calls - answered:
            raise Refusal(
                f"{where}: `tool_use` ids were found without `tool_result` blocks immediately after"
            )
        open_calls = {block["id"] for block in blocks if block["type"] == "tool_use"}
    if open_calls:
        raise Refusal("`tool_use` ids were found without `tool_result` blocks immediately after")
    last = _blocks(messages[-1]["content"], messages[-1]["role"], "messages.-1")[-1]
    if (
        messages[-1]["role"] == "assistant"
        and last.get("text", "x") != last.get("text", "x").rstrip()
    ):
        raise Refusal("messages: final assistant content cannot end with trailing whitespace")


def _blocks(content: Any, role: str, where: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list) or not content:
        raise Refusal(f"{where}: all messages must have non-empty content")
    for number, block in enumerate(content):
        kind = block.get("type") if isinstance(block, dict) else None
        if kind not in _PARTS[role]:
            raise Refusal(f"{where}.content.{number}: Input tag '{kind}' found using 'type'")
        if kind == "text" and not block.get("text"):
            raise Refusal("messages: text content blocks must be non-empty")
        if kind == "thinking" and not block.get("signature"):
            raise Refusal(f"{where}.content.{number}.thinking.signature: Field required")
        if kind == "tool_use" and not isinstance(block.get("input"), dict):
            raise Refusal(f"{where}.content.{number}.tool_use.input: Input should be an object")
        if kind == "tool_use" and not _NAME.fullmatch(str(block.get("id"))):
            raise Refusal(f"{where}.content.{number}.tool_use.id: String should match pattern")
        if kind in ("image", "document") and not isinstance(block.get("source"), dict):
            raise Refusal(f"{where}.content.{number}.{kind}.source: Field required")
    found: list[dict[str, Any]] = content
    return found


def _results(blocks: list[dict[str, Any]], where: str) -> set[str]:
    """The calls that are answered; results must stand before everything else."""
    kinds = [block["type"] == "tool_result" for block in blocks]
    if kinds != sorted(kinds, reverse=True):
        raise Refusal(f"{where}: `tool_result` blocks must come first in the content")
    return {str(block.get("tool_use_id")) for block in blocks if block["type"] == "tool_result"}
