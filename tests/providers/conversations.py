"""Histories with tools as clients send them, and what of them must be found in a wire body."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Json = dict[str, Any]
NAMES = ("get_weather", "f", "web_search", "text2image", "x" * 64, "Do-It_2", "caller_web_search")
ID_STYLES = ("call_{:024x}", "{}", "c{:08d}", "toolu_01{:022d}", "a:b/c.{}", "id {}", "йцу-{}")
NASTY = (
    "", " ", "\n",
    "🌊👩‍👩‍👧 река", '{"a": [1, 2.5, null]}', "[1]", "null", "true", '{"result": "x"}',
    "\r\n\r\n", "data: [DONE]\n\n", "\u2028\u2029\x7f", "\u200b", "\ufeff", "</s>[INST]",
    "\\u0041", "a" * 300,
)  # fmt: skip


def _no_marks(text: str) -> str:
    """Simulators obey what is written in double brackets."""
    return text.replace("[[", "[")


texts = (
    st.text(
        st.characters(
            categories=("L", "M", "N", "P", "S", "Z", "Cc", "Cf", "Co", "Cn"),
            exclude_characters="\0",
        ),
        max_size=25,
    )
    | st.sampled_from(NASTY)
).map(_no_marks)
keys = st.text(
    st.characters(categories=("L", "M", "N", "P", "S", "Z")), max_size=6
) | st.sampled_from(["a"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.integers(-(2**66), 2**66)
    | st.floats(-1e9, 1e9, allow_nan=False)
    | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2),
    max_leaves=5,
)
arguments = st.dictionaries(keys, values, max_size=3)

_leaf = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer", "minimum": 0},
        {"type": "number", "description": "how much"},
        {"type": "boolean"},
        {"type": "string", "enum": ["one", "два", ""]},
        {"enum": [1, "a", None]},
        {"type": ["string", "null"]},
        {"$ref": "#/$defs/node"},
        {"type": "array", "items": {"$ref": "#/$defs/node"}},
        {"const": "x"},
        {"type": "string", "format": "date", "default": "2020-01-01"},
    ]
)
_NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/leaf"}, "n": {"type": "null"}}}


def _object(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)[:1]}


_names = st.sampled_from(["a", "b", "city", "n_1", "город"])
_schema = st.recursive(
    _leaf,
    lambda inner: st.one_of(
        st.dictionaries(_names, inner, max_size=2).map(_object),
        inner.map(lambda one: {"type": "array", "items": one}),
        st.lists(inner, min_size=1, max_size=2).map(lambda some: {"anyOf": some}),
    ),
    max_leaves=4,
)
_DEFS = {"node": _NODE, "leaf": {"type": "string"}}
schemas = st.dictionaries(_names, _schema, max_size=3).map(
    lambda some: _object(some) | {"$defs": _DEFS}
)


def _content(draw: st.DrawFn, text: str) -> str | list[Json]:
    if not draw(st.booleans()):
        return text
    cut = draw(st.integers(0, len(text)))
    pieces = [text[:cut], text[cut:]] if 0 < cut < len(text) else [text]
    return [{"type": "text", "text": piece} for piece in pieces]


class _Writer:
    """Writes one conversation.

    stamped: every text says its number, so that none is like another. repeats: ids of calls are
    counted anew in each turn, as some clients do.
    """

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._stamped = draw(st.integers(0, 3)) > 0
        self._style = draw(st.sampled_from(ID_STYLES))
        self._texts = 0
        self._calls = 0
        self._repeats = draw(st.integers(0, 3)) == 0
        self.messages: list[Json] = []
        self.names: list[str] = draw(
            st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)
        )

    def say(self, role: str) -> None:
        self.messages.append({"role": role, "content": _content(self._draw, self._text())})

    def call(self) -> None:
        """An assistant's turn with calls, and their results in any order."""
        draw = self._draw
        self._calls = 0 if self._repeats else self._calls
        calls = [self._one_call() for _ in range(draw(st.integers(1, 3)))]
        said: Json = {"role": "assistant", "tool_calls": calls}
        kind = draw(st.sampled_from(["none", "absent", "text"]))
        if kind != "absent":
            said["content"] = None if kind == "none" else self._text()
        self.messages.append(said)
        for call in draw(st.permutations(calls)):
            result = _content(draw, self._text())
            self.messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})

    def tools(self) -> list[Json]:
        return [
            {"type": "function", "function": {"name": name, **self._draw(_function)}}
            for name in self.names
        ]

    def _one_call(self) -> Json:
        self._calls += 1
        given = json.dumps(self._draw(arguments), ensure_ascii=self._draw(st.booleans()))
        function = {"name": self._draw(st.sampled_from(self.names)), "arguments": given}
        return {"id": self._style.format(self._calls), "type": "function", "function": function}

    def _text(self) -> str:
        self._texts += 1
        text = self._draw(texts)
        return f"{text} №{self._texts}." if self._stamped else text


_function = st.fixed_dictionaries(
    {}, optional={"description": st.just("What it does."), "parameters": schemas}
)
PARAMETERS: dict[str, SearchStrategy[Any]] = {
    "temperature": st.sampled_from([0, 0.5, 1, 2]),
    "top_p": st.sampled_from([0.1, 1]),
    "max_tokens": st.integers(16, 4000),
    "max_completion_tokens": st.integers(16, 4000),
    "stop": st.sampled_from(["END", ["END", "\nUser:"], "."]),
    "seed": st.integers(0, 2**31),
    "presence_penalty": st.sampled_from([0, 0.5]),
    "frequency_penalty": st.sampled_from([0, -0.5]),
    "n": st.integers(1, 2),
    "user": st.just("u-1"),
    "response_format": st.one_of(
        st.just({"type": "text"}),
        st.just({"type": "json_object"}),
        schemas.map(
            lambda one: {"type": "json_schema", "json_schema": {"name": "out", "schema": one}}
        ),
    ),
}


@st.composite
def conversations(draw: st.DrawFn) -> Json:
    """A chat request without `model`: any order that OpenAI takes, ending where one may answer."""
    writer = _Writer(draw)
    for _ in range(draw(st.integers(0, 1))):
        writer.say(draw(st.sampled_from(["system", "developer"])))
    for _ in range(draw(st.integers(1, 3))):
        writer.say("user")
        for step in draw(st.lists(st.sampled_from(["call", "call", "say", "system"]), max_size=2)):
            if step == "call":
                writer.call()
            else:
                writer.say("assistant" if step == "say" else "system")
    if writer.messages[-1]["role"] != "tool":
        writer.say("user")
    chosen = draw(st.lists(st.sampled_from(sorted(PARAMETERS)), max_size=2, unique=True))
    body: Json = {"messages": writer.messages, **{name: draw(PARAMETERS[name]) for name in chosen}}
    if body.get("response_format", {}).get("type") == "json_object":
        body["messages"].insert(0, {"role": "system", "content": "Answer in JSON."})
    if "max_tokens" in body:
        body.pop("max_completion_tokens", None)
    # Tools that were called need not be offered any more.
    return body if draw(st.integers(0, 5)) == 0 else body | _with_tools(draw, writer)


def _with_tools(draw: st.DrawFn, writer: _Writer) -> Json:
    more: Json = {"tools": writer.tools()}
    named = {"type": "function", "function": {"name": writer.names[0]}}
    choice = draw(st.sampled_from([None, None, "auto", "none", "required", named]))
    if choice is not None:
        more["tool_choice"] = choice
    if draw(st.integers(0, 3)) == 0:
        more["parallel_tool_calls"] = draw(st.booleans())
    return more


Place = tuple[int, int]
"""Number of a node, and where in its text."""


class Wire:
    """A wire body as a row of nodes in the order of the document; text is looked for in there."""

    def __init__(self, body: Any, renamed: Callable[[str], str]) -> None:
        self._nodes = list(_walk(body))
        self._renamed = renamed

    def lost(self, messages: list[Json]) -> str | None:
        """The first thing said that is not there, or not where it should be."""
        spine = (0, 0)
        calls: dict[str, Place] = {}
        ends = (0, 0)
        for message in messages:
            content, role = message.get("content"), message["role"]
            if role in ("system", "developer"):
                found = self._texts(content, (0, 0))
            elif role == "tool":
                found = self._result(content or "", calls[message["tool_call_id"]])
                ends = max(ends, found or ends)
            else:
                spine = max(spine, ends)
                found = self._texts(content, spine, bare=role == "assistant")
            for call in message.get("tool_calls", ()):
                place = self._call(call["function"], spine)
                calls[call["id"]] = spine = place or spine
                found = found and place and max(found, place)
            if found is None:
                return f"{message!r}"
            spine = found if role in ("user", "assistant") else spine
        return None

    def _texts(
        self, content: str | list[Json] | None, after: Place, *, bare: bool = False
    ) -> Place | None:
        """Each of the parts; what is blank need not be there. bare: nor blanks at the end."""
        place: Place | None = after
        for text in parts_of(content):
            if text.strip() and place is not None:
                place = self._text(text.rstrip() if bare else text, place)
        return place

    def _text(self, text: str, after: Place) -> Place | None:
        for number in range(after[0], len(self._nodes)):
            node = self._nodes[number]
            at = node.find(text, after[1] if number == after[0] else 0) if _is_text(node) else -1
            if at >= 0:
                return number, at + len(text)
        return None

    def _result(self, content: str | list[Json], after: Place) -> Place | None:
        """As text, or as the JSON that it is, or inside the text of some JSON."""
        text = "\n".join(parts_of(content))
        wanted = {_canonical(text), _canonical(_parsed(text))}
        found = self._texts(content, after)
        for number in range(after[0], len(self._nodes) if found is None else found[0]):
            if any(_canonical(node) in wanted for node in _walk(_parsed(self._nodes[number]))):
                return number, 0
        return found

    def _call(self, function: Json, after: Place) -> Place | None:
        names = {function["name"], self._renamed(function["name"])}
        wanted = _canonical(json.loads(function["arguments"]))
        for number in range(after[0], len(self._nodes)):
            start = after[1] if number == after[0] else 0
            node = self._nodes[number]
            if _is_text(node):
                for at, inner in _objects_in(node, start):
                    if any(_is_call(one, names, wanted) for one in _walk(inner)):
                        return number, at
            elif number > after[0] and _is_call(node, names, wanted):
                return number, 0
        return None


def parts_of(content: str | list[Json] | None) -> list[str]:
    if isinstance(content, list):
        return [part["text"] for part in content]
    return [content] if content else []


def _is_text(node: Any) -> bool:
    return isinstance(node, str)


def _is_call(node: Any, names: set[str], wanted: str) -> bool:
    if not isinstance(node, dict) or not any(node.get("name") == name for name in names):
        return False
    return any(_canonical(_parsed(value)) == wanted for value in node.values())


def _walk(node: Any) -> Iterator[Any]:
    yield node
    if isinstance(node, dict | list):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from _walk(inner)


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _objects_in(text: str, start: int) -> Iterator[tuple[int, Any]]:
    """The JSON objects in a text, where each of them begins."""
    at = text.find('{"', start)
    while at >= 0:
        try:
            value, end = json.JSONDecoder().raw_decode(text, at)
        except ValueError:
            end = at + 1
        else:
            yield at, value
        at = text.find('{"', end)
