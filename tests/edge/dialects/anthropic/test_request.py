from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest

from xrouter.domain.catalog import Model, Version
from xrouter.domain.errors import InvalidRequest
from xrouter.edge.dialects.anthropic.request import Asked, Upstream, translate, upstream_of
from xrouter.edge.dialects.anthropic.types import read_count, read_message
from xrouter.edge.voice import encode

NATIVE = Upstream(native=True, marks=True)
PLAIN = Upstream()
MARK = {"type": "ephemeral"}
HELLO = [{"role": "user", "content": "Hi"}]
TOOL = {"name": "f", "input_schema": {"type": "object"}}
AT = "messages[0].content[0]"
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}


def asked(upstream: Upstream = PLAIN, **body: Any) -> Asked:
    whole = {"model": "m", "max_tokens": 100, "messages": HELLO, **body}
    return translate(read_message(encode(whole)), upstream)


def sent(upstream: Upstream = PLAIN, **body: Any) -> dict[str, Any]:
    """The chat body that goes on, as JSON data."""
    fields = asked(upstream, **body).chat.fields
    return {name: msgspec.json.decode(value) for name, value in fields.items()}


def said(*content: Any, role: str = "user", upstream: Upstream = PLAIN) -> list[dict[str, Any]]:
    """The chat messages of one message."""
    messages: list[dict[str, Any]] = sent(upstream, messages=[{"role": role, "content": content}])[
        "messages"
    ]
    return messages


def refusal(**body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        asked(**body)
    return refused.value


def test_a_plain_request() -> None:
    assert sent(system="Be brief.", temperature=0.5, top_p=0.9, top_k=40, stream=True) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, *HELLO],
        "max_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stream": True,
    }


def test_system_blocks_are_one_text_unless_they_are_marked() -> None:
    blocks = [{"type": "text", "text": "A"}, {"type": "text", "text": "B", "cache_control": MARK}]
    found = asked(system=blocks)
    assert found.chat.messages[0].content == "A\n\nB"
    assert found.dropped == ("cache_control",)
    found = asked(NATIVE, system=blocks)
    assert found.chat.messages[0].content == blocks
    assert found.dropped == ()


def test_a_system_message_in_between_stays_in_its_place() -> None:
    messages = sent(messages=[*HELLO, {"role": "system", "content": "New rule."}, *HELLO])
    assert [one["role"] for one in messages["messages"]] == ["user", "system", "user"]


def test_system_messages_side_by_side_are_one() -> None:
    """Some templates refuse a second one."""
    new = {"role": "system", "content": "New."}
    found = asked(system="Old.", messages=[new, *HELLO])
    assert [(one.role, one.content) for one in found.chat.messages] == [
        ("system", "Old.\n\nNew."),
        ("user", "Hi"),
    ]
    marked = {"type": "text", "text": "Old.", "cache_control": MARK}
    found = asked(NATIVE, system=[marked], messages=[new, *HELLO, new, new])
    system, _, late = found.chat.messages
    assert system.content == [marked, {"type": "text", "text": "New."}]
    assert late.content == "New.\n\nNew."
    assert found.places.renamed("messages[0].content[1]") == "messages[0].content"
    assert found.places.renamed("messages[2].content") == "messages[2].content"


def test_flags_of_the_header_go_to_anthropic_alone() -> None:
    flags = ["context-1m-2025-08-07", "b"]
    whole = {"model": "m", "max_tokens": 100, "messages": HELLO, "betas": ["own"]}
    body = read_message(encode(whole))
    found = translate(body, NATIVE, flags)
    assert bytes(found.chat.fields["betas"]) == encode([*flags, "own"])
    assert (found.dropped, found.places.renamed("betas")) == ((), "anthropic-beta")
    assert asked(NATIVE, betas=["own"]).places.renamed("betas") == "betas"
    found = translate(body, PLAIN, flags)
    assert "betas" not in found.chat.fields
    assert found.dropped == ("anthropic-beta", "betas")


def test_the_billing_line_is_made_constant_but_for_anthropic_itself() -> None:
    line = "x-anthropic-billing-header: cc_version=1; cch=a1b2c;"
    still = "x-anthropic-billing-header: cc_version=1; cch=00000;"
    found = asked(system=[{"type": "text", "text": line}, {"type": "text", "text": "cch=a1b2c;"}])
    assert found.chat.messages[0].content == f"{still}\n\ncch=a1b2c;"
    assert found.dropped == ("system.cch",)
    assert asked(system=f"{line}\ncch=a1b2c;").chat.messages[0].content == f"{still}\ncch=a1b2c;"
    assert asked(NATIVE, system=line).chat.messages[0].content == line
    assert asked(system="cch=a1b2c;").dropped == ()


def test_one_text_is_a_string_several_are_parts() -> None:
    one, two = {"type": "text", "text": "1"}, {"type": "text", "text": "2"}
    assert said(one) == [{"role": "user", "content": "1"}]
    assert said(one, two) == [{"role": "user", "content": [one, two]}]
    marked = {**one, "cache_control": MARK}
    assert said(marked) == [{"role": "user", "content": "1"}]
    assert said(marked, upstream=NATIVE) == [{"role": "user", "content": [marked]}]


def test_images_and_documents() -> None:
    [message] = said(
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
        {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="},
            "title": "a.pdf",
            "context": "About a.",
        },
        {"type": "document", "source": {"type": "text", "data": "Words"}, "title": "T"},
        {"type": "document", "source": {"type": "content", "content": "More"}, "context": "C"},
        {"type": "document", "source": {"type": "url", "url": "https://a/c.pdf"}},
    )
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
        {"type": "text", "text": "About a."},
        {
            "type": "file",
            "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"},
        },
        {"type": "text", "text": "T\n\nWords"},
        {"type": "text", "text": "C"},
        {"type": "text", "text": "More"},
        {"type": "file", "file": {"file_url": "https://a/c.pdf", "filename": "document.pdf"}},
    ]


def test_a_search_result_is_told_as_text() -> None:
    block = {
        "type": "search_result",
        "title": "T",
        "source": "https://a",
        "content": [{"type": "text", "text": "Found"}],
        "citations": {"enabled": True},
    }
    found = asked(messages=[{"role": "user", "content": [block]}])
    assert found.chat.messages[0].content == "T\n\nhttps://a\n\nFound"
    assert found.dropped == ("messages.search_result.citations",)


def test_results_come_first_and_what_they_show_follows() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}
    messages = sent(
        messages=[
            *HELLO,
            {"role": "assistant", "content": [{"type": "text", "text": "I look."}, CALL]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Here:"},
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "21"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_2",
                        "content": [{"type": "text", "text": "See"}, image],
                        "is_error": True,
                    },
                    {"type": "tool_result", "tool_use_id": "toolu_3"},
                ],
            },
        ]
    )["messages"]
    arguments = {"name": "f", "arguments": '{"x":1}'}
    assert messages[1] == {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [{"id": "toolu_1", "type": "function", "function": arguments}],
    }
    assert messages[2:] == [
        {"role": "tool", "tool_call_id": "toolu_1", "content": "21"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "Error: See\n[image: see below]"},
        {"role": "tool", "tool_call_id": "toolu_3", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
                {"type": "text", "text": "Here:"},
            ],
        },
    ]


def test_the_mark_of_a_result_is_on_its_text() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": "21", "cache_control": MARK}
    [message] = said(result, upstream=NATIVE)
    part = {"type": "text", "text": "21", "cache_control": MARK}
    assert message == {"role": "tool", "tool_call_id": "t", "content": [part]}


def test_calls_without_text_have_no_content() -> None:
    [message] = said(CALL, {**CALL, "id": "toolu_2", "input": {}}, role="assistant")
    assert message["content"] is None
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == ['{"x":1}', "{}"]


def test_thinking_goes_back_signed_or_as_text() -> None:
    signed = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    sealed = {"type": "redacted_thinking", "data": "xyz"}
    bare = {"type": "thinking", "thinking": "ah", "signature": ""}
    text = {"type": "text", "text": "Yes"}
    assert said(signed, sealed, text, role="assistant") == [
        {
            "role": "assistant",
            "content": "Yes",
            "reasoning_content": "hm",
            "reasoning_details": [
                {
                    "type": "reasoning.text",
                    "text": "hm",
                    "signature": "sig",
                    "format": "anthropic-claude-v1",
                },
                {"type": "reasoning.encrypted", "data": "xyz", "format": "anthropic-claude-v1"},
            ],
        }
    ]
    assert said(bare, text, role="assistant") == [
        {"role": "assistant", "content": "Yes", "reasoning_content": "ah"}
    ]


def test_tools_and_choices() -> None:
    strict = {**TOOL, "name": "g", "description": "D", "strict": True, "type": "custom"}
    found = asked(
        tools=[
            {"type": "web_search_20260318", "name": "web_search"},
            TOOL,
            {**strict, "cache_control": MARK, "defer_loading": True, "input_examples": [{}]},
        ],
        tool_choice={"type": "tool", "name": "g", "disable_parallel_tool_use": True},
    )
    assert found.chat.tools == [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
        {
            "type": "function",
            "function": {
                "name": "g",
                "parameters": {"type": "object"},
                "description": "D",
                "strict": True,
            },
        },
    ]
    assert found.chat.tool_choice == {"type": "function", "function": {"name": "g"}}
    assert found.chat.parallel_tool_calls is False
    assert found.dropped == (
        "tools[0].web_search_20260318",
        "cache_control",
        "tools.defer_loading",
        "tools.input_examples",
    )
    assert found.places.renamed("tools[0].function.name") == "tools[1].name"
    kept = sent(NATIVE, tools=[{**TOOL, "cache_control": MARK}])["tools"][0]
    assert kept["cache_control"] == MARK


@pytest.mark.parametrize("kind,mode", [("auto", "auto"), ("any", "required"), ("none", "none")])
def test_modes_of_choice(kind: str, mode: str) -> None:
    assert sent(tools=[TOOL], tool_choice={"type": kind})["tool_choice"] == mode


def test_without_tools_there_is_no_choice() -> None:
    body = sent(tools=[{"type": "bash_20250124", "name": "bash"}], tool_choice={"type": "auto"})
    assert "tools" not in body
    assert "tool_choice" not in body


@pytest.mark.parametrize(
    "thinking,effort",
    [
        ({"type": "enabled", "budget_tokens": 1024}, "low"),
        ({"type": "enabled", "budget_tokens": 4096}, "medium"),
        ({"type": "enabled", "budget_tokens": 16384}, "high"),
        ({"type": "disabled"}, "none"),
        ({"type": "adaptive"}, None),
    ],
)
def test_thinking_is_an_effort_but_for_anthropic_itself(
    thinking: dict[str, Any], effort: str | None
) -> None:
    body = sent(thinking=thinking)
    assert "thinking" not in body
    assert body.get("reasoning_effort") == effort
    body = sent(NATIVE, thinking=thinking)
    assert body["thinking"] == thinking
    assert "reasoning_effort" not in body


def test_an_effort_that_is_named_wins() -> None:
    config = {"effort": "max"}
    found = asked(thinking={"type": "enabled", "budget_tokens": 2000}, output_config=config)
    assert found.chat.reasoning_effort == "max"
    assert found.places.renamed("reasoning_effort") == "output_config.effort"
    assert asked().places.renamed("reasoning_effort") == "thinking"
    assert sent(NATIVE, output_config=config)["output_config"] == config


@pytest.mark.parametrize("where", ["output_config", "output_format"])
def test_structured_output(where: str) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"anyOf": [{"type": "null"}]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    for strict in (True, False):
        form = {"type": "json_schema", "schema": schema}
        given: Any = {where: {"format": form} if where == "output_config" else form}
        body = sent(**given)
        named = {"name": "output", "schema": schema} | ({"strict": True} if strict else {})
        assert body["response_format"] == {"type": "json_schema", "json_schema": named}
        schema = {**schema, "required": ["a"]}


def test_stop_sequences_may_be_many() -> None:
    assert sent(stop_sequences=["a", "b"])["stop"] == ["a", "b"]
    many = [str(number) for number in range(9)]
    found = asked(stop_sequences=many)
    assert found.chat.stops == many
    assert msgspec.json.decode(found.chat.fields["stop"]) == many
    assert "stop" not in sent(stop_sequences=[])


def test_the_users_id_fits() -> None:
    assert sent(metadata={"user_id": "u"})["user"] == "u"
    long = sent(metadata={"user_id": "u" * 100})["user"]
    assert len(long) == 64
    assert long == sent(metadata={"user_id": "u" * 100})["user"]


def test_what_nobody_reads_is_named_but_for_anthropic_itself() -> None:
    more: dict[str, Any] = {
        "service_tier": "standard_only",
        "speed": "standard",
        "context_management": {"edits": []},
        "container": None,
        "unheard_of": 1,
        "n": 3,
        "metadata": {"user_id": "u", "team": "x"},
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"task_budget": 5},
    }
    found = asked(**more)
    assert found.dropped == (
        "output_config.task_budget",
        "metadata.team",
        "thinking.display",
        "context_management",
        "n",
        "service_tier",
        "unheard_of",
    )
    found = asked(NATIVE, **more)
    assert found.dropped == ("n",)
    assert msgspec.json.decode(found.chat.fields["unheard_of"]) == 1
    assert found.chat.n is None
    assert asked(service_tier="auto").dropped == ()


def test_blocks_of_foreign_tools_are_named() -> None:
    foreign = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
    ]
    reference = {"type": "tool_reference", "tool_name": "f"}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [reference]}
    found = asked(
        messages=[
            *HELLO,
            {"role": "assistant", "content": [*foreign, {"type": "text", "text": "So."}]},
            {"role": "assistant", "content": foreign},
            {"role": "user", "content": [result, {"type": "container_upload", "file_id": "f"}]},
        ]
    )
    assert [(one.role, one.content) for one in found.chat.messages] == [
        ("user", "Hi"),
        ("assistant", "So."),
        ("tool", ""),
    ]
    assert found.dropped == (
        "messages.server_tool_use",
        "messages.web_search_tool_result",
        "messages.tool_reference",
        "messages.container_upload",
    )


def test_fields_of_blocks_that_nobody_reads_are_named() -> None:
    cited = {"type": "text", "text": "1", "citations": [{"x": 1}]}
    odd = {"type": "text", "text": "2", "citations": None, "odd": 1}
    use = {**CALL, "caller": {"type": "direct"}, "cache_control": MARK}
    found = asked(
        messages=[
            {"role": "user", "content": [cited, odd]},
            {"role": "assistant", "content": [use]},
        ]
    )
    assert found.dropped == (
        "messages.citations",
        "messages.text.odd",
        "messages.tool_use.cache_control",
    )


def test_upstreams_are_known_by_their_adapter_and_name() -> None:
    def model(name: str, adapter: str) -> Model:
        versions = (Version(label="1", upstream="x"),)
        return Model(
            model_id=name, provider="p", adapter_class=adapter, display_name="", versions=versions
        )

    assert upstream_of(model("a/claude-5", "xrouter.providers.anthropic.adapter.A")) == NATIVE
    assert upstream_of(model("p/anthropic/claude-5", "x.Other")) == Upstream(marks=True)
    assert upstream_of(model("p/gpt", "x.Other")) == PLAIN
    assert upstream_of(None) == PLAIN


STORED = {"type": "file", "file_id": "f"}
BARE = {"type": "base64", "data": ""}
RESULT = {"type": "tool_result", "tool_use_id": "x"}
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://a"}}


def user(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def assistant(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "content": content}]}


@pytest.mark.parametrize(
    "body,param,code",
    [
        ({"max_tokens": None}, "max_tokens", "invalid_type"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"max_tokens": 1 << 70}, "max_tokens", None),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": [{"role": "tool", "content": ""}]}, "messages[0].role", None),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"temperature": 1.5}, "temperature", "decimal_above_max_value"),
        ({"top_k": -1}, "top_k", None),
        (user(), "messages[0].content", "empty_array"),
        (user({}), f"{AT}.type", "missing_required_parameter"),
        (user({"type": "text"}), f"{AT}.text", "missing_required_parameter"),
        (user({"type": "text", "text": 5}), f"{AT}.text", "invalid_type"),
        (user({"type": "odd"}), AT, "unsupported_value"),
        (user({"type": "tool_use"}), AT, "unsupported_value"),
        (user({"type": "image"}), f"{AT}.source", "missing_required_parameter"),
        (user({"type": "image", "source": STORED}), f"{AT}.source", "unsupported_value"),
        (user({"type": "document", "source": BARE}), f"{AT}.source.media_type", None),
        (user({"type": "document", "source": {"type": "content"}}), f"{AT}.source.content", None),
        (user({"type": "search_result", "title": "", "source": ""}), f"{AT}.content", None),
        (user({"type": "search_result", "content": [IMAGE]}), f"{AT}.content[0]", None),
        (user({"type": "tool_result"}), f"{AT}.tool_use_id", None),
        (user({"type": "tool_result", "content": 5}), f"{AT}.content", "invalid_type"),
        (user({**RESULT, "content": [5]}), f"{AT}.content[0]", "invalid_type"),
        (assistant(IMAGE), AT, "unsupported_value"),
        (assistant({**CALL, "input": "{}"}), f"{AT}.input", "invalid_type"),
        (assistant({**CALL, "id": None}), f"{AT}.id", None),
        ({"system": [IMAGE]}, "system[0]", "unsupported_value"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name", None),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema", "missing_required_parameter"),
        ({"tools": [{"name": "f", "input_schema": "x"}]}, "tools[0].input_schema", "invalid_type"),
        ({"tool_choice": {"type": "odd"}}, "tool_choice.type", "invalid_value"),
        ({"tool_choice": {"type": []}}, "tool_choice.type", "invalid_value"),
        ({"tool_choice": {"type": "any"}}, "tool_choice", "invalid_value"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name", None),
        ({"thinking": {"type": "odd"}}, "thinking.type", "invalid_value"),
        ({"thinking": {"type": []}}, "thinking.type", "invalid_value"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens", None),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "thinking.budget_tokens", None),
        ({"output_config": {"effort": 5}}, "output_config.effort", "invalid_type"),
        ({"output_config": {"format": {"type": "x"}}}, "output_config.format.type", None),
        ({"output_format": {"type": "json_schema"}}, "output_format.schema", None),
        ({"output_config": {"format": 5}}, "output_config.format.type", None),
        ({"metadata": {"user_id": 5}}, "metadata.user_id", "invalid_type"),
        ({"thread": {"type": "create"}}, "thread", "thread_unsupported_request"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(body: dict[str, Any], param: str, code: str | None) -> None:
    error = refusal(**body)
    assert error.param == param
    assert code is None or error.code == code


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"model":"\xff"}', b"[" * 100_000])
def test_what_is_no_body(raw: bytes) -> None:
    for read in (read_message, read_count):
        with pytest.raises(InvalidRequest):
            read(raw)


@pytest.mark.parametrize(
    "theirs,ours",
    [
        ("messages[0].content", "system"),
        ("messages[1].content", "messages[0].content[0].content"),
        ("messages[1].tool_call_id", "messages[0].content[0].tool_use_id"),
        ("messages[2].content[0]", "messages[0].content[2]"),
        ("messages[2].content[1].image_url", "messages[0].content[3].source"),
        ("messages[3].tool_calls[0].function.arguments", "messages[1].content[1].input"),
        ("messages[3].tool_calls[0].id", "messages[1].content[1].id"),
        ("messages[9]", "messages[9]"),
        ("tools[0].function.parameters", "tools[0].input_schema"),
        ("tools[9]", "tools[9]"),
        ("stop", "stop_sequences"),
        ("response_format.json_schema.schema", "output_config.format"),
        ("parallel_tool_calls", "tool_choice.disable_parallel_tool_use"),
        ("user", "metadata.user_id"),
        ("messages.reasoning_content", "messages.thinking"),
        ("model", "model"),
    ],
)
def test_names_are_the_callers(theirs: str, ours: str) -> None:
    result = {"type": "tool_result", "tool_use_id": "x", "content": "1"}
    foreign = {"type": "server_tool_use", "id": "s", "name": "n", "input": {}}
    text = {"type": "text", "text": "a"}
    found = asked(
        system="S",
        messages=[
            {"role": "user", "content": [result, foreign, text, {**IMAGE}]},
            {"role": "assistant", "content": [text, CALL]},
        ],
        tools=[TOOL],
    )
    assert found.places.renamed(theirs) == ours


@pytest.mark.parametrize("depth", [100, 300, 600, 900, 980, 990, 995, 1000, 5000])
def test_deep_nesting_is_taken_or_refused(depth: int) -> None:
    deep = b'{"properties":' * depth + b"{}" + b"}" * depth
    block = b'{"type":"document","source":{"type":"content","content":[' * depth + b"]}}" * depth
    form = b'"output_config":{"format":{"type":"json_schema","schema":%b}}' % deep
    for rest in (
        b'"messages":[{"role":"user","content":"x"}],' + form,
        b'"messages":[{"role":"user","content":"x"}],"tools":[{"name":"f","input_schema":%b}]'
        % deep,
        b'"messages":[{"role":"user","content":[%b]}]' % block,
        b'"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f",'
        b'"input":%b}]}]' % deep,
    ):
        raw = b'{"model":"m","max_tokens":5,%b}' % rest
        with suppress(InvalidRequest):
            assert translate(read_message(raw), PLAIN).chat.messages


def test_a_prompt_that_is_counted_needs_no_limit() -> None:
    body = read_count(encode({"model": "m", "messages": HELLO, "system": "S", "tools": [TOOL]}))
    chat = translate(body, PLAIN).chat
    assert [one.role for one in chat.messages] == ["system", "user"]
    assert chat.max_tokens is None
