"""What the simulated llama.cpp server refuses in a chat's messages, and with which wrong status."""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.sandbox.llamacpp_errors import ServerError, wrong_type
from xrouter.sandbox.llamacpp_model import Loaded
from xrouter.sandbox.llamacpp_templates import calls_of

Body = dict[str, Any]

_MEDIA = ("image_url", "input_audio", "input_video", "video_url")
_TEXTS = ("reasoning_content", "name", "tool_call_id")


def check_messages(body: Body, model: Loaded) -> None:
    """Raise ServerError for the first thing that is wrong."""
    if "messages" not in body:
        raise ServerError(400, "'messages' is required")
    messages = body["messages"]
    if not isinstance(messages, list):
        raise ServerError(400, "Expected 'messages' to be an array")
    for message in messages:
        _check_said(message if isinstance(message, dict) else {}, model)
    for message in messages:
        _check_words(message)
    _check_tail(messages)
    for message in messages:
        for call in calls_of(message):
            _check_arguments(call["function"]["arguments"])
    model.template.check(messages)


def _check_said(message: Body, model: Loaded) -> None:
    """What comes with a status of 400. Content may be null, but not absent."""
    if message.get("role") == "assistant":
        if "content" not in message and "tool_calls" not in message:
            raise ServerError(
                400, "Assistant message must contain either 'content' or 'tool_calls'!"
            )
    elif "content" not in message:
        raise ServerError(400, "All non-assistant messages must contain 'content'")
    content = message.get("content")
    if isinstance(content, list):
        for part in content:
            _check_part(part, model)
    elif content is not None and not isinstance(content, str):
        raise ServerError(400, "Expected 'content' to be a string or an array")


def _check_part(part: Any, model: Loaded) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "image_url" and model.vision:
        _check_image(part)
        return
    if kind in _MEDIA:
        what = "audio" if kind == "input_audio" else str(kind).partition("_")[0]
        raise ServerError(
            500,
            f"{what} input is not supported - hint: if this is unexpected, you may need to provide"
            " the mmproj",
        )
    if kind != "text":
        raise ServerError(400, "unsupported content[].type")


def _check_image(part: Body) -> None:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str) or not url:
        raise ServerError(400, "'url' is required in 'image_url'")


def _check_words(message: Body) -> None:
    """What comes with a status of 500, although it is the caller's fault as well."""
    if "role" not in message:
        raise _unread(f"Missing 'role' in message: {_shown(message)}")
    _check_text(message, "role")
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        if part.get("type") != "text":
            continue
        if "text" not in part:
            raise _unread("[json.exception.out_of_range.403] key 'text' not found")
        _check_text(part, "text")
    for call in calls_of(message):
        _check_call(call)
    for name in _TEXTS:
        if name in message:
            _check_text(message, name)


def _check_call(call: Any) -> None:
    given = call if isinstance(call, dict) else {}
    if "type" not in given:
        raise _unread(f"Missing tool call type: {_shown(call)}")
    if given["type"] != "function":
        raise _unread(f"Unsupported tool call type: {_shown(call)}")
    if "function" not in given:
        raise _unread(f"Missing tool call function: {_shown(call)}")
    function = given["function"]
    if not isinstance(function, dict) or "name" not in function:
        raise _unread(f"Missing tool call name: {_shown(call)}")
    _check_text(function, "name")
    if "id" in given:
        _check_text(given, "id")
    if "arguments" not in function:
        raise _unread("[json.exception.out_of_range.403] key 'arguments' not found")


def _check_text(holder: Body, name: str) -> None:
    if not isinstance(holder[name], str):
        raise _unread(wrong_type("string", holder[name]))


def _unread(words: str) -> ServerError:
    return ServerError(500, f"Failed to parse messages: {words}")


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _check_tail(messages: list[Body]) -> None:
    """The last message may be an assistant's, to be continued."""
    if not messages or messages[-1]["role"] != "assistant":
        return
    if len(messages) > 1 and messages[-2]["role"] == "assistant":
        raise ServerError(400, "Cannot have 2 or more assistant messages at the end of the list.")
    if calls_of(messages[-1]):
        raise ServerError(400, "Cannot continue an assistant message that contains tool calls.")


def _check_arguments(arguments: Any) -> None:
    """The template is given objects, so the text of each call must be JSON."""
    if not isinstance(arguments, str):
        return
    try:
        msgspec.json.decode(arguments.encode())
    except (ValueError, RecursionError) as error:
        raise ServerError(
            500,
            "Failed to parse tool call arguments as JSON: [json.exception.parse_error.101] parse"
            f" error at line 1: {error}",
        ) from error
