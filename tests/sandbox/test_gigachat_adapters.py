"""Both adapters of GigaChat against its simulator, which is stricter than the golden cases."""

from __future__ import annotations

import base64
import json
from typing import Any, TypeVar

import msgspec
import pytest
from tests.sandbox.test_gigachat import Caller
from tests.sandbox.test_gigachat_files import is_jpeg

from xrouter.domain.answer import ChatAnswer, ChatDelta
from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.counting import CountRequest
from xrouter.domain.errors import InvalidRequest, ModelNotFound, XRouterError
from xrouter.domain.images import ImagesRequest
from xrouter.domain.plan import Target
from xrouter.domain.secret import Secret
from xrouter.providers.base import ChatExchange
from xrouter.providers.factory import adapter_classes, providers
from xrouter.providers.gigachat.adapter import GigaChatAdapter
from xrouter.providers.gigachat.v2.adapter import GigaChatV2Adapter
from xrouter.wire.framing import parser_for
from xrouter.wire.types import Errand, WireReply, WireRequest

T = TypeVar("T")

ORIGIN = "http://sandbox/gigachat"
MAX, ULTRA = "GigaChat-2-Max", "GigaChat-3-Ultra"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n0").decode()
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
TIME = {"type": "function", "function": {"name": "get_time"}}
BOTH = {"tools": [WEATHER, TIME]}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
FORM = {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}}
JSON_MODE = {"response_format": {"type": "json_object"}}


class Talk:
    """An adapter's endpoint at the simulator, over no sockets. sent: requests, the newest last."""

    def __init__(self, cls: type[GigaChatAdapter], model: str, base: str = "/v1") -> None:
        endpoint = Endpoint(
            id=1,
            provider="gigachat",
            name="primary",
            adapter_class=f"{cls.__module__}.{cls.__name__}",
            base_url=ORIGIN + base,
            credential={"access_token": Secret("set by the caller")},
        )
        self.adapter = cls(endpoint)
        self.caller = Caller()
        version = Version(label="latest", upstream=model)
        named = Model(
            model_id=f"gigachat/{model}",
            provider="gigachat",
            adapter_class=endpoint.adapter_class,
            display_name=model,
            versions=(version,),
        )
        self.target = Target(endpoint, named, version)
        self.sent: list[WireRequest] = []

    async def send(self, wire: WireRequest) -> WireReply:
        if not self.caller.token:
            await self.caller.login()
        self.sent.append(wire)
        headers = {name.replace("-", "_"): value for name, value in wire.headers.items()}
        path = wire.url.removeprefix(ORIGIN)
        response = await self.caller.call(path, wire.body, wire.method, **headers)
        body = response.body if response.frames is None else b"".join(response.frames)
        if response.on_close is not None:
            response.on_close(len(response.frames or [b""]))
        return WireReply(response.status, response.headers, body)

    async def run(self, errand: Errand[T]) -> T:
        try:
            wire = next(errand)
            while True:
                wire = errand.send(await self.send(wire))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _read(self, exchange: ChatExchange) -> WireReply:
        before = exchange.before()
        if before is not None:
            await self.run(before)
        reply = await self.send(exchange.wire)
        if reply.status < 300:
            return reply
        raise self.adapter.decode_error(reply)

    async def _asked(self, body: dict[str, Any]) -> tuple[ChatExchange, WireReply]:
        exchange = self.adapter.encode_chat(request_of(body), self.target)
        while True:
            try:
                return exchange, await self._read(exchange)
            except XRouterError as error:
                other = exchange.instead(error)
                if other is None:
                    raise
                exchange = other

    async def ask(self, *messages: Any, **more: Any) -> ChatAnswer:
        exchange, reply = await self._asked({"messages": history(messages)} | more)
        answer = exchange.answer(reply)
        after = exchange.after()
        if after is not None:
            (added,) = await self.run(after)
            answer.choices[0].message.extra = added.extra
        return answer

    async def stream(self, *messages: Any, **more: Any) -> list[ChatDelta]:
        body = {"messages": history(messages), "stream": True} | more
        exchange, reply = await self._asked(body)
        parser = parser_for(exchange.framing)
        events = [*parser.feed(reply.body), *parser.end()]
        deltas = [delta for event in events for delta in exchange.feed(*event)] + exchange.end()
        after = exchange.after()
        return deltas + (await self.run(after) if after is not None else [])

    @property
    def last(self) -> dict[str, Any]:
        """The body that was sent last."""
        body: dict[str, Any] = json.loads(self.sent[-1].body)
        return body


def history(messages: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": one} if isinstance(one, str) else one for one in messages]


def request_of(body: dict[str, Any]) -> ChatRequest:
    raw = json.dumps({"model": "m"} | body).encode()
    request = msgspec.json.decode(raw, type=ChatRequest)
    request.fields = msgspec.json.decode(raw, type=Fields)
    return request


def text_of(answer: ChatAnswer) -> str:
    return answer.choices[0].message.content or ""


def called(answer: ChatAnswer) -> dict[str, Any]:
    """The answer as a message of the history."""
    message = answer.choices[0].message
    calls = msgspec.to_builtins(message.tool_calls)
    return {"role": "assistant", "content": message.content, "tool_calls": calls}


def results(answer: ChatAnswer, *texts: str) -> list[dict[str, Any]]:
    calls = answer.choices[0].message.tool_calls or []
    return [
        {"role": "tool", "tool_call_id": call.id, "content": text}
        for call, text in zip(calls, texts, strict=True)
    ]


FIRST = (GigaChatAdapter, MAX, "/api/v1")
FIRST_NEW = (GigaChatAdapter, ULTRA, "/v1")
SECOND = (GigaChatV2Adapter, ULTRA, "/v1")


@pytest.fixture(params=[FIRST, FIRST_NEW, SECOND], ids=["first", "first-new-host", "second"])
def talk(request: pytest.FixtureRequest) -> Talk:
    return Talk(*request.param)


@pytest.fixture
def second() -> Talk:
    return Talk(*SECOND)


def test_the_first_contract_stays_the_default() -> None:
    paths = [path for path, cls in adapter_classes().items() if cls.provider == "gigachat"]
    assert len(paths) == 2
    assert providers()["gigachat"].adapter_class == paths[0]
    assert adapter_classes()[paths[0]] is GigaChatAdapter


async def test_a_stream_says_what_a_whole_answer_says(talk: Talk) -> None:
    late = {"role": "system", "content": "Be brief."}
    whole = await talk.ask(late, "one two three four five six", late, "seven")
    deltas = await talk.stream(late, "one two three four five six", late, "seven")
    assert "".join(delta.text or "" for delta in deltas) == text_of(whole)
    assert whole.usage is not None
    again = msgspec.structs.replace(whole.usage, cached_tokens=whole.usage.prompt_tokens)
    assert [delta.usage for delta in deltas if delta.usage] == [again]
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == ["stop"]
    charge = talk.caller.bill[0]
    assert whole.usage.prompt_tokens == charge.tokens_in
    assert whole.usage.completion_tokens == charge.tokens_out


async def test_the_cache_is_in_the_prompt(talk: Talk) -> None:
    usage = (await talk.ask("a b c [[cached:2]]")).usage
    assert usage is not None
    assert usage.cached_tokens == 2
    assert usage.prompt_tokens == talk.caller.bill[0].tokens_in


async def test_a_conversation_goes_on_cheaper(talk: Talk) -> None:
    begun = ("one two three", {"role": "assistant", "content": "yes"})
    first = (await talk.ask(begun[0])).usage
    later = (await talk.ask(*begun, "four")).usage
    other = (await talk.ask("six two three", begun[1], "four")).usage
    assert first is not None
    assert later is not None
    assert other is not None
    assert (first.cached_tokens, other.cached_tokens) == (0, 0)
    assert later.cached_tokens == first.prompt_tokens


async def test_a_function_there_and_back(talk: Talk) -> None:
    first = await talk.ask("use get_weather", **BOTH)
    calls = first.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls if call.function] == ["get_weather"]
    answer = await talk.ask(
        "use get_weather", called(first), *results(first, "five degrees"), **BOTH
    )
    assert '"five degrees"' in text_of(answer)


async def test_calls_of_other_models_are_understood(talk: Talk) -> None:
    calls = [
        {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for name in ("get_weather", "get_time")
    ]
    said = {"role": "assistant", "content": "Let me see.", "tool_calls": calls}
    told = [
        {"role": "tool", "tool_call_id": call["id"], "content": '{"a": 1}'}
        for call in reversed(calls)
    ]
    answer = await talk.ask("use get_weather and get_time", said, *told, "So?", **BOTH)
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("form", [FORM, JSON_MODE], ids=["schema", "object"])
async def test_forms(talk: Talk, form: Any) -> None:
    assert isinstance(json.loads(text_of(await talk.ask("go", **form))), dict)
    deltas = await talk.stream("go", **form)
    assert isinstance(json.loads("".join(delta.text or "" for delta in deltas)), dict)


async def test_images(talk: Talk) -> None:
    both = {"role": "user", "content": [{"type": "text", "text": "look"}, IMAGE, IMAGE]}
    assert text_of(await talk.ask(both)).count("xrouter-") == 2
    uploads = [wire for wire in talk.sent if wire.url.endswith("/files")]
    assert len(uploads) == 1
    listed = await talk.caller.call("/v1/files", method="GET")
    (file,) = json.loads(listed.body)["data"]
    await talk.caller.call(f"/v1/files/{file['id']}/delete")
    answer = await talk.ask(both)
    assert "xrouter-" in text_of(answer)


async def test_drawing(talk: Talk) -> None:
    answer = await talk.ask("Draw a cat", modalities=["text", "image"])
    assert "<img" not in text_of(answer)
    assert is_drawn(answer.choices[0].message.extra)
    deltas = await talk.stream("Draw a cat", modalities=["text", "image"])
    assert "<img" not in "".join(delta.text or "" for delta in deltas)
    assert is_drawn(deltas[-1].extra)


def is_drawn(extra: dict[str, Any] | None) -> bool:
    assert extra is not None
    url: str = extra["images"][0]["image_url"]["url"]
    return is_jpeg(base64.b64decode(url.removeprefix("data:image/jpeg;base64,")))


async def test_pictures_and_counts(talk: Talk) -> None:
    asked = ImagesRequest(model="m", prompt="A cat")
    (picture,) = (await talk.run(talk.adapter.images(asked, talk.target))).pictures
    assert is_jpeg(base64.b64decode(picture.b64_json or ""))
    counted = await talk.run(
        talk.adapter.count(CountRequest(model="m", texts=["a b", "c"]), talk.target)
    )
    assert counted.parts == (2, 1)


@pytest.mark.parametrize("mark", ["blacklist", "error"])
async def test_ends(talk: Talk, mark: str) -> None:
    if mark == "blacklist":
        assert (await talk.ask("[[blacklist]]")).choices[0].finish_reason == "content_filter"
        return
    with pytest.raises(XRouterError, match="invalid function call"):
        await talk.ask("[[error]]")


async def test_refusals(talk: Talk) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await talk.ask("Hi", additional_fields={"repetition_penalty": -1})
    assert caught.value.param == "repetition_penalty"
    assert caught.value.upstream_request_id


async def test_a_call_without_its_result_is_refused(talk: Talk) -> None:
    first = await talk.ask("use get_weather", **BOTH)
    with pytest.raises(InvalidRequest, match="must have a result in history"):
        await talk.ask("use get_weather", called(first), "Well?", **BOTH)


async def test_several_calls_at_once(second: Talk) -> None:
    asked = "use get_weather and get_time"
    first = await second.ask(asked, parallel_tool_calls=True, **BOTH)
    assert len(first.choices[0].message.tool_calls or []) == 2
    back = (called(first), *results(first, "five", "noon"))
    text = text_of(await second.ask(asked, *back, parallel_tool_calls=True, **BOTH))
    assert '"five"' in text
    assert '"noon"' in text
    told = second.last["messages"][1:]
    assert [message["role"] for message in told] == ["assistant", "tool"]
    assert told[0]["tools_state_id"] == told[1]["tools_state_id"]
    deltas = await second.stream(f"{asked} [[split]]", parallel_tool_calls=True, **BOTH)
    pieces = [piece for delta in deltas for piece in delta.tool_calls or ()]
    assert [piece.index for piece in pieces] == [0, 1]
    single = await second.ask(asked, parallel_tool_calls=False, **BOTH)
    assert len(single.choices[0].message.tool_calls or []) == 1


async def test_a_call_that_must_be_made(second: Talk) -> None:
    answer = await second.ask("hello", tool_choice="required", **BOTH)
    assert answer.choices[0].finish_reason == "tool_calls"
    named = {"type": "function", "function": {"name": "get_time"}}
    answer = await second.ask("hello", tool_choice=named, **BOTH)
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.function is not None
    assert call.function.name == "get_time"
    assert (await second.ask("get_time", tool_choice="none", **BOTH)).choices[
        0
    ].finish_reason == "stop"


async def test_reasoning(second: Talk) -> None:
    answer = await second.ask("hi [[think:5]]", reasoning_effort="medium")
    assert len((answer.choices[0].message.reasoning or "").split()) == 5
    deltas = await second.stream("hi [[think:5]]", reasoning_effort="medium")
    thought = "".join(delta.reasoning or "" for delta in deltas)
    assert thought == answer.choices[0].message.reasoning
    off = await second.ask("hi [[think:5]]", reasoning_effort="none")
    assert off.choices[0].message.reasoning is None


async def test_a_search_is_cited(second: Talk) -> None:
    answer = await second.ask("rivers [[search]]", web_search_options={})
    extra = answer.choices[0].message.extra
    assert extra is not None
    (citation,) = [one["url_citation"] for one in extra["annotations"]]
    assert text_of(answer)[citation["start_index"] : citation["end_index"]] == "[sources=[1]]"
    deltas = await second.stream("rivers [[search]]", web_search_options={})
    assert [delta.extra for delta in deltas if delta.extra] == [extra]


async def test_own_parameters(second: Talk) -> None:
    options = {"unnormalized_history": True, "preset": "p"}
    await second.ask(
        "hi",
        profanity_check=True,
        flags=["a"],
        function_ranker={"enabled": True},
        user_info={"timezone": "Europe/Moscow"},
        additional_fields={"model_options": options},
        temperature=0,
        max_tokens=7,
    )
    assert second.last["model_options"] == options | {"top_p": 0, "max_tokens": 7}
    assert second.last["disable_filter"] is False


async def test_the_old_host_has_no_second_contract() -> None:
    with pytest.raises(ModelNotFound):
        await Talk(GigaChatV2Adapter, MAX, "/api/v1").ask("hi")
