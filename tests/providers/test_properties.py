"""What holds for every adapter, whatever is said: against the simulators, without sockets."""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from contextlib import suppress
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from tests.providers.conversations import PARAMETERS, Json, Wire, conversations
from tests.sandbox.spoilt import JSON, spoilt

from xrouter.domain.answer import FINISH_REASONS, ChatAnswer, ChatDelta, ToolCallDelta, Usage
from xrouter.domain.catalog import Endpoint, Model, ModelDescription
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.domain.plan import Target
from xrouter.domain.secret import Secret
from xrouter.flow.fold import add, deltas_of
from xrouter.providers import factory
from xrouter.providers.base import ChatExchange, from_environment
from xrouter.sandbox.application import Sandbox
from xrouter.sandbox.kit import SandboxRequest, SandboxResponse
from xrouter.wire.framing import parser_for
from xrouter.wire.types import Errand, WireReply, WireRequest

HEAVY = float(os.environ.get("XROUTER_PROPERTIES", "1"))
"""How many times more examples are tried than usual."""
ORIGIN = "http://sandbox.test"
WAYS = 3
SAMPLING = frozenset(PARAMETERS) - {"response_format"}


def some(examples: int) -> settings:
    return settings(
        max_examples=int(examples * HEAVY),
        deadline=None,
        derandomize=HEAVY == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


class Desk:
    """One provider's endpoint and its simulator, spoken to directly."""

    def __init__(
        self, name: str, options: dict[str, str], path: str = "", adapter_class: str = ""
    ) -> None:
        """path: of the base URL, where the simulator's own is not meant."""
        known = factory.providers()[name]
        assert known.environment is not None
        self._sandbox = Sandbox()
        fields = from_environment(known.environment, self._sandbox.environment(ORIGIN))
        self.endpoint = Endpoint(
            id=1,
            provider=name,
            name="primary",
            adapter_class=adapter_class or known.adapter_class,
            base_url=ORIGIN + path if path or fields is None else fields.base_url or "",
            credential={"api_key": Secret("sk-sandbox")} if fields is None else fields.credential,
            options=options if fields is None else fields.options | options,
        )
        self.adapter = factory.build(self.endpoint)
        flow = self.adapter.auth(time.time())
        self._token = None if flow is None else self.run(flow, bare=True).value
        self.models = [model for model in self._models() if self._speaks(model)]

    def _speaks(self, model: ModelDescription) -> bool:
        try:
            self.ask({"messages": [{"role": "user", "content": "Hi"}]}, model)
        except XRouterError:
            return False
        return True

    def _models(self) -> list[ModelDescription]:
        wire = self.adapter.discover()
        assert wire is not None
        live = self.adapter.decode_models(self.fetch(wire))
        names = {model.name for model in live}
        return [m for m in self.adapter.supported_models() if m.name in names] or live

    def target(self, model: ModelDescription) -> Target:
        row = Model(
            model_id=f"{self.endpoint.provider}/{model.name}",
            provider=self.endpoint.provider,
            adapter_class=self.endpoint.adapter_class,
            display_name=model.display_name,
            versions=model.versions,
        )
        return Target(self.endpoint, row, model.versions[0])

    def send(self, wire: WireRequest, *, bare: bool = False) -> SandboxResponse:
        if not bare:
            self.adapter.authorize(wire, self._token)
        url = urlsplit(wire.url)
        name, _, rest = url.path[1:].partition("/")
        request = SandboxRequest(
            method=wire.method,
            path=f"/{rest}",
            query=dict(parse_qsl(url.query)),
            headers={"host": url.netloc, **wire.headers},
            body=wire.body,
            origin=ORIGIN,
        )
        try:
            self._sandbox.simulators[name].handle(request).send(None)
        except StopIteration as done:
            response: SandboxResponse = done.value
        else:
            pytest.fail("a simulator waits")
        if response.on_close is not None:
            response.on_close(1 if response.frames is None else len(response.frames))
        return response

    def fetch(self, wire: WireRequest, *, bare: bool = False) -> WireReply:
        response = self.send(wire, bare=bare)
        body = response.body if response.frames is None else b"".join(response.frames)
        return WireReply(response.status, response.headers, body)

    def run(self, errand: Errand[Any], *, bare: bool = False) -> Any:
        try:
            wire = next(errand)
            while True:
                wire = errand.send(self.fetch(wire, bare=bare))
        except StopIteration as end:
            return end.value

    def encode(self, body: Json, model: ModelDescription) -> ChatExchange:
        raw = msgspec.json.encode({"model": f"{self.endpoint.provider}/{model.name}", **body})
        request = msgspec.json.decode(raw, type=ChatRequest)
        request.fields = msgspec.json.decode(raw, type=Fields)
        return self.adapter.encode_chat(request, self.target(model))

    def prepared(self, exchange: ChatExchange) -> ChatExchange:
        before = exchange.before()
        if before is not None:
            self.run(before)
        return exchange

    def ask(
        self, body: Json, model: ModelDescription, errors: list[XRouterError] | None = None
    ) -> tuple[ChatExchange, WireReply]:
        """The way of asking that was taken, and its answer. Raises XRouterError.

        errors: takes up those of the ways that were not.
        """
        exchange = self.encode(body, model)
        for _ in range(WAYS):
            self.prepared(exchange)
            reply = self.fetch(exchange.wire)
            if reply.status < 300:
                return exchange, reply
            error = self.adapter.decode_error(reply)
            other = exchange.instead(error)
            if other is None:
                raise error
            exchange = other
            errors = [] if errors is None else errors
            errors.append(error)
        raise AssertionError("there is always another way")

    def answer(self, body: Json, model: ModelDescription) -> ChatAnswer:
        exchange, reply = self.ask(body, model)
        answer = exchange.answer(reply)
        after = exchange.after()
        if after is not None:
            add(answer, self.run(after))
        return answer


NAMES = sorted(Sandbox().simulators.keys() & factory.providers().keys())
OTHERS = {
    path: cls
    for path, cls in factory.adapter_classes().items()
    if cls.provider in NAMES and path != factory.providers()[cls.provider].adapter_class
}
"""Adapters that are not their provider's first."""
DESKS: dict[str, tuple[str, dict[str, str], str, str]] = {
    **{name: (name, {}, "", "") for name in NAMES},
    **{
        cls.__name__: (
            cls.provider,
            {},
            f"/{cls.provider}{urlsplit(cls.default_base_url).path}",
            path,
        )
        for path, cls in OTHERS.items()
    },
    "openai-compatible": ("openai-compatible", {}, "/openai/v1", ""),
    "llamacpp-router": ("llamacpp", {}, "/llamacpp-router", ""),
    "llamacpp-plain": ("llamacpp", {"strict_roles": "plain"}, "", ""),
    "yandex-native": ("yandex", {"api": "native"}, "", ""),
    "yandex-compatible": ("yandex", {"api": "compatible"}, "", ""),
}


@cache
def desk_of(name: str) -> Desk:
    return Desk(*DESKS[name])


def asked(text: str, **more: Any) -> Json:
    return {"messages": [{"role": "user", "content": text}], **more}


def renamed(name: str) -> str:
    """A name that the provider keeps for itself; a test below shows that it maps back."""
    return f"caller_{name}"


class OrphanedPieceError(AssertionError):
    """A piece of a call that never began."""


def sound(deltas: list[ChatDelta]) -> None:
    """Whatever leaves an adapter can be written, and is of the types that it says it is."""
    raw = msgspec.json.encode(deltas)
    raw.decode()
    msgspec.json.decode(raw, type=list[ChatDelta])
    for delta in deltas:
        assert delta.finish_reason is None or delta.finish_reason in FINISH_REASONS
        if any(piece.index < 0 for piece in delta.tool_calls or ()):
            raise OrphanedPieceError


def wire_ids(body: Any) -> tuple[list[str], list[str]]:
    """Ids of calls in a wire body, and the ids that results refer to."""
    calls: list[str] = []
    results: list[str] = []
    for message in body.get("messages", ()):
        calls += [call["id"] for call in message.get("tool_calls") or () if "id" in call]
        results += [message["tool_call_id"]] if "tool_call_id" in message else []
        for block in message["content"] if isinstance(message.get("content"), list) else ():
            calls += [block["id"]] if block.get("type") == "tool_use" else []
            results += [block["tool_use_id"]] if block.get("type") == "tool_result" else []
    return calls, results


def read(
    exchange: ChatExchange, chunks: list[bytes]
) -> tuple[list[ChatDelta], XRouterError | None]:
    """A stream as the flow reads it: up to the last word; what came before an error is kept."""
    parser = parser_for(exchange.framing)
    deltas: list[ChatDelta] = []
    try:
        for chunk in [*chunks, b""]:
            for name, data in parser.feed(chunk) if chunk else parser.end():
                deltas += exchange.feed(name, data)
            if exchange.finished:
                break
        deltas += exchange.end()
    except XRouterError as error:
        return deltas, error
    return deltas, None


@pytest.mark.parametrize("name", DESKS)
@some(50)
@given(data=st.data())
def test_a_history_goes_out_whole_and_is_accepted(name: str, data: st.DataObject) -> None:
    desk = desk_of(name)
    model = data.draw(st.sampled_from(desk.models))
    body = data.draw(conversations())
    stream = data.draw(st.booleans())
    try:
        exchange, reply = desk.ask({**body, "stream": stream}, model)
    except InvalidRequest as refused:
        _check_refusal(refused)
        return
    wire = json.loads(exchange.wire.body)
    if not any(field.startswith("messages") for field in exchange.dropped):
        assert Wire(wire, renamed).lost(body["messages"]) is None, wire
    _check_ids(desk.endpoint.provider, body, wire)
    deltas, error = read(exchange, [reply.body]) if stream else whole(exchange, reply)
    sound(deltas)
    if error is not None:  # a choice that is emulated may not be obeyed, but that is said
        assert body.get("tool_choice") == "required"
        return
    assert {delta.choice for delta in deltas if delta.finish_reason} == set(
        range(choices(body, exchange))
    )


def _check_refusal(refused: InvalidRequest) -> None:
    """Some models take fewer parameters than others; but what is said is never refused."""
    assert refused.param, refused.message
    assert refused.upstream_status is None or refused.param in SAMPLING, refused.message


def _check_ids(provider: str, body: Json, wire: Json) -> None:
    """What is told apart stays so. Yandex's own models have names for ids, anew in each turn."""
    given = [call["id"] for said in body["messages"] for call in said.get("tool_calls", ())]
    calls, results = wire_ids(wire)
    assert set(results) <= set(calls)
    if provider != "yandex" and len(set(given)) == len(given):
        assert len(set(calls)) == len(calls)


def choices(body: Json, exchange: ChatExchange) -> int:
    copied = exchange.copies > 1 or "n" in exchange.dropped
    return 1 if copied else body.get("n") or 1


def whole(exchange: ChatExchange, reply: WireReply) -> tuple[list[ChatDelta], XRouterError | None]:
    try:
        return deltas_of(exchange.answer(reply)), None
    except XRouterError as error:
        return [], error


@some(60)
@given(body=conversations())
def test_what_is_missing_is_noticed(body: Json) -> None:
    """The search itself: it finds everything where it is, and misses what is taken away."""
    messages = body["messages"]
    assert Wire(body, renamed).lost(messages) is None
    for index, message in enumerate(messages):
        less = {"messages": messages[:index] + messages[index + 1 :]}
        if "№" in json.dumps(message, ensure_ascii=False):
            assert Wire(less, renamed).lost(messages) is not None
    if len(messages) > 1 and "№" in json.dumps(messages[-2:], ensure_ascii=False):
        turned = {"messages": [*messages[:-2], messages[-1], messages[-2]]}
        swapped = {message["role"] for message in messages[-2:]} <= {"user", "assistant"}
        assert not swapped or Wire(turned, renamed).lost(messages) is not None


# --- streams

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"город": {"type": "string"}}},
        },
    }
    for name in ("get_time", "web_search")
]
OUT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
PROMPTS: dict[str, Json] = {
    "emoji": {"text": 'Rivers 🌊👩‍👩‍👧 река \u2028 \\u0041 "end"'},
    "calls": {"text": "Ask get_time and web_search", "tools": TOOLS},
    "one call": {"text": "Ask web_search", "tools": TOOLS, "parallel_tool_calls": False},
    "thoughts": {"text": "Think [[think:6]] well", "reasoning_effort": "low"},
    "stop": {"text": "Go on to the END of it", "stop": ["END"]},
    "length": {"text": "[[words:40]]", "max_tokens": 17},
    "json": {
        "text": "As JSON",
        "response_format": {"type": "json_schema", "json_schema": {"name": "o", "schema": OUT}},
    },
    "two": {"text": "Hello, both of you", "n": 2},
    "usage": {"text": "What was it?", "stream_options": {"include_usage": True}},
}


class Said(Struct):
    """One alternative, put together. calls: [name, arguments] by index."""

    texts: list[str] = msgspec.field(default_factory=lambda: ["", "", ""])
    calls: list[list[str]] = []
    finish: list[str] = []
    extra: Json = {}

    def begins(self, other: Said) -> bool:
        """Whether the other goes on where this one ends."""
        same = all(o.startswith(t) for t, o in zip(self.texts, other.texts, strict=True))
        calls = zip(self.calls, other.calls, strict=False)
        called = all(mine[0] == its[0] and its[1].startswith(mine[1]) for mine, its in calls)
        finished = self == other if self.finish else True
        return same and called and len(self.calls) <= len(other.calls) and finished


class Told(Struct):
    """A stream, put together."""

    said: dict[int, Said] = {}
    usage: Usage | None = None
    error: XRouterError | None = None


def told(deltas: list[ChatDelta], error: XRouterError | None) -> Told:
    sound(deltas)
    result = Told(error=error)
    for delta in deltas:
        result.usage = delta.usage or result.usage
        if delta == ChatDelta(usage=delta.usage, meta=delta.meta):
            continue
        said = result.said.setdefault(delta.choice, Said())
        pieces = (delta.text, delta.reasoning, delta.refusal)
        said.texts = [old + (new or "") for old, new in zip(said.texts, pieces, strict=True)]
        for piece in delta.tool_calls or ():
            _put(said.calls, piece)
        said.extra |= delta.extra or {}
        said.finish += [delta.finish_reason] if delta.finish_reason else []
    return result


def _put(calls: list[list[str]], piece: ToolCallDelta) -> None:
    """Indexes have no gaps; the first piece of each has an id and a name."""
    if piece.index == len(calls):
        assert piece.id
        assert piece.name
        calls.append([piece.name, ""])
    calls[piece.index][1] += piece.arguments


class Recorded:
    """One answer, streamed and whole, and the same question again."""

    def __init__(self, desk: Desk, model: ModelDescription, prompt: Json) -> None:
        said = {"messages": [{"role": "user", "content": prompt["text"]}]}
        self._body = {name: value for name, value in prompt.items() if name != "text"} | said
        self._desk, self._model = desk, model
        self._errors: dict[bool, list[XRouterError]] = {True: [], False: []}
        self.raw = self._ask(stream=True).body
        self.plain = self._ask(stream=False)
        self.full = self.read([self.raw])
        assert self.full.error is None

    def _ask(self, *, stream: bool) -> WireReply:
        body = {**self._body, "stream": stream}
        return self._desk.ask(body, self._model, self._errors[stream])[1]

    def exchange(self, *, stream: bool) -> ChatExchange:
        """The way of asking that was taken; an adapter may have learnt to take it at once."""
        body = {**self._body, "stream": stream}
        exchange = self._desk.prepared(self._desk.encode(body, self._model))
        for error in self._errors[stream]:
            other = exchange.instead(error)
            exchange = exchange if other is None else self._desk.prepared(other)
        return exchange

    def read(self, chunks: list[bytes]) -> Told:
        return told(*read(self.exchange(stream=True), chunks))

    def answer(self, body: bytes) -> Told:
        reply = WireReply(200, self.plain.headers, body)
        return told(*whole(self.exchange(stream=False), reply))


@cache
def recorded(name: str) -> dict[str, Recorded]:
    """Answers of several models to all prompts that they take."""
    desk = desk_of(name)
    found: dict[str, Recorded] = {}
    for model in desk.models[:: max(1, len(desk.models) // 4)]:
        for prompt, body in PROMPTS.items():
            with suppress(InvalidRequest):
                found[f"{model.name}: {prompt}"] = Recorded(desk, model, body)
    return found


def places(raw: bytes, count: int) -> list[int]:
    """Where to cut: always the same places, the last ones all of them, where trailers are."""
    if len(raw) <= count * HEAVY:
        return list(range(len(raw)))
    ends = range(max(0, len(raw) - int(8 * HEAVY)), len(raw))
    return sorted({*ends, *random.Random(7).sample(range(len(raw)), int(count * HEAVY))})


@pytest.mark.parametrize("name", DESKS)
def test_a_stream_means_the_same_however_it_is_cut(name: str) -> None:
    dice = random.Random(1)
    for answer in recorded(name).values():
        raw = answer.raw
        assert answer.read([raw[at : at + 1] for at in range(len(raw))]) == answer.full
        for at in places(raw, 6):
            assert answer.read([raw[:at], raw[at:]]) == answer.full
        for _ in range(int(4 * HEAVY)):
            cuts = sorted(dice.sample(range(len(raw)), min(len(raw), 12)))
            pieces = [raw[a:b] for a, b in itertools.pairwise([0, *cuts, len(raw)])]
            assert answer.read(pieces) == answer.full


@pytest.mark.parametrize("name", DESKS)
def test_a_stream_that_ends_too_soon_is_never_taken_for_a_short_answer(name: str) -> None:
    for title, answer in recorded(name).items():
        for at in places(answer.raw, 30):
            cut = answer.read([answer.raw[:at]])
            if cut.error is None:
                assert cut.said == answer.full.said, (title, at, answer.raw[:at][-300:])
                assert cut.usage in (None, answer.full.usage)
                continue
            assert cut.error.status >= 500
            for choice, said in cut.said.items():
                assert said.begins(answer.full.said[choice]), (title, at)


@pytest.mark.parametrize("name", DESKS)
@some(120)
@given(data=st.data())
def test_a_stream_with_a_wrong_byte_is_an_error_or_an_answer(
    name: str, data: st.DataObject
) -> None:
    answer = data.draw(st.sampled_from(list(recorded(name).values())))
    answer.read([_damaged(data, answer.raw)])


@pytest.mark.parametrize("name", DESKS)
@some(120)
@given(data=st.data())
def test_a_stream_with_strange_events_is_an_error_or_an_answer(
    name: str, data: st.DataObject
) -> None:
    answer = data.draw(st.sampled_from(list(recorded(name).values())))
    exchange = answer.exchange(stream=True)
    parser = parser_for(exchange.framing)
    events = [*parser.feed(answer.raw), *parser.end()]
    place = data.draw(st.integers(0, len(events) - 1))
    kind, body = events[place]
    events[place] = kind, data.draw(garbage | _spoilt_json(body))
    deltas: list[ChatDelta] = []
    with suppress(XRouterError):
        for kind, body in events:
            deltas += exchange.feed(kind, body)
        deltas += exchange.end()
    told(deltas, None)


@pytest.mark.parametrize("name", DESKS)
@some(120)
@given(data=st.data())
def test_a_whole_answer_that_is_damaged_is_an_error_or_an_answer(
    name: str, data: st.DataObject
) -> None:
    answer = data.draw(st.sampled_from(list(recorded(name).values())))
    raw = answer.plain.body
    answer.answer(data.draw(garbage | _spoilt_json(raw) | st.just(_damaged(data, raw))))
    cut = answer.answer(raw[: data.draw(st.integers(0, len(raw) - 1))].rstrip())
    assert cut.error is not None


NO_ANSWERS = (
    b"[" * 5000,
    b'{"choices":' * 5000,
    b"9" * 5000,
    b'"\\ud800"',
    b"NaN",
    b"1e999",
    b"{}",
)
PUTS = (b"", b'"', b"\n", b"\xff", b"\\ud83d", b"1e999", b"9" * 30, b"-", b"null")
garbage = st.binary(max_size=20) | JSON.map(msgspec.json.encode) | st.sampled_from(NO_ANSWERS)


def _spoilt_json(raw: bytes) -> st.SearchStrategy[bytes]:
    try:
        body = msgspec.json.decode(raw)
    except ValueError:
        return st.just(raw)
    if not isinstance(body, dict) or not body:
        return st.just(raw)
    return spoilt([body]).map(msgspec.json.encode)


def _damaged(data: st.DataObject, raw: bytes) -> bytes:
    """One byte is another one, or several, or none."""
    at = data.draw(st.integers(0, len(raw) - 1))
    twice, other = raw[at : at + 1] * 2, bytes([raw[at] ^ 1])
    put = data.draw(st.sampled_from([*PUTS, twice, other]))
    return raw[:at] + put + raw[at + 1 :]


# --- calls go out, come back with results, and are understood


def said_again(answer: Told, ids: list[str]) -> Json:
    """The assistant's turn as a client sends it back."""
    said = answer.said[0]
    calls = [
        {"id": one, "type": "function", "function": {"name": call[0], "arguments": call[1]}}
        for one, call in zip(ids, said.calls, strict=True)
    ]
    turn: Json = {"role": "assistant", "content": said.texts[0] or None, "tool_calls": calls}
    return turn | said.extra


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", DESKS)
def test_calls_come_back_with_their_results_until_there_is_an_answer(
    name: str, stream: bool
) -> None:
    desk = desk_of(name)
    rounds = [len(_conversation(desk, model, stream=stream)) for model in desk.models]
    assert max(rounds) > 0, "no model called a tool"


def _conversation(desk: Desk, model: ModelDescription, *, stream: bool) -> list[str]:
    """Talk until no tool is called; the ids of all calls, [] from a model without tools."""
    body = asked("Ask get_time and web_search", tools=TOOLS, stream=stream)
    seen: list[str] = []
    for number in range(4):
        try:
            exchange, reply = desk.ask(body, model)
        except InvalidRequest as refused:
            _check_refusal(refused)
            return seen
        deltas, error = read(exchange, [reply.body]) if stream else whole(exchange, reply)
        answer = told(deltas, error)
        assert error is None
        calls = answer.said[0].calls
        if not calls:
            assert not number or f"Ответ 🌊 {number}" in answer.said[0].texts[0]
            return seen
        ids = [piece.id for delta in deltas for piece in delta.tool_calls or () if piece.id]
        assert {call[0] for call in calls} <= {"get_time", "web_search"}
        assert answer.said[0].finish == ["tool_calls"]
        seen += ids
        assert len(set(seen)) == len(seen)
        results = [
            {"role": "tool", "tool_call_id": one, "content": f"Ответ 🌊 {number + 1} {one}"}
            for one in ids[::-1]
        ]
        body["messages"] += [said_again(answer, ids), *results]
    pytest.fail("the model calls tools without end")


# --- what was found


def test_a_piece_of_a_call_that_never_began_is_no_call() -> None:
    desk = desk_of("anthropic")
    exchange = desk.encode(asked("Hi", tools=TOOLS, stream=True), desk.models[0])
    delta = {"type": "input_json_delta", "partial_json": '{"a":'}
    event = {"type": "content_block_delta", "index": 0, "delta": delta}
    with suppress(XRouterError):
        told(exchange.feed("content_block_delta", msgspec.json.encode(event)), None)


def test_a_refusal_of_several_answers_names_the_parameter() -> None:
    desk = desk_of("mistral")
    model = next(model for model in desk.models if model.name == "open-mistral-nemo")
    with pytest.raises(InvalidRequest) as refused:
        desk.ask(asked("Hi", n=2), model)
    assert refused.value.param == "n"


def test_a_stream_cut_before_its_last_usage_does_not_count_too_little() -> None:
    desk = desk_of("llamacpp")
    answer = Recorded(desk, desk.models[0], PROMPTS["two"])
    assert answer.full.usage is not None
    cut = answer.read([answer.raw[: answer.raw.rindex(b'data: {"choices":[],')]])
    if cut.error is None and cut.usage is not None:
        counted = cut.usage.completion_tokens == answer.full.usage.completion_tokens
        assert counted or cut.usage.estimated
