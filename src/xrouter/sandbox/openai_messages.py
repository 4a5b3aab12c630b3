"""What the simulated OpenAI refuses in the messages of a chat request."""

from __future__ import annotations

from typing import Any

from xrouter.sandbox.generate import text_of
from xrouter.sandbox.openai_errors import ApiError, invalid_type, invalid_value, missing

Message = dict[str, Any]

ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_FIELDS = frozenset(
    (
        *("role", "content", "name", "refusal", "audio", "annotations"),
        *("tool_calls", "tool_call_id", "function_call"),
    )
)
_PARTS = {
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
}


def check_messages(messages: list[Any]) -> None:
    """Raise ApiError for the first message that is wrong, alone or in its place."""
    for index, message in enumerate(messages):
        _check_one(message, f"messages[{index}]")
    _check_order(messages)


def mentions_json(messages: list[Message]) -> bool:
    """Whether the word JSON is said anywhere."""
    return any("json" in text_of(message.get("content")).lower() for message in messages)


def _check_one(message: Any, param: str) -> None:
    if not isinstance(message, dict):
        raise invalid_type(param, "an object", message)
    for name, value in message.items():
        if name not in _FIELDS and value is not None:
            raise ApiError(
                f"Unknown parameter: '{param}.{name}'.",
                code="unknown_parameter",
                param=f"{param}.{name}",
            )
    role = message.get("role")
    if role is None:
        raise missing(f"{param}.role")
    if role not in ROLES:
        raise invalid_value(f"{param}.role", role, ROLES)
    _check_content(message, role, param)
    for place, call in enumerate(message.get("tool_calls") or []):
        _check_call(call, f"{param}.tool_calls[{place}]")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise missing(f"{param}.tool_call_id")


def _check_content(message: Message, role: str, param: str) -> None:
    content = message.get("content")
    if content is None:
        spoken = role == "assistant" and any(
            message.get(name) for name in ("tool_calls", "function_call", "refusal", "audio")
        )
        if not spoken and role != "function":
            raise ApiError(
                "Invalid value for 'content': expected a string, got null.",
                param=f"{param}.content",
            )
        return
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise invalid_type(f"{param}.content", "one of a string or array of objects", content)
    for index, part in enumerate(content):
        _check_part(part, f"{param}.content[{index}]", _PARTS.get(role, ("text",)))


def _check_part(part: Any, param: str, kinds: tuple[str, ...]) -> None:
    if not isinstance(part, dict):
        raise invalid_type(param, "an object", part)
    kind = part.get("type")
    if kind is None:
        raise missing(f"{param}.type")
    if kind not in kinds:
        raise invalid_value(f"{param}.type", kind, kinds)
    value = part.get(kind)
    if value is None:
        raise missing(f"{param}.{kind}")
    if kind == "text" and not isinstance(value, str):
        raise invalid_type(f"{param}.text", "a string", value)
    if kind == "image_url":
        _check_image(value, f"{param}.image_url")


def _check_image(image: Any, param: str) -> None:
    if not isinstance(image, dict):
        raise invalid_type(param, "an object", image)
    url = image.get("url")
    if not isinstance(url, str):
        raise missing(f"{param}.url")
    if not url.startswith(("https://", "http://", "data:image/")):
        raise ApiError(
            f"Invalid image URL: '{url[:64]}'. It must be a web address or a data URL.",
            code="invalid_image_url",
            param=f"{param}.url",
        )


def _check_call(call: Any, param: str) -> None:
    if not isinstance(call, dict):
        raise invalid_type(param, "an object", call)
    if not isinstance(call.get("id"), str):
        raise missing(f"{param}.id")
    kind = call.get("type")
    if kind not in ("function", "custom"):
        raise (
            missing(f"{param}.type")
            if kind is None
            else invalid_value(f"{param}.type", kind, ("function", "custom"))
        )
    inner = call.get(kind)
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise missing(f"{param}.{kind}.name")
    given = "arguments" if kind == "function" else "input"
    if given not in inner:
        raise missing(f"{param}.{kind}.{given}")
    if not isinstance(inner[given], str):
        raise invalid_type(f"{param}.{kind}.{given}", "a string", inner[given])


def _check_order(messages: list[Message]) -> None:
    """Tool results follow the calls they answer, and every call is answered."""
    open_calls: list[str] = []
    known: list[str] = []
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            _check_result(message, index, known)
            open_calls = [call for call in open_calls if call != message["tool_call_id"]]
            continue
        if open_calls:
            raise _unanswered(open_calls, index)
        known = [call["id"] for call in message.get("tool_calls") or []]
        open_calls = list(known)
    if open_calls:
        raise _unanswered(open_calls, len(messages))


def _check_result(message: Message, index: int, known: list[str]) -> None:
    if not known:
        raise ApiError(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding"
            " message with 'tool_calls'.",
            param=f"messages.[{index}].role",
        )
    if message["tool_call_id"] not in known:
        raise ApiError(
            f"Invalid parameter: 'tool_call_id' of '{message['tool_call_id']}' not found in"
            " 'tool_calls' of previous message.",
            param=f"messages.[{index}].tool_call_id",
        )


def _unanswered(calls: list[str], index: int) -> ApiError:
    return ApiError(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to"
        " each 'tool_call_id'. The following tool_call_ids did not have response messages:"
        f" {', '.join(calls)}",
        param=f"messages.[{index}].role",
    )
