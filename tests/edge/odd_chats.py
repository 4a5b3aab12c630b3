"""Chats that are well formed but strange: a schema, which knows no roles, never gets that far."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Json = dict[str, Any]
Odd = SearchStrategy[Any]

MODELS = (
    "gigachat/GigaChat-2-Max",
    "yandex/yandexgpt",
    "yandex/qwen3-235b-a22b-fp8",
    "openai/gpt-4o-mini",
    "openai/gpt-5",
    "llamacpp/qwen3-8b",
)

text = st.text(max_size=20)
name = st.sampled_from(["f", "get_weather", "x" * 64]) | text
scalar = st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats(-1e9, 1e9) | text
anything = st.recursive(
    scalar,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=4,
)
some_object = st.dictionaries(text, anything, max_size=2)


def record(optional: dict[str, Odd] | None = None, **fields: Odd) -> Odd:
    return st.fixed_dictionaries(fields, optional=optional or {})


json_schema = some_object | st.sampled_from(
    [
        {},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"type": "object", "properties": {"n": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": {"$ref": "#/$defs/a"}}}}},
        {"type": "array", "items": {"type": "integer"}},
        {"type": ["object", "null"]},
        {"enum": [1, "a", None]},
    ]
)
part = record(type=st.just("text"), text=text) | record(
    type=st.sampled_from(["text", "image_url", "input_audio", "file", "refusal", "what"]),
    optional={
        "text": anything,
        "image_url": record(url=text | st.just("data:image/png;base64,AAAA")) | anything,
        "refusal": anything,
        "file": anything,
    },
)
content = text | st.lists(part, max_size=2) | st.none()
call = record(
    id=st.sampled_from(["call_1", "call_2", ""]) | text,
    type=st.just("function"),
    function=record(
        name=name,
        arguments=st.sampled_from(["{}", '{"a":1}', "", "[]", "nope", "null"]) | text,
    ),
)
user = record(
    role=st.just("user"),
    content=text | st.lists(part, min_size=1, max_size=2),
    optional={"name": text},
)
system = record(role=st.sampled_from(["system", "developer"]), content=content)
assistant = record(
    role=st.just("assistant"),
    optional={
        "content": content,
        "tool_calls": st.lists(call, max_size=2) | st.none(),
        "refusal": text | st.none(),
        "function_call": record(name=name, arguments=text),
        "reasoning_content": text,
    },
)
result = record(
    role=st.just("tool"),
    content=content,
    tool_call_id=st.sampled_from(["call_1", "call_2"]),
    optional={"name": name},
)
old_result = record(role=st.just("function"), content=content, name=name)
messages = st.lists(
    st.one_of(user, user, system, assistant, result, old_result), min_size=1, max_size=5
)

function = record(
    name=name,
    optional={"description": text, "parameters": json_schema, "strict": st.booleans() | st.none()},
)
tool = record(type=st.just("function"), function=function) | record(
    type=text, optional={"function": anything, "custom": anything, "name": name}
)
choice = st.one_of(
    st.sampled_from(["none", "auto", "required", "any"]),
    text,
    record(type=st.just("function"), function=record(name=name)),
    record(type=st.just("allowed_tools"), allowed_tools=anything),
    some_object,
)
answer_format = st.one_of(
    record(type=st.sampled_from(["text", "json_object"])),
    record(
        type=st.just("json_schema"),
        json_schema=record(name=name, optional={"schema": json_schema, "strict": st.booleans()}),
    ),
    record(type=st.just("json_schema"), json_schema=anything),
    some_object,
)

PARAMETERS: dict[str, Odd] = {
    "temperature": st.floats(0, 2),
    "top_p": st.floats(0, 1),
    "n": st.integers(1, 4),
    "stop": text | st.lists(text, max_size=4),
    "seed": st.integers(-(2**63), 2**63 - 1),
    "max_tokens": st.integers(1, 2**63 - 1) | st.integers(1, 10),
    "max_completion_tokens": st.integers(1, 2**63 - 1) | st.integers(1, 10),
    "presence_penalty": st.floats(-2, 2),
    "logit_bias": st.dictionaries(text, st.floats(-200, 200), max_size=2),
    "logprobs": st.booleans(),
    "top_logprobs": st.integers(0, 20),
    "tools": st.lists(tool, max_size=2) | st.none(),
    "tool_choice": choice,
    "parallel_tool_calls": st.booleans(),
    "functions": st.lists(function, max_size=2),
    "function_call": choice,
    "response_format": answer_format,
    "reasoning_effort": st.sampled_from(["none", "low", "high", "max"]) | text,
    "modalities": st.lists(st.sampled_from(["text", "audio"]) | text, max_size=2),
    "user": text,
}
FREE = (
    "additional_fields",
    "audio",
    "chat_template_kwargs",
    "grammar",
    "json_schema",
    "metadata",
    "min_p",
    "n_predict",
    "prediction",
    "provider",
    "reasoning",
    "service_tier",
    "store",
    "top_k",
    "verbosity",
    "web_search_options",
)
"""Other parameters, OpenAI's and those of single providers: may hold anything."""


def _with_parameters(names: list[str]) -> Odd:
    return st.fixed_dictionaries({one: PARAMETERS.get(one, anything) for one in names})


parameters = st.lists(st.sampled_from([*PARAMETERS, *FREE]), max_size=3, unique=True).flatmap(
    _with_parameters
)

odd_chats: SearchStrategy[Json] = st.builds(
    lambda model, said, more, stream: {"model": model, "messages": said, **more, "stream": stream},
    st.sampled_from(MODELS),
    messages,
    parameters,
    st.booleans(),
)

odd_embeddings: SearchStrategy[Json] = record(
    model=st.sampled_from(
        ["gigachat/Embeddings", "yandex/text-search-doc", "openai/text-embedding-3-small"]
    ),
    input=st.text(min_size=1, max_size=50)
    | st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5),
    optional={
        "dimensions": st.integers(1, 2000) | st.integers(1, 2**70),
        "encoding_format": st.sampled_from(["float", "base64"]),
        "user": text,
        "truncate": anything,
    },
)
