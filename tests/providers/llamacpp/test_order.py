"""Histories in the order that templates demand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from xrouter.providers.llamacpp.messages import repaired
from xrouter.providers.llamacpp.order import arranged, nine
from xrouter.providers.llamacpp.template import Template

STRICT = Template(late_system=False, turns=True)
NO_SYSTEM = Template(system=False, late_system=False, turns=True, tools=False)
HELLO = {"role": "user", "content": "Hello."}
OK = {"role": "assistant", "content": "OK."}


def user(text: Any = "u") -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: Any = "a") -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def system(text: Any = "s") -> dict[str, Any]:
    return {"role": "system", "content": text}


def calls(*names: str, text: str | None = None) -> dict[str, Any]:
    made = [
        {"id": f"id-{name}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for name in names
    ]
    return {"role": "assistant", "content": text, "tool_calls": made}


def result(name: str, text: str = "r") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"id-{name}", "content": text}


def in_order(messages: list[dict[str, Any]], template: Template, instruction: str = "") -> Any:
    made = arranged(Raw(json.dumps(messages).encode()), template, instruction)
    return json.loads(bytes(made)) if isinstance(made, Raw) else made


def demanded(messages: list[dict[str, Any]]) -> bool:
    """The rule of Mistral's templates, as they have it."""
    turns = messages[1:] if messages[0]["role"] == "system" else messages
    counted = [m["role"] for m in turns if m["role"] != "tool" and "tool_calls" not in m]
    return all(role == ("assistant" if i % 2 else "user") for i, role in enumerate(counted))


def test_what_a_template_takes_stays_byte_for_byte() -> None:
    raw = Raw(b'[ {"role":"user",  "content":"a"} ]')
    assert arranged(raw, Template()) is raw
    assert repaired(raw) is raw


HISTORIES: list[list[dict[str, Any]]] = [
    [user()],
    [system(), user(), assistant(), user()],
    [system()],
    [assistant()],
    [user(), user(), assistant(), assistant(), user()],
    [system(), system(), user(), system(), assistant(), system(), user()],
    [user(), calls("f"), result("f"), user()],
    [user(), calls("f"), result("f"), assistant(), user()],
    [user(), assistant(), calls("f"), result("f"), assistant()],
    [user(), calls("f", text="so"), result("f"), calls("g"), result("g"), user(), user()],
    [calls("f"), result("f"), user()],
    [user(), calls("f"), user()],
    [user(), calls("f"), assistant(), user()],
    [result("f"), user()],
    [user(), assistant(), result("f"), assistant(), user()],
    [user([{"type": "text", "text": "a"}]), user("b"), assistant(None), user(None)],
]


@pytest.mark.parametrize("history", HISTORIES)
def test_turns_are_as_demanded_and_nothing_is_lost(history: list[dict[str, Any]]) -> None:
    made = in_order(history, STRICT)
    assert demanded(made)
    shown = json.dumps(made)
    for message in history:
        content = message["content"]
        text = content[0]["text"] if isinstance(content, list) else content or ""
        assert text in shown
        assert all(call["id"] in shown for call in message.get("tool_calls", ()))
    plain = in_order(history, NO_SYSTEM)
    roles = [message["role"] for message in plain]
    assert roles == ["assistant" if i % 2 else "user" for i in range(len(roles))]


def test_parts_are_joined() -> None:
    picture = {"type": "image_url", "image_url": {"url": "x"}}
    made = in_order([system("s"), user([picture]), user("b")], NO_SYSTEM)
    texts = [{"type": "text", "text": text} for text in ("s", "b")]
    assert made == [user([texts[0], picture, texts[1]])]


def test_the_user_begins_and_answers_are_put_in() -> None:
    assert in_order([assistant()], STRICT) == [HELLO, assistant()]
    history = [user(), calls("f"), result("f"), user()]
    assert in_order(history, STRICT) == [*history[:3], OK, user()]
    assert in_order([calls("f"), result("f")], STRICT)[0] == HELLO


def test_calls_and_results_as_text() -> None:
    history = [
        user(),
        calls("f", "g", text="so"),
        result("f", "1"),
        result("g", "2"),
        {"role": "tool", "content": "3"},
    ]
    history[1]["tool_calls"][0]["function"]["arguments"] = '{"a": [1]}'
    history[1]["tool_calls"][1]["function"]["arguments"] = "{oops"
    made = in_order(history, NO_SYSTEM)
    said, _, text = made[1]["content"].partition("\n\n")
    assert said == "so"
    assert json.loads(text) == {
        "tool_calls": [
            {"name": "f", "arguments": {"a": [1]}},
            {"name": "g", "arguments": "{oops"},
        ]
    }
    assert made[2] == user(
        "Tool result for f: 1\n\nTool result for g: 2\n\nTool result for the tool: 3"
    )


def test_an_instruction_is_the_system_s() -> None:
    anything = Template(tools=False)
    assert in_order([user()], anything, "do") == [system("do"), user()]
    late = [system("s"), user(), system("t")]
    assert in_order(late, anything, "do") == [system("s\n\ndo"), user(), system("t")]
    assert in_order(late, STRICT, "do") == [system("s\n\nt\n\ndo"), user()]
    assert in_order(late, NO_SYSTEM, "do") == [user("s\n\nt\n\ndo\n\nu")]


def test_what_the_assistant_said_is_not_continued_in_json() -> None:
    anything = Template(tools=False)
    history = [system(), user(), assistant()]
    assert in_order(history, anything) == history
    made = in_order(history, anything, "do")
    assert made == [system("s\n\ndo"), user(), assistant(), user("Go on.")]


def test_only_the_beginning_has_a_system() -> None:
    first = Template(late_system=False)
    assert in_order([user(), user(), system()], first) == [system(), user(), user()]


@pytest.mark.parametrize("call_id", ["", None, "c1", "call_" + "x" * 40, "abc-efghi", "ключ"])
def test_ids_of_nine(call_id: str | None) -> None:
    made = nine(call_id)
    assert len(made) == 9
    assert made.isalnum()
    assert made == nine(call_id) == nine(made)


def test_ids_of_nine_stay() -> None:
    assert nine("aB3aB3aB3") == "aB3aB3aB3"
