"""What the simulated GigaChat refuses in a chat request."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from xrouter.sandbox.gigachat.errors import Refusal, invalid
from xrouter.sandbox.gigachat.functions import check_functions
from xrouter.sandbox.gigachat.models import Model

Body = dict[str, Any]

_ROLES = ("system", "user", "assistant", "function")
_EFFORTS = ("low", "medium", "high")
NO_RESULT = "every assistant function call must have a result in history"


def check_chat(body: Body, model: Model) -> None:
    """Raise Refusal for the first thing that is wrong."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid("messages must be a non-empty array")
    for index, message in enumerate(messages):
        _check_message(message, index)
    _check_order(messages)
    check_functions(body)
    check_numbers(body)
    check_format(body.get("response_format"), ("text", "json_schema"), model)
    for name in ("stream", "profanity_check"):
        if not isinstance(body.get(name, False), bool):
            raise invalid(f"{name} must be a boolean")
    if body.get("reasoning_effort") not in (None, *_EFFORTS):
        raise invalid(f"reasoning_effort must be one of {', '.join(_EFFORTS)}")


def _check_message(message: Any, index: int) -> None:
    place = f"messages[{index}]"
    if not isinstance(message, dict):
        raise invalid(f"{place} must be an object")
    role = message.get("role")
    if role not in _ROLES:
        raise invalid(f"{place}.role: unknown role {role!r}")
    if not isinstance(message.get("content"), str):
        raise invalid(f"{place}.content must be a string")
    if role == "system" and index:
        raise invalid("system message must be the first message")
    if role == "function":
        _check_result(message, place)
    if message.get("function_call") is not None:
        _check_call(message, place)
    state = message.get("functions_state_id")
    if state is not None and not is_uuid(state):
        raise invalid(f"{place}.functions_state_id must be a uuid")


def _check_result(message: Body, place: str) -> None:
    if not isinstance(message.get("name"), str) or not message["name"]:
        raise invalid(f"{place}.name is required for a function message")
    content: str = message["content"]
    try:
        msgspec.json.decode(content)
    except ValueError:
        raise Refusal(
            422,
            f"INVALID_PARAMS: invalid function result for function json string `{content}`",
        ) from None


def _check_call(message: Body, place: str) -> None:
    call = message["function_call"]
    if message["role"] != "assistant":
        raise invalid(f"{place}.function_call is for the assistant only")
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise invalid(f"{place}.function_call.name is required")
    if not isinstance(call.get("arguments"), dict):
        raise invalid(f"{place}.function_call.arguments must be an object")


def _check_order(messages: list[Body]) -> None:
    """The result of a function stands right after its call, and each call has one."""
    asked: str | None = None
    for message in messages:
        if message["role"] == "function" and message["name"] != asked:
            raise invalid(
                f"function message {message['name']!r} must follow the call of this function"
            )
        if message["role"] != "function" and asked is not None:
            raise invalid(NO_RESULT)
        asked = (message.get("function_call") or {}).get("name")
    if asked is not None:
        raise invalid(NO_RESULT)


def check_numbers(body: Body) -> None:
    """Raise Refusal for sampling parameters out of their ranges."""
    penalty = _number(body, "repetition_penalty")
    if penalty is not None and penalty <= 0:
        raise Refusal(422, "repetition_penalty must be in range (0, +inf)")
    temperature = _number(body, "temperature")
    if temperature is not None and temperature <= 0:
        raise Refusal(422, "temperature must be in range (0, +inf)")
    top_p = _number(body, "top_p")
    if top_p is not None and not 0 <= top_p <= 1:
        raise Refusal(422, "top_p must be in range [0, 1]")
    interval = _number(body, "update_interval")
    if interval is not None and interval < 0:
        raise Refusal(422, "update_interval must be in range [0, +inf)")
    limit = _number(body, "max_tokens")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise Refusal(422, "max_tokens must be in range [1, +inf)")


def _number(body: Body, name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid(f"{name} must be a number")
    return value


def check_format(wanted: Any, kinds: tuple[str, ...], model: Model) -> None:
    """Raise Refusal for a form of the answer that is wrong, or that the model does not know."""
    if wanted is None:
        return
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind not in kinds:
        raise invalid(f"response_format.type: unknown type {kind!r}")
    if kind != "text" and not model.shapes:
        raise invalid("response_format is not supported by this model")
    if kind == "json_schema" and not isinstance(wanted.get("schema"), dict):
        raise invalid("response_format.schema is required")
    if kind == "regex" and not isinstance(wanted.get("regex"), str):
        raise invalid("response_format.regex is required")
    if not isinstance(wanted.get("strict", False), bool):
        raise invalid("response_format.strict must be a boolean")


def is_uuid(value: Any) -> bool:
    """Whether it is the text of a UUID."""
    try:
        UUID(value)
    except (ValueError, AttributeError, TypeError):
        return False
    return True
