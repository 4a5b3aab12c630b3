"""What the simulated GigaChat refuses in a request of the second contract.

Stricter than is documented: fields that are not known are refused, so that nothing of the first
contract is sent here unnoticed.
"""

from __future__ import annotations

from typing import Any

from xrouter.sandbox.gigachat.checks import NO_RESULT, check_format, check_numbers, is_uuid
from xrouter.sandbox.gigachat.errors import invalid
from xrouter.sandbox.gigachat.functions import names_of
from xrouter.sandbox.gigachat.models import Model

Body = dict[str, Any]

_FIELDS = frozenset(
    {
        "model", "messages", "model_options", "tools", "tool_config", "tools_state_id", "stream",
        "disable_filter", "filter_config", "ranker_options", "user_info", "flags",
    }
)  # fmt: skip
_OPTIONS = frozenset(
    {
        "preset", "temperature", "top_p", "max_tokens", "repetition_penalty", "update_interval",
        "unnormalized_history", "top_logprobs", "reasoning", "response_format",
        "parallel_tool_calls",
    }
)  # fmt: skip
_MESSAGE = frozenset({"role", "content", "tools_state_id", "message_id"})
_PARTS: dict[str, tuple[str, ...]] = {
    "system": ("text",),
    "user": ("text", "files"),
    "assistant": ("text", "files", "function_call"),
    "reasoning": ("text",),
    "tool": ("function_result",),
}
_BUILT_IN = frozenset(
    {
        "web_search", "image_generate", "url_content_extraction", "code_interpreter",
        "model_3d_generate", "get_datetime", "memory",
    }
)  # fmt: skip
_EFFORTS = ("low", "medium", "high", "off")
_LOGPROBS = (1, 5)


def check_chat(body: Body, model: Model) -> None:
    """Raise Refusal for the first thing that is wrong."""
    _known(body, _FIELDS, "")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid("messages must be a non-empty array")
    for index, message in enumerate(messages):
        _check_message(message, index)
    _check_order(messages)
    _check_options(body.get("model_options"), model)
    names = names_of(functions_of(body))
    _check_config(body.get("tool_config"), names, built_in(body))
    for name in ("stream", "disable_filter"):
        if not isinstance(body.get(name, False), bool):
            raise invalid(f"{name} must be a boolean")


def functions_of(body: Body) -> list[Body]:
    """The callers' functions of all tools. Raises Refusal for a tool that is none."""
    found: list[Body] = []
    for tool in _tools(body):
        if "functions" in tool:
            inner = tool["functions"]
            specifications = inner.get("specifications") if isinstance(inner, dict) else None
            if not isinstance(specifications, list):
                raise invalid("tools.functions.specifications must be an array")
            found += specifications
    return found


def built_in(body: Body) -> set[str]:
    """The names of the tools that are GigaChat's own."""
    return {name for tool in _tools(body) for name in tool if name in _BUILT_IN}


def calls_of(message: Body) -> list[Body]:
    """The calls in a message."""
    return [part["function_call"] for part in message["content"] if "function_call" in part]


def results_of(message: Body) -> list[Body]:
    """The results in a message."""
    return [part["function_result"] for part in message["content"] if "function_result" in part]


def _tools(body: Body) -> list[Body]:
    tools = body.get("tools")
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise invalid("tools must be an array")
    for tool in tools:
        if not isinstance(tool, dict) or len(tool) != 1:
            raise invalid("a tool must have exactly one key")
        _known(tool, _BUILT_IN | {"functions"}, "tools.")
    return tools


def _known(given: Body, names: frozenset[str], place: str) -> None:
    for name in given:
        if name not in names:
            raise invalid(f"unknown field {place}{name}")


def _check_message(message: Any, index: int) -> None:
    place = f"messages[{index}]"
    if not isinstance(message, dict):
        raise invalid(f"{place} must be an object")
    _known(message, _MESSAGE, f"{place}.")
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in _PARTS:
        raise invalid(f"{place}.role: unknown role {role!r}")
    if role == "system" and index:
        raise invalid("system message must be the first message")
    if not isinstance(content, list) or not content:
        raise invalid(f"{place}.content must be a non-empty array of parts")
    for part in content:
        _check_part(part, _PARTS[role], place)
    state = message.get("tools_state_id")
    if state is not None and not is_uuid(state):
        raise invalid(f"{place}.tools_state_id must be a uuid")


def _check_part(part: Any, kinds: tuple[str, ...], place: str) -> None:
    if not isinstance(part, dict) or len(part) != 1:
        raise invalid(f"{place}.content: a part must have exactly one key")
    ((kind, value),) = part.items()
    if kind not in kinds:
        raise invalid(f"{place}.content: {kind} is not for this role")
    if kind == "text":
        good = isinstance(value, str)
    elif kind == "files":
        good = isinstance(value, list) and all(
            isinstance(file, dict) and isinstance(file.get("id"), str) for file in value
        )
    elif kind == "function_call":
        good = _is_named(value) and isinstance(value.get("arguments"), dict)
    else:
        good = _is_named(value) and isinstance(value.get("result"), dict | str)
    if not good:
        raise invalid(f"{place}.content: {kind} is malformed")


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str) and bool(value["name"])


def _check_order(messages: list[Body]) -> None:
    """Results stand right after their calls, in a message with the same state; each call has one.

    Of several calls in a message each has an id, and so has its result.
    """
    asked: Body | None = None
    for message in messages:
        if message["role"] == "tool":
            _check_results(asked, message)
            asked = None
            continue
        if asked is not None:
            raise invalid(NO_RESULT)
        if calls_of(message):
            asked = message
    if asked is not None:
        raise invalid(NO_RESULT)


def _check_results(asked: Body | None, message: Body) -> None:
    if asked is None:
        raise invalid("function_result must follow the call of this function")
    calls, results = calls_of(asked), results_of(message)
    if asked.get("tools_state_id") != message.get("tools_state_id"):
        raise invalid("tools_state_id of the call and of its result must be the same")
    several = len(calls) > 1
    if several and not all(isinstance(call.get("id"), str) for call in calls):
        raise invalid("each of several function calls must have an id")
    told = sorted((str(call.get("id")) if several else "", call["name"]) for call in calls)
    given = sorted((str(one.get("id")) if several else "", one["name"]) for one in results)
    if told != given:
        raise invalid(NO_RESULT)


def _check_options(options: Any, model: Model) -> None:
    if options is None:
        return
    if not isinstance(options, dict):
        raise invalid("model_options must be an object")
    _known(options, _OPTIONS, "model_options.")
    check_numbers(options)
    check_format(options.get("response_format"), ("text", "json_schema", "regex"), model)
    reasoning = options.get("reasoning")
    if reasoning is not None and (
        not isinstance(reasoning, dict) or reasoning.get("effort") not in _EFFORTS
    ):
        raise invalid(f"reasoning.effort must be one of {', '.join(_EFFORTS)}")
    many = options.get("top_logprobs")
    if many is not None and (not isinstance(many, int) or not _LOGPROBS[0] <= many <= _LOGPROBS[1]):
        raise invalid("top_logprobs must be in range [1, 5]")
    if not isinstance(options.get("parallel_tool_calls", False), bool):
        raise invalid("parallel_tool_calls must be a boolean")


def _check_config(config: Any, names: set[str], built_in: set[str]) -> None:
    if config is None:
        return
    mode = config.get("mode") if isinstance(config, dict) else None
    if mode in ("auto", "none"):
        return
    if mode == "forced":
        named = str(config.get("function_name")) in names
        if not named and str(config.get("tool_name")) not in built_in:
            raise invalid("tool_config: the forced function or tool is not in tools")
    elif mode == "any":
        wanted = config.get("functions_names_any")
        if not isinstance(wanted, list) or not wanted or not names.issuperset(map(str, wanted)):
            raise invalid("tool_config.functions_names_any must name functions of tools")
    else:
        raise invalid(f"tool_config.mode: unknown mode {mode!r}")
