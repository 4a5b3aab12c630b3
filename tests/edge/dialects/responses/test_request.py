from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest

from xrouter.domain.errors import InvalidRequest
from xrouter.edge.dialects.responses.body import read_body
from xrouter.edge.dialects.responses.reasoning import Thought, packed, unpacked
from xrouter.edge.dialects.responses.request import Asked, translate
from xrouter.edge.dialects.responses.words import renamed
from xrouter.edge.voice import encode

FUNCTION = {"type": "function", "name": "f"}


def asked(**body: Any) -> Asked:
    before = body.pop("before", [])
    return translate(read_body(encode({"model": "m", **body})), before)


def sent(**body: Any) -> dict[str, Any]:
    """The chat body that goes on, as JSON data."""
    fields = asked(**body).chat.fields
    return {name: msgspec.json.decode(value) for name, value in fields.items()}


def refusal(**body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        asked(**body)
    return refused.value


def test_a_text_is_a_user_message_behind_the_instructions() -> None:
    assert sent(input="Hi", instructions="Be brief.") == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
        ],
    }


def test_parameters_have_their_names_in_chat_completions() -> None:
    schema = {"type": "object", "properties": {}}
    body = sent(
        input="Hi",
        max_output_tokens=50,
        temperature=0.5,
        reasoning={"effort": "low"},
        top_logprobs=2,
        text={
            "format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True},
            "verbosity": "low",
        },
        stream=True,
    )
    assert body["max_completion_tokens"] == 50
    assert body["reasoning_effort"] == "low"
    assert (body["logprobs"], body["top_logprobs"], body["verbosity"]) == (True, 2, "low")
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": schema, "strict": True},
    }
    assert body["stream"] is True


def test_calls_in_a_row_are_one_message_with_the_reasoning_before_them() -> None:
    details = [{"type": "reasoning.text", "text": "hm", "signature": "s"}]
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
        {"type": "reasoning", "id": "rs_1", "encrypted_content": packed(Thought("hm", details))},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look."}],
        },
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": '{"x":1}'},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {
            "type": "function_call_output",
            "call_id": "b",
            "output": [{"type": "input_text", "text": "2"}],
        },
    ]
    assert sent(input=items)["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "weather?"}]},
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "hm",
            "reasoning_details": details,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": '{"x":1}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}]},
    ]


def test_images_and_files_have_chats_shapes() -> None:
    parts = [
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
        {
            "type": "input_file",
            "filename": "a.pdf",
            "file_data": "data:application/pdf;base64,AA==",
        },
    ]
    (message,) = sent(input=[{"role": "user", "content": parts}])["messages"]
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
        },
    ]


def test_tools_are_nested_custom_ones_become_functions_hosted_ones_are_named() -> None:
    found = asked(
        input="Hi",
        tools=[
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True},
            {"type": "custom", "name": "patch", "description": "Apply."},
            {"type": "web_search"},
            {"type": "namespace", "name": "ns", "tools": [{"type": "function", "name": "inner"}]},
        ],
        tool_choice={"type": "custom", "name": "patch"},
    )
    tools = msgspec.json.decode(found.chat.fields["tools"])
    assert [tool["function"]["name"] for tool in tools] == ["f", "patch", "inner"]
    assert tools[0]["function"] == {"name": "f", "parameters": {"type": "object"}, "strict": True}
    assert tools[1]["function"]["parameters"]["required"] == ["input"]
    assert found.chat.tool_choice == {"type": "function", "function": {"name": "patch"}}
    assert found.dropped == ("tools[2].web_search",)
    assert found.tooling.namespaces == {"inner": "ns"}


def test_only_the_allowed_tools_are_offered() -> None:
    functions = [{"type": "function", "name": name} for name in ("f", "g")]
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [functions[1]]}
    body = sent(input="Hi", tools=functions, tool_choice=allowed)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["g"]
    assert body["tool_choice"] == "required"


def test_only_hosted_tools_are_no_tools() -> None:
    found = asked(
        input="Hi", tools=[{"type": "web_search"}], tool_choice="auto", parallel_tool_calls=True
    )
    assert found.chat.tools is None
    assert found.chat.tool_choice is None
    assert found.dropped == ("tools[0].web_search",)


def test_what_nobody_reads_is_named() -> None:
    found = asked(
        input="Hi", unheard_of=1, truncation="auto", include=["file_search_call.results"], user=None
    )
    assert found.dropped == ("truncation", "unheard_of", "include.file_search_call.results")
    assert asked(input="Hi", truncation="disabled").dropped == ()


def test_a_conversation_goes_on() -> None:
    before = [
        {"type": "message", "role": "user", "content": "1"},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}", "status": "x"},
    ]
    output = {"type": "function_call_output", "call_id": "a", "output": "42"}
    found = asked(input=[output], before=before, previous_response_id="resp_1")
    assert [message.role for message in found.chat.messages] == ["user", "assistant", "tool"]
    assert found.own == [output]
    assert found.before == before


@pytest.mark.parametrize(
    "body,param,code",
    [
        ({}, "input", "missing_required_parameter"),
        ({"input": 5}, "input", "invalid_type"),
        ({"input": [{"type": "computer_call"}]}, "input[0]", "unsupported_value"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]", "unsupported_value"),
        ({"input": [{"role": "user", "content": [{"type": "x"}]}]}, "input[0].content[0]", None),
        ({"input": [{"role": "wizard", "content": "x"}]}, "input", "invalid_value"),
        ({"input": [{}]}, "input[0].type", "missing_required_parameter"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].arguments", None),
        ({"input": [{"type": "custom_tool_call", "input": ""}]}, "input[0].call_id", None),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name", None),
        ({"input": "x", "tools": [{}]}, "tools[0].type", None),
        ({"input": "x", "tool_choice": {"type": "web_search"}}, "tool_choice", "unsupported_value"),
        ({"input": "x", "conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"input": "x", "prompt": {"id": "p"}}, "prompt", "unsupported_parameter"),
        ({"input": "x", "temperature": 3}, "temperature", None),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens", None),
        ({"input": "x", "truncation": "never"}, "truncation", "invalid_value"),
        ({"input": []}, "input", None),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content", "invalid_type"),
        ({"input": [{"role": "user", "content": {}}]}, "input[0].content", "invalid_type"),
        ({"input": [{"role": "user", "content": ["x"]}]}, "input[0].content[0]", "invalid_type"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
         "input[0].content[0].input_audio", "missing_required_parameter"),
        ({"input": [{"type": "function_call_output", "call_id": "a", "output": 5}]},
         "input[0].output", "invalid_type"),
        ({"input": [{"type": "reasoning", "summary": 5}]}, "input[0].summary", "invalid_type"),
        ({"input": [{"type": "reasoning", "encrypted_content": 5}]},
         "input[0].encrypted_content", "invalid_type"),
        ({"input": "x", "text": {"format": 5}}, "text.format", "invalid_type"),
        ({"input": "x", "text": {"format": {}}}, "text.format.type", "missing_required_parameter"),
        ({"input": "x", "text": {"format": {"type": "xml"}}}, "text.format.type", "invalid_value"),
        ({"input": "x", "tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"input": "x", "tool_choice": "soon"}, "tool_choice", "invalid_value"),
        ({"input": "x", "tools": [{"type": "web_search"}], "tool_choice": "required"},
         "tool_choice", "invalid_value"),
        ({"input": "x", "tools": [FUNCTION], "tool_choice": {"type": "function", "name": "g"}},
         "tool_choice", "invalid_value"),
        ({"input": "x", "tools": [FUNCTION],
          "tool_choice": {"type": "allowed_tools", "mode": "none", "tools": [FUNCTION]}},
         "tool_choice.mode", "invalid_value"),
        ({"input": "x", "tools": [FUNCTION], "tool_choice": {"type": "allowed_tools"}},
         "tool_choice.tools", "missing_required_parameter"),
        ({"input": "x", "tools": [{"type": "namespace", "name": "n", "tools": 5}]},
         "tools[0].tools", "invalid_type"),
        ({"input": "x", "tools": [{"type": "namespace", "name": "n"}]},
         "tools[0].tools", "missing_required_parameter"),
        ({"input": "x", "tools": [{"type": "namespace", "tools": []}]},
         "tools[0].name", "missing_required_parameter"),
        ({"input": "x", "stream": True, "stream_options": 5}, "stream_options", "invalid_type"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(body: dict[str, Any], param: str, code: str | None) -> None:
    error = refusal(**body)
    assert error.param == param
    assert code is None or error.code == code


@pytest.mark.parametrize(
    "body",
    [
        {"input": [{"type": "reasoning", "summary": 5}, {"role": "user", "content": "x"}]},
        {"tools": [{"type": "namespace", "name": "n", "tools": ["x"]}]},
        {"tools": [{"type": "custom", "name": "c", "description": 5, "format": {"type": "x"}}]},
        {"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "tools": 5}},
        {"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "tools": [{"name": {}}]}},
    ],
)
def test_values_of_wrong_types_are_no_defects(body: dict[str, Any]) -> None:
    """A 400, or what can be made of it."""
    with suppress(InvalidRequest):
        asked(**{"input": "x", **body})


def test_reasoning_belongs_to_the_message_that_follows() -> None:
    items = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "one"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "two"}]},
        {"role": "assistant", "content": "Ho"},
        {"role": "user", "content": "Hi"},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
    ]
    said, _, call = sent(input=items)["messages"]
    assert said["reasoning_content"] == "one\ntwo"
    assert "reasoning_content" not in call


def test_reasoning_survives_the_client() -> None:
    thought = Thought("Ёж", [{"type": "reasoning.encrypted", "data": "x"}])
    assert unpacked(packed(thought)) == thought
    for foreign in ("", "gAAAA", "xr1.%%%", "xr1.aGk="):
        assert unpacked(foreign) is None


def namespace(name: str) -> dict[str, Any]:
    return {"type": "namespace", "name": name, "tools": [FUNCTION]}


@pytest.mark.parametrize(
    "tools,param",
    [
        ([namespace("a"), namespace("b")], "tools[1].tools[0].name"),
        ([FUNCTION, namespace("a")], "tools[1].tools[0].name"),
        ([{"type": "custom", "name": "f"}, FUNCTION], "tools[1].name"),
    ],
)
def test_a_call_must_lead_back_to_one_tool(tools: list[dict[str, Any]], param: str) -> None:
    assert refusal(input="x", tools=tools).param == param


def test_what_is_said_of_tools_and_nobody_reads_is_named() -> None:
    tools = [
        FUNCTION | {"defer_loading": True, "async": False, "output_schema": {}},
        namespace("n") | {"tools": [{"type": "function", "name": "g"}], "description": "Both."},
        {"type": "custom", "name": "c", "format": {"type": "grammar", "definition": "x"}},
    ]
    assert asked(input="x", tools=tools).dropped == (
        "tools[0].defer_loading",
        "tools[0].output_schema",
        "tools[1].description",
        "tools[2].format",
    )
    allowed = {"type": "allowed_tools", "tools": [FUNCTION, {"type": "web_search"}]}
    found = asked(input="x", tools=[FUNCTION, {"type": "web_search"}], tool_choice=allowed)
    assert found.dropped == ("tools[1].web_search", "tool_choice.tools[1]")


def test_what_nobody_reads_inside_of_a_parameter_is_named() -> None:
    found = asked(
        input="x",
        stream=True,
        text={"verbosity": "low", "tone": "kind"},
        reasoning={"effort": "low", "mode": "pro", "context": "all_turns"},
        stream_options={"include_usage": True, "include_obfuscation": True},
    )
    assert found.dropped == (
        "reasoning.context",
        "reasoning.mode",
        "stream_options.include_obfuscation",
        "text.tone",
    )
    plain = asked(
        input="x",
        text=None,
        reasoning={"mode": "standard", "context": "auto"},
        stream_options={"include_obfuscation": False},
        stream=True,
    )
    assert plain.dropped == ()


def test_reasoning_that_cannot_be_said_is_named() -> None:
    foreign = {"type": "reasoning", "encrypted_content": "gAAAA", "summary": []}
    lost = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "one"}]}
    user = {"role": "user", "content": "x"}
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
    found = asked(input=[foreign, call, lost, user, lost])
    assert found.dropped == ("input[0].encrypted_content", "input[2]", "input[4]")
    assert all(message.reasoning_content is None for message in found.chat.messages)
    before = asked(before=[foreign, call], input=[user])
    assert before.dropped == ()


def test_reasoning_between_calls_is_all_kept() -> None:
    def thought(text: str) -> dict[str, Any]:
        details = [{"type": "reasoning.text", "text": text}]
        return {"type": "reasoning", "encrypted_content": packed(Thought(text, details))}

    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
    (message,) = sent(input=[thought("one"), call, thought("two"), call | {"call_id": "b"}])[
        "messages"
    ]
    assert message["reasoning_content"] == "one\ntwo"
    assert [each["text"] for each in message["reasoning_details"]] == ["one", "two"]


def test_a_fault_of_what_was_kept_names_the_response_it_came_from() -> None:
    error = refusal(before=[{"type": "computer_call"}], input="x")
    assert error.param == "previous_response_id"


@pytest.mark.parametrize(
    "param,ours",
    [
        (None, None),
        ("model", "model"),
        ("messages[2].content[0].image_url", "input"),
        ("max_tokens", "max_output_tokens"),
        ("max_completion_tokens", "max_output_tokens"),
        ("response_format", "text.format"),
        ("response_format.type", "text.format.type"),
        ("response_format.json_schema.schema", "text.format.schema"),
        ("reasoning_effort", "reasoning.effort"),
        ("verbosity", "text.verbosity"),
        ("logprobs", "top_logprobs"),
        ("tools", "tools"),
        ("tools[1].function.parameters", "tools[2].tools[0].parameters"),
        ("tools[9]", "tools[9]"),
        ("tool_choice.function.name", "tool_choice.name"),
        ("tool_choice", "tool_choice"),
    ],
)
def test_parameters_have_the_callers_names(param: str | None, ours: str | None) -> None:
    assert renamed(param, ["tools[0]", "tools[2].tools[0]"]) == ours


def test_the_places_of_tools_are_those_in_the_request() -> None:
    tools = [
        {"type": "web_search"},
        FUNCTION,
        namespace("n") | {"tools": [{**FUNCTION, "name": "g"}]},
    ]
    assert asked(input="x", tools=tools).tooling.places == ["tools[1]", "tools[2].tools[0]"]
    allowed = {"type": "allowed_tools", "tools": [{"type": "function", "name": "g"}]}
    only = asked(input="x", tools=tools, tool_choice=allowed)
    assert only.tooling.places == ["tools[2].tools[0]"]


def test_marks_of_the_prompt_cache_stay_where_they_are() -> None:
    part = {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}
    (message,) = sent(input=[{"role": "user", "content": [part]}])["messages"]
    assert message["content"] == [part | {"type": "text"}]


def test_a_choice_may_be_nested_as_in_chat() -> None:
    nested = {"type": "function", "function": {"name": "f"}}
    assert sent(input="x", tools=[FUNCTION], tool_choice=nested)["tool_choice"] == nested
