"""Requests of the OpenAI-compatible API: how they are read, and what is refused in them.

Fields that are documented as unsupported, and unknown ones, are ignored.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from xrouter.sandbox.generate import text_of
from xrouter.sandbox.script import script_of
from xrouter.sandbox.yandex.errors import INVALID, Refusal
from xrouter.sandbox.yandex.models import EMB, GPT, OPEN, Chosen, chosen_by
from xrouter.sandbox.yandex.speech import AUTO, NONE, REQUIRED, Ask, prompt_tokens

Body = dict[str, Any]

IMAGE_TOKENS = 256
_ROLES = ("system", "user", "assistant", "tool")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def read_chat(body: Body) -> Ask:
    """What a chat request asks. Raises Refusal."""
    chosen = _chosen(body, GPT)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages must be a non-empty array")
    images = sum(_check_message(one, chosen) for one in messages)
    _check_results(messages)
    _check_numbers(body, chosen)
    tools = _tools(body)
    choice, forced = _choice(body, tools)
    user, results, called = _history(messages)
    prompt = prompt_tokens(_texts(messages), len(messages), list(tools.items()))
    return Ask(
        chosen=chosen,
        script=script_of(user),
        prompt=prompt + IMAGE_TOKENS * images,
        tools=tools,
        choice=choice,
        forced=forced,
        parallel=chosen.model.family != OPEN or body.get("parallel_tool_calls") is not False,
        results=results,
        called=called,
        wanted=_wanted(body.get("response_format"), chosen),
        limit=body.get("max_completion_tokens") or body.get("max_tokens"),
        thinks=chosen.model.family == OPEN
        and chosen.reasons
        and body.get("reasoning_effort") != "none",
    )


def read_embeddings(body: Body) -> tuple[Chosen, str]:
    """The model and the one text of an embeddings request. Raises Refusal."""
    chosen = _chosen(body, EMB)
    given = body.get("input")
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if not isinstance(given, str) or not given:
        raise _invalid("input must be a single non-empty string")
    if body.get("encoding_format") not in (None, "float"):
        raise _invalid("encoding_format must be float")
    if body.get("dimensions") not in (None, chosen.model.dimensions):
        raise _invalid("dimensions are not supported by the model")
    return chosen, given


def _chosen(body: Body, scheme: str) -> Chosen:
    unknown = Refusal(INVALID, "Failed to get model", kind="server_error")
    chosen = chosen_by(body.get("model"), scheme, unknown)
    if scheme == GPT and not chosen.model.chats:
        raise unknown
    return chosen


def _check_message(one: Any, chosen: Chosen) -> int:
    """Answers the number of images."""
    role = one.get("role") if isinstance(one, dict) else None
    roles = (*_ROLES, "developer") if chosen.model.name.startswith("gpt-oss") else _ROLES
    if role not in roles:
        raise _invalid(f"message role must be one of {', '.join(roles)}")
    for call in _array(one, "tool_calls"):
        _check_call(call, role)
    if role == "tool" and not isinstance(one.get("tool_call_id"), str):
        raise _invalid("tool_call_id is required")
    content = one.get("content")
    if isinstance(content, list):
        return sum(_check_part(part, chosen) for part in content)
    if isinstance(content, str) or (content is None and one.get("tool_calls")):
        return 0
    raise _invalid("message content must be a string or an array of parts")


def _check_call(call: Any, role: Any) -> None:
    function = call.get("function") if isinstance(call, dict) else None
    if role != "assistant" or not isinstance(function, dict):
        raise _invalid("tool_calls are the assistant's, and each has a function")
    if not isinstance(call.get("id"), str) or not isinstance(function.get("name"), str):
        raise _invalid("a tool call needs id and function.name")
    try:
        arguments = msgspec.json.decode(function.get("arguments", ""))
    except (ValueError, TypeError):
        arguments = None
    if not isinstance(arguments, dict):
        raise _invalid("function.arguments must be a JSON object as a string")


def _check_part(part: Any, chosen: Chosen) -> int:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return 0
    if kind != "image_url" or not chosen.model.vision:
        raise _invalid(f"content part {kind!r} is not supported by the model")
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str) or not url.startswith("data:image/") or ";base64," not in url:
        raise _invalid("image_url must be a data URL with a base64 image")
    return 1


def _check_results(messages: list[Body]) -> None:
    """Each result answers a call before it."""
    asked: set[str] = set()
    for one in messages:
        if one["role"] == "tool" and one["tool_call_id"] not in asked:
            raise _invalid(f"tool_call_id {one['tool_call_id']!r} does not match any tool call")
        asked |= {call["id"] for call in one.get("tool_calls") or []}


def _check_numbers(body: Body, chosen: Chosen) -> None:
    most = 2 if chosen.model.family == OPEN else 1
    temperature = _number(body, "temperature")
    if temperature is not None and not 0 <= temperature <= most:
        raise _invalid(f"temperature must be in range [0, {most}]")
    for name in ("max_tokens", "max_completion_tokens"):
        limit = _number(body, name)
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise _invalid(f"{name} must be greater than 0")
    if not isinstance(body.get("stream") or False, bool):
        raise _invalid("stream must be a boolean")


def _number(body: Body, name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(f"{name} must be a number")
    return value


def _array(body: Body, name: str) -> list[Any]:
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _invalid(f"{name} must be an array")
    return value


def _tools(body: Body) -> dict[str, Any]:
    """Parameters by name."""
    tools: dict[str, Any] = {}
    for tool in _array(body, "tools"):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type") != "function":
            raise _invalid("only tools of the type function are supported")
        if not isinstance(function.get("name"), str) or not function["name"]:
            raise _invalid("function.name is required")
        tools[function["name"]] = function.get("parameters") or {}
    return tools


def _choice(body: Body, tools: dict[str, Any]) -> tuple[str, str | None]:
    """The mode, and the name that is forced."""
    choice = body.get("tool_choice") or AUTO
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or name not in tools:
            raise _invalid("tool_choice names a function that is not in tools")
        return REQUIRED, name
    if not isinstance(choice, str) or choice not in (NONE, AUTO, REQUIRED):
        raise _invalid("tool_choice must be none, auto, required or a function")
    return choice, None


def _history(messages: list[Body]) -> tuple[str, list[str], list[str]]:
    """The last user text; results and names of the tools called since."""
    user = ""
    results: list[str] = []
    names: dict[str, str] = {}
    called: list[str] = []
    for one in messages:
        names |= {call["id"]: call["function"]["name"] for call in one.get("tool_calls") or []}
        if one["role"] == "user":
            user, results, called = text_of(one.get("content")), [], []
        elif one["role"] == "tool":
            results.append(text_of(one.get("content")))
            called.append(names[one["tool_call_id"]])
    return user, results, called


def _texts(messages: list[Body]) -> list[str]:
    texts = [text_of(one.get("content")) for one in messages]
    for one in messages:
        functions = [call["function"] for call in one.get("tool_calls") or []]
        texts += [f"{function['name']} {function['arguments']}" for function in functions]
    return texts


def _wanted(format_: Any, chosen: Chosen) -> Body | None:
    """The JSON schema asked for."""
    kind = format_.get("type") if isinstance(format_, dict) else None
    if format_ is None or kind == "text":
        return None
    if kind == "json_object":
        if not chosen.model.loose_json:
            raise _invalid("response_format json_object is not supported by the model")
        return {}
    inner = format_.get("json_schema") if kind == "json_schema" else None
    if not isinstance(inner, dict):
        raise _invalid("response_format must be text, json_object or json_schema")
    if not isinstance(inner.get("name"), str) or not _NAME.fullmatch(inner["name"]):
        raise _invalid("response_format.json_schema.name is required: a-z, A-Z, 0-9, _ and -")
    schema: Body = inner.get("schema") or {}
    return schema


def _invalid(message: str) -> Refusal:
    return Refusal(INVALID, message)
