"""What the simulated llama.cpp server refuses in a chat, and with which wrong status."""

from __future__ import annotations

from typing import Any

from xrouter.sandbox.llamacpp_errors import ServerError
from xrouter.sandbox.llamacpp_model import SLOTS

Body = dict[str, Any]

_IMAGES = ("image_url", "input_audio", "input_video", "video_url")


def check_chat(body: Body) -> None:
    """Raise ServerError for the first thing that is wrong. Nulls are already gone."""
    messages = body.get("messages")
    if messages is None:
        raise ServerError(400, "'messages' is required")
    if not isinstance(messages, list) or not messages:
        raise ServerError(400, "Expected 'messages' to be a non-empty array")
    for message in messages:
        _check_message(message)
    _check_tail(messages)
    _check_tools(body)
    _check_format(body)
    _check_logprobs(body)
    check_count(body)
    _check_template(body)


def check_count(body: Body) -> None:
    """`n` needs as many slots."""
    for name in ("n", "n_cmpl"):
        count = body.get(name)
        if isinstance(count, int) and not 1 <= count <= SLOTS:
            raise ServerError(
                400, f"Field '{name}': Value must be between 1 <= value <= {SLOTS}, but got {count}"
            )


def _check_message(message: Any) -> None:
    if not isinstance(message, dict):
        raise ServerError(500, "Failed to parse messages: Expected 'message' to be an object")
    role = message.get("role")
    if not isinstance(role, str):
        raise ServerError(500, "Failed to parse messages: Missing 'role' in message")
    for name in ("reasoning_content", "name"):
        if name in message and not isinstance(message[name], str):
            raise ServerError(500, f"Failed to parse messages: Expected '{name}' to be a string")
    _check_said(message)
    content = message.get("content")
    if isinstance(content, list):
        for part in content:
            _check_part(part)
    elif content is not None and not isinstance(content, str):
        raise ServerError(500, "Failed to parse messages: Invalid 'content' type")


def _check_said(message: Body) -> None:
    content = message.get("content")
    if message["role"] == "assistant":
        if content is None and not message.get("tool_calls"):
            raise ServerError(
                400, "Assistant message must contain either 'content' or 'tool_calls'!"
            )
    elif content is None:
        raise ServerError(400, "All non-assistant messages must contain 'content'")
    for call in message.get("tool_calls") or []:
        if not isinstance(call, dict) or call.get("type") != "function":
            raise ServerError(500, "Failed to parse messages: Missing tool call type")


def _check_part(part: Any) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _IMAGES:
        what = "audio" if kind == "input_audio" else kind.partition("_")[0]
        raise ServerError(
            500,
            f"{what} input is not supported - hint: if this is unexpected, you may need to provide"
            " the mmproj",
        )
    if kind != "text":
        raise ServerError(400, "unsupported content[].type")


def _check_tail(messages: list[Body]) -> None:
    """The last message may be an assistant's, to be continued."""
    last = messages[-1]
    if last["role"] != "assistant":
        return
    if len(messages) > 1 and messages[-2]["role"] == "assistant":
        raise ServerError(400, "Cannot have 2 or more assistant messages at the end of the list.")
    if last.get("tool_calls"):
        raise ServerError(400, "Cannot continue an assistant message with tool calls.")


def _check_tools(body: Body) -> None:
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise ServerError(500, "Failed to parse tools: Expected 'tools' to be an array")
    for tool in tools or []:
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise ServerError(500, "Failed to parse tools: Unsupported tool type")
        function = tool.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ServerError(500, "Failed to parse tools: Missing 'function' or its name")
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        raise ServerError(400, f"Invalid tool_choice: {choice}")
    if "grammar" in body and tools:
        raise ServerError(400, "Cannot use custom grammar constraints with tools.")


def _check_format(body: Body) -> None:
    wanted = body.get("response_format")
    kind = wanted.get("type", "text") if isinstance(wanted, dict) else "text"
    if kind not in ("text", "json_object", "json_schema"):
        raise ServerError(
            400,
            'response_format type must be one of "text", "json_object" or "json_schema", but got:'
            f" {kind}",
        )
    if "grammar" in body and ("json_schema" in body or kind != "text"):
        raise ServerError(500, "Cannot use both json_schema and grammar")


def _check_logprobs(body: Body) -> None:
    if "top_logprobs" in body and not body.get("logprobs"):
        raise ServerError(400, "top_logprobs requires logprobs to be set to true")
    if body.get("logprobs") and body.get("tools") and body.get("stream"):
        raise ServerError(400, "logprobs is not supported with tools + stream")


def _check_template(body: Body) -> None:
    extra = body.get("chat_template_kwargs")
    thinking = extra.get("enable_thinking") if isinstance(extra, dict) else None
    if isinstance(thinking, str):
        raise ServerError(
            400, f'invalid type for "enable_thinking" (expected boolean, got string "{thinking}")'
        )
