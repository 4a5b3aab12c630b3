"""What the simulated llama.cpp server refuses in a chat, and with which wrong status."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from xrouter.sandbox.llamacpp_errors import ServerError, wrong_type
from xrouter.sandbox.llamacpp_history import check_messages
from xrouter.sandbox.llamacpp_model import Loaded
from xrouter.sandbox.llamacpp_schema import flaw_in, wanted_schema

Body = dict[str, Any]

_REASONING_FORMATS = ("none", "auto", "deepseek", "deepseek-legacy")


def check_chat(body: Body, model: Loaded) -> None:
    """Raise ServerError for the first thing that is wrong. Nulls are gone where they are absent."""
    check_messages(body, model)
    _check_tools(body)
    _check_format(body)
    _check_logprobs(body)
    _check_reasoning(body)
    _check_schemas(body)


def _check_tools(body: Body) -> None:
    tools = body.get("tools")
    if tools is not None:
        flaw = _flaw_in_tools(tools)
        if flaw is not None:
            shown = json.dumps(tools, indent=2, ensure_ascii=False)
            raise ServerError(500, f"Failed to parse tools: {flaw}; tools = {shown}")
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        raise ServerError(400, f"Invalid tool_choice: {choice}")
    if "grammar" in body and tools:
        raise ServerError(400, "Cannot use custom grammar constraints with tools.")


def _flaw_in_tools(tools: Any) -> str | None:
    if not isinstance(tools, list):
        return f"Expected 'tools' to be an array, got {_shown(tools)}"
    return next(filter(None, map(_flaw_in_tool, tools)), None)


def _flaw_in_tool(tool: Any) -> str | None:
    given = tool if isinstance(tool, dict) else {}
    if "type" not in given:
        return f"Missing tool type: {_shown(tool)}"
    if given["type"] != "function":
        return f"Unsupported tool type: {_shown(tool)}"
    if "function" not in given:
        return f"Missing tool function: {_shown(tool)}"
    function = given["function"] if isinstance(given["function"], dict) else {}
    if "name" not in function:
        return "[json.exception.out_of_range.403] key 'name' not found"
    for name in ("name", "description"):
        value = function.get(name, "")
        if not isinstance(value, str):
            return wrong_type("string", value)
    return None


def _check_format(body: Body) -> None:
    wanted = body.get("response_format")
    kind = wanted.get("type", "text") if isinstance(wanted, dict) else "text"
    if isinstance(kind, str) and kind not in ("", "text", "json_object", "json_schema"):
        raise ServerError(
            400,
            f'response_format type must be one of "text" or "json_object", but got: {kind}',
        )
    if "grammar" in body and wanted_schema(body) is not None:
        raise ServerError(500, "Cannot use both json_schema and grammar")


def _check_logprobs(body: Body) -> None:
    asked = body.get("logprobs") is True
    if "top_logprobs" in body and not asked:
        raise ServerError(400, "top_logprobs requires logprobs to be set to true")
    if asked and body.get("tools") and body.get("stream"):
        raise ServerError(400, "logprobs is not supported with tools + stream")


def _check_reasoning(body: Body) -> None:
    if "reasoning_format" in body:
        wanted = body["reasoning_format"]
        if not isinstance(wanted, str):
            raise ServerError(500, wrong_type("string", wanted))
        if wanted not in _REASONING_FORMATS:
            raise ServerError(500, f"Unknown reasoning format: {wanted}")
    extra = body.get("chat_template_kwargs")
    if isinstance(extra, dict) and isinstance(extra.get("enable_thinking"), str):
        raise ServerError(400, 'invalid type for "enable_thinking" (expected boolean, got string)')


def _check_schemas(body: Body) -> None:
    """Schemas of the answer and of the tools that may be called become part of a parser."""
    schemas: list[Any] = [wanted_schema(body)]
    if body.get("tool_choice") != "none":
        schemas += [tool["function"].get("parameters") for tool in body.get("tools") or []]
    for schema in schemas:
        flaw = None if schema is None else flaw_in(schema)
        if flaw is not None:
            raise ServerError(
                400,
                "Unable to generate parser for this template. Automatic parser generation failed:"
                f" {flaw}",
            )


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode()
