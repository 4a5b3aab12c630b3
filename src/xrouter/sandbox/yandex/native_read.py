"""Requests of the native API: how they are read, and what is refused in them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from xrouter.sandbox.generate import total_tokens
from xrouter.sandbox.script import script_of
from xrouter.sandbox.yandex.errors import INVALID, Refusal
from xrouter.sandbox.yandex.models import EMB, GPT, Chosen, chosen_by
from xrouter.sandbox.yandex.proto import double, enum, flag, int64, message, repeated, struct, text
from xrouter.sandbox.yandex.speech import AUTO, Ask, prompt_tokens

Body = dict[str, Any]

_THINKING = "ENABLED_HIDDEN"
_CHOICES = {
    "NONE": "none",
    "AUTO": AUTO,
    "REQUIRED": "required",
    "TOOL_CHOICE_MODE_UNSPECIFIED": AUTO,
}
_FUNCTION = message({"name": text, "description": text, "parameters": struct, "strict": flag})
_CALL = message({"functionCall": message({"name": text, "arguments": struct})})
_RESULT = message({"functionResult": message({"name": text, "content": text})})
_MESSAGE = message(
    {
        "role": text,
        "text": text,
        "toolCallList": message({"toolCalls": repeated(_CALL)}),
        "toolResultList": message({"toolResults": repeated(_RESULT)}),
    },
    oneof=("text", "toolCallList", "toolResultList"),
)
_REASONING = message({"mode": enum("REASONING_MODE_UNSPECIFIED", "DISABLED", _THINKING)})
_OPTIONS = message(
    {"stream": flag, "temperature": double, "maxTokens": int64, "reasoningOptions": _REASONING}
)
_COMPLETION = message(
    {
        "modelUri": text,
        "completionOptions": _OPTIONS,
        "messages": repeated(_MESSAGE),
        "tools": repeated(message({"function": _FUNCTION})),
        "jsonObject": flag,
        "jsonSchema": message({"schema": struct}),
        "parallelToolCalls": flag,
        "toolChoice": message(
            {"mode": enum(*_CHOICES), "functionName": text}, oneof=("mode", "functionName")
        ),
    },
    oneof=("jsonObject", "jsonSchema"),
)
_TOKENIZE = message({"modelUri": text, "text": text})
_EMBEDDING = message({"modelUri": text, "text": text, "dim": int64})


def read_completion(value: Any) -> tuple[Ask, bool]:
    """What a completion request asks, and whether as a stream. Raises Refusal."""
    body: Body = _COMPLETION(value, "")
    chosen = _chosen(body, GPT)
    options: Body = body.get("completionOptions", {})
    _check_options(options)
    messages: list[Body] = body.get("messages", [])
    _check_messages(messages)
    tools = _tools(body)
    user, results, called = _history(messages)
    choice: Body = body.get("toolChoice", {})
    forced = choice.get("functionName")
    if forced is not None and forced not in tools:
        raise Refusal(INVALID, f"toolChoice: function {forced!r} is not in tools")
    ask = Ask(
        chosen=chosen,
        script=script_of(user),
        prompt=prompt_tokens(_texts(messages), len(messages), body.get("tools", [])),
        tools=tools,
        choice=_CHOICES[choice.get("mode", "AUTO")],
        forced=forced,
        parallel=body.get("parallelToolCalls", True),
        results=results,
        called=called,
        wanted=_wanted(body),
        limit=options.get("maxTokens"),
        thinks=chosen.reasons and options.get("reasoningOptions", {}).get("mode") == _THINKING,
    )
    return ask, options.get("stream", False)


def read_tokenize(value: Any) -> tuple[Chosen, str]:
    """The model and the text of a tokenize request. Raises Refusal."""
    body: Body = _TOKENIZE(value, "")
    return _chosen(body, GPT), body.get("text", "")


def read_embedding(value: Any) -> tuple[Chosen, str]:
    """The model and the text of an embedding request. Raises Refusal."""
    body: Body = _EMBEDDING(value, "")
    chosen = _chosen(body, EMB)
    if body.get("dim", 0) not in (0, chosen.model.dimensions):
        raise Refusal(INVALID, f"dim {body['dim']} is not supported by the model")
    if not body.get("text"):
        raise Refusal(INVALID, "empty message text")
    return chosen, body["text"]


def _chosen(body: Body, scheme: str) -> Chosen:
    unknown = Refusal(INVALID, "invalid model_uri")
    chosen = chosen_by(body.get("modelUri"), scheme, unknown)
    if scheme == GPT and not chosen.model.native:
        raise unknown
    return chosen


def _check_options(options: Body) -> None:
    if not 0 <= options.get("temperature", 0) <= 1:
        raise Refusal(INVALID, "temperature must be in range [0, 1]")
    if options.get("maxTokens", 1) <= 0:
        raise Refusal(INVALID, "maxTokens must be greater than 0")


def _check_messages(messages: list[Body]) -> None:
    if not messages:
        raise Refusal(INVALID, "messages must not be empty")
    asked: Counter[str] = Counter()
    for index, one in enumerate(messages):
        place = f"messages[{index}]"
        role = one.get("role")
        if role not in ("system", "user", "assistant"):
            raise Refusal(INVALID, f"{place}.role must be one of system, user, assistant")
        if "toolResultList" in one:
            given = Counter(result["name"] for result in _results(one))
            if not given or given != asked or role == "system":
                raise Refusal(
                    INVALID, f"{place}: tool results do not match the tool calls before them"
                )
        elif "toolCallList" in one:
            if role != "assistant" or not _calls(one):
                raise Refusal(INVALID, f"{place}: tool calls must be the assistant's")
        elif not one.get("text"):
            raise Refusal(INVALID, "empty message text")
        asked = Counter(call["name"] for call in _calls(one))


def _calls(one: Body) -> list[Body]:
    calls = [call.get("functionCall", {}) for call in _items(one, "toolCallList", "toolCalls")]
    if not all(call.get("name") for call in calls):
        raise Refusal(INVALID, "functionCall.name must not be empty")
    return calls


def _results(one: Body) -> list[Body]:
    items = _items(one, "toolResultList", "toolResults")
    results = [result.get("functionResult", {}) for result in items]
    if not all(result.get("name") for result in results):
        raise Refusal(INVALID, "functionResult.name must not be empty")
    return results


def _items(one: Body, field: str, inner: str) -> list[Body]:
    items: list[Body] = one.get(field, {}).get(inner, [])
    return items


def _history(messages: list[Body]) -> tuple[str, list[str], list[str]]:
    """The last user text; results and names of the tools called since."""
    user = ""
    results: list[str] = []
    called: list[str] = []
    for one in messages:
        if "toolResultList" in one:
            results += [result.get("content", "") for result in _results(one)]
            called += [result["name"] for result in _results(one)]
        elif one["role"] == "user":
            user, results, called = one["text"], [], []
    return user, results, called


def _tools(body: Body) -> dict[str, Any]:
    """Parameters by name."""
    functions = [tool.get("function", {}) for tool in body.get("tools", [])]
    for function in functions:
        if not function.get("name") or "parameters" not in function:
            raise Refusal(INVALID, "tools: function name and parameters are required")
    return {function["name"]: function["parameters"] for function in functions}


def _texts(messages: list[Body]) -> list[str]:
    texts = [one.get("text", "") for one in messages]
    for one in messages:
        texts += [f"{call['name']} {call.get('arguments', {})}" for call in _calls(one)]
        texts += [f"{result['name']} {result.get('content', '')}" for result in _results(one)]
    return texts


def _wanted(body: Body) -> Body | None:
    if "jsonSchema" in body:
        schema: Body = body["jsonSchema"].get("schema", {})
        return schema
    return {} if body.get("jsonObject") else None


def text_tokens(value: str) -> int:
    """Tokens of a text alone."""
    return total_tokens([value])
