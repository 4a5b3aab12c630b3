"""Golden cases: each file is one call to one adapter, exact on both sides.

tests/providers/golden/<adapter>/<case>.json holds

    about      one line: what the case shows, and which fact sheet says so
    adapter    dotted path of the adapter class
    endpoint   fields of domain.catalog.Endpoint (id, provider, name, adapter_class filled in)
    version    upstream reference of the model version, `model` (canonical id) beside it
    token      what `auth` returned, or null
    request    the OpenAI body (`kind: "embeddings"` beside it for embeddings; default chat)
    wire       {method, url, headers, body}: the exact request; headers as a subset, values
               starting with "~" are regular expressions; a list of them for embeddings
    dropped    names of parameters given up, default []
    refused    instead of wire: {type: class name, param, code}
    shows      features (domain.abilities) that the case is the proof of, as the adapter has them
    before     [{wire, reply}, ...]: what `ChatExchange.before` asks first
    after      [{wire, reply}, ...]: what `ChatExchange.after` asks, with `added`: its deltas
    instead    [{reply, wire}, ...]: the error that comes, and the other way that is taken then

and then one of

    reply      {status, headers, body}   with  answer (ChatAnswer as data, None left out)
    stream     the raw body as text      with  deltas (ChatDelta as data, None left out)
    either of them with  error: {type: class name, status, code, param, retry_after,
                     message (substring)}

With `kind` "raw" the request is {operation, content_type, body}; a body that is text is sent, and
expected, as it is. With `kind` "images", "count" or "deferred" there is, instead of wire and reply,

    errand     [{wire, reply}, ...]: every request of the errand in order and its reply; then
               `answer` (ImagesAnswer or TokenCount as data, the reference of a deferred
               request), `error`, or `refused`

A string value "~regex" in answer or deltas matches by regular expression.
Streams are replayed at once, byte by byte, and cut at every border into two chunks.
"""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest

from xrouter.domain.answer import ChatAnswer, ChatDelta
from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.counting import CountRequest
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.errors import XRouterError
from xrouter.domain.images import ImagesRequest
from xrouter.domain.plan import Target
from xrouter.domain.raw import RawRequest
from xrouter.domain.secret import Secret
from xrouter.providers.base import BaseAPIAdapter, ChatExchange
from xrouter.providers.factory import adapter_classes
from xrouter.wire.framing import parser_for
from xrouter.wire.types import Errand, WireReply, WireRequest

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(GOLDEN.glob("*/*.json"))


def _kind(path: Path) -> str:
    return str(json.loads(path.read_text()).get("kind", "chat"))


CHAT_CASES = [case for case in CASES if _kind(case) == "chat"]
EMBEDDINGS_CASES = [case for case in CASES if _kind(case) == "embeddings"]
ERRAND_CASES = [case for case in CASES if _kind(case) in ("images", "count", "deferred")]
RAW_CASES = [case for case in CASES if _kind(case) == "raw"]
REQUESTS = {
    "chat": ChatRequest,
    "embeddings": EmbeddingsRequest,
    "images": ImagesRequest,
    "count": CountRequest,
    "deferred": ChatRequest,
}
KINDS = ("embeddings", "images")
"""Kinds of cases that are kinds of models, too."""


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def adapter_of(case: dict[str, Any]) -> BaseAPIAdapter:
    module, name = case["adapter"].rsplit(".", 1)
    given = dict(case["endpoint"])
    credential = {key: Secret(text) for key, text in given.pop("credential", {}).items()}
    cls = getattr(import_module(module), name)
    defaults = {
        "id": 1,
        "provider": cls.provider,
        "name": "primary",
        "adapter_class": case["adapter"],
    }
    adapter = cls(Endpoint(**(defaults | given), credential=credential))
    assert isinstance(adapter, BaseAPIAdapter)
    return adapter


def target_of(case: dict[str, Any], adapter: BaseAPIAdapter) -> Target:
    version = Version(label="default", upstream=case["version"])
    model = Model(
        model_id=case["model"],
        provider=adapter.endpoint.provider,
        adapter_class=case["adapter"],
        display_name=case["model"],
        kind=case["kind"] if case.get("kind") in KINDS else "chat",
        versions=(version,),
    )
    return Target(adapter.endpoint, model, version)


def request_of(case: dict[str, Any]) -> Any:
    body = json.dumps(case["request"], ensure_ascii=False).encode()
    kind: Any = REQUESTS[case.get("kind", "chat")]
    request = msgspec.json.decode(body, type=kind)
    if kind is not CountRequest:
        request.fields = msgspec.json.decode(body, type=Fields)
    elif request.chat is not None:
        request.chat.fields = msgspec.json.decode(json.dumps(case["request"]["chat"]), type=Fields)
    return request


def run(
    errand: Errand[Any] | None, steps: list[dict[str, Any]], adapter: BaseAPIAdapter, token: Any
) -> Any:
    """Play the provider to an errand; what it returns."""
    assert errand is not None, "there is no errand"
    try:
        wire = next(errand)
        for number, step in enumerate(steps):
            if not wire.foreign:
                adapter.authorize(wire, token)
            assert_wire(step["wire"], wire)
            if number == len(steps) - 1:
                break
            wire = errand.send(reply_of(step["reply"]))
        errand.send(reply_of(steps[-1]["reply"]))
    except StopIteration as end:
        return end.value
    return pytest.fail("the errand wants more")


def matches(expected: Any, found: Any) -> bool:
    if isinstance(expected, str) and expected.startswith("~") and isinstance(found, str):
        return re.fullmatch(expected[1:], found, re.DOTALL) is not None
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(
            matches(expected[key], found[key]) for key in expected
        )
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(
            matches(one, other) for one, other in zip(expected, found, strict=True)
        )
    return bool(expected == found) and isinstance(expected, bool) == isinstance(found, bool)


def plain(value: Any) -> Any:
    """Domain structs as JSON data without what is None, empty by default or False."""
    data = json.loads(msgspec.json.encode(value))
    if isinstance(data, list):
        return [_without_defaults(item) for item in data]
    return _without_defaults(data)


def _without_defaults(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if v is not None and v is not False}
        return {k: _without_defaults(v) for k, v in kept.items()}
    if isinstance(value, list):
        return [_without_defaults(item) for item in value]
    return value


def assert_matches(expected: Any, found: Any) -> None:
    """Compare; `choice: 0`, `index: 0` of choices and zero counts may be left out of neither."""
    if not matches(expected, found):
        shown = json.dumps(found, ensure_ascii=False, indent=1)
        wanted = json.dumps(expected, ensure_ascii=False, indent=1)
        pytest.fail(f"expected\n{wanted}\nfound\n{shown}")


def assert_wire(expected: dict[str, Any], wire: WireRequest) -> None:
    assert wire.method == expected["method"]
    assert matches(expected["url"], wire.url), wire.url
    assert all(name == name.lower() for name in wire.headers)
    for name, value in expected.get("headers", {}).items():
        assert matches(value, wire.headers.get(name)), (name, wire.headers)
    if "body" in expected:
        body = json.loads(wire.body) if wire.body else None
        assert_matches(expected["body"], body)


def assert_error(expected: dict[str, Any], error: XRouterError) -> None:
    assert type(error).__name__ == expected["type"], repr(error)
    for field in ("status", "code", "param", "retry_after"):
        if field in expected:
            assert getattr(error, field) == expected[field]
    assert expected.get("message", "") in error.message


def replay(exchange: ChatExchange, chunks: list[bytes]) -> list[ChatDelta]:
    parser = parser_for(exchange.framing)
    deltas: list[ChatDelta] = []
    for chunk in chunks:
        for name, data in parser.feed(chunk):
            deltas += exchange.feed(name, data)
    for name, data in parser.end():
        deltas += exchange.feed(name, data)
    return deltas + exchange.end()


def read(case: dict[str, Any], adapter: BaseAPIAdapter, exchange: ChatExchange) -> ChatAnswer:
    reply = reply_of(case["reply"])
    if reply.status >= 300:
        raise adapter.decode_error(reply)
    return exchange.answer(reply)


def reply_of(given: dict[str, Any]) -> WireReply:
    body = given.get("body", "")
    raw = body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode()
    headers = {"content-type": "application/json"} | given.get("headers", {})
    return WireReply(given["status"], headers, raw)


def splits(raw: bytes) -> list[list[bytes]]:
    bytewise = [raw[i : i + 1] for i in range(len(raw))]
    step = max(1, len(raw) // 200)
    pairs = [[raw[:i], raw[i:]] for i in range(1, len(raw), step)]
    return [[raw], bytewise, *pairs]


@pytest.mark.parametrize("path", CHAT_CASES, ids=name_of)
def test_chat(path: Path) -> None:
    case = json.loads(path.read_text())
    adapter = adapter_of(case)
    target = target_of(case, adapter)
    if "refused" in case:
        with pytest.raises(XRouterError) as refused:
            adapter.encode_chat(request_of(case), target)
        assert_error(case["refused"], refused.value)
        return
    exchange = _started(case, adapter, target)
    adapter.authorize(exchange.wire, case.get("token"))
    assert_wire(case["wire"], exchange.wire)
    assert list(exchange.dropped) == case.get("dropped", [])
    exchange = _other_ways(case, adapter, exchange)
    if "reply" in case:
        _check_reply(case, adapter, exchange)
        _check_after(case, adapter, exchange)
    if "stream" in case:
        _check_stream(case, target)


def _started(case: dict[str, Any], adapter: BaseAPIAdapter, target: Target) -> ChatExchange:
    exchange = adapter.encode_chat(request_of(case), target)
    before = exchange.before()
    if "before" in case:
        run(before, case["before"], adapter, case.get("token"))
    else:
        assert before is None
    return exchange


def _other_ways(
    case: dict[str, Any], adapter: BaseAPIAdapter, exchange: ChatExchange
) -> ChatExchange:
    for way in case.get("instead", []):
        other = exchange.instead(adapter.decode_error(reply_of(way["reply"])))
        assert other is not None
        adapter.authorize(other.wire, case.get("token"))
        assert_wire(way["wire"], other.wire)
        exchange = other
    return exchange


def _check_after(case: dict[str, Any], adapter: BaseAPIAdapter, exchange: ChatExchange) -> None:
    if "after" in case:
        added = run(exchange.after(), case["after"], adapter, case.get("token"))
        assert_matches(case["added"], plain(added))
    elif "error" not in case:
        assert exchange.after() is None


def _check_reply(case: dict[str, Any], adapter: BaseAPIAdapter, exchange: ChatExchange) -> None:
    if "error" in case:
        with pytest.raises(XRouterError) as raised:
            read(case, adapter, exchange)
        assert_error(case["error"], raised.value)
    else:
        assert_matches(case["answer"], plain(read(case, adapter, exchange)))


def _check_stream(case: dict[str, Any], target: Target) -> None:
    for chunks in splits(case["stream"].encode()):
        fresh = adapter_of(case)
        exchange = _other_ways(case, fresh, _started(case, fresh, target))
        if "error" in case:
            with pytest.raises(XRouterError) as raised:
                replay(exchange, chunks)
            assert_error(case["error"], raised.value)
        else:
            assert_matches(case["deltas"], plain(replay(exchange, chunks)))
            _check_after(case, fresh, exchange)


@pytest.mark.parametrize("path", EMBEDDINGS_CASES, ids=name_of)
def test_embeddings(path: Path) -> None:
    case = json.loads(path.read_text())
    adapter = adapter_of(case)
    target = target_of(case, adapter)
    if "refused" in case:
        with pytest.raises(XRouterError) as refused:
            adapter.encode_embeddings(request_of(case), target)
        assert_error(case["refused"], refused.value)
        return
    exchange = adapter.encode_embeddings(request_of(case), target)
    expected = case["wire"] if isinstance(case["wire"], list) else [case["wire"]]
    assert len(expected) == len(exchange.wires)
    for wanted, wire in zip(expected, exchange.wires, strict=True):
        adapter.authorize(wire, case.get("token"))
        assert_wire(wanted, wire)
    replies = case["reply"] if isinstance(case["reply"], list) else [case["reply"]]
    if "error" in case:
        assert_error(case["error"], adapter.decode_error(reply_of(replies[0])))
    else:
        answer = exchange.answer([reply_of(reply) for reply in replies])
        assert_matches(case["answer"], plain(answer))


@pytest.mark.parametrize("path", ERRAND_CASES, ids=name_of)
def test_errand(path: Path) -> None:
    case = json.loads(path.read_text())
    adapter = adapter_of(case)
    target = target_of(case, adapter)
    makers = {"images": adapter.images, "count": adapter.count, "deferred": adapter.defer}
    make: Any = makers[case["kind"]]
    if "errand" not in case:
        with pytest.raises(XRouterError) as refused:
            next(make(request_of(case), target))
        assert_error(case["refused"], refused.value)
    elif "error" in case:
        with pytest.raises(XRouterError) as raised:
            run(make(request_of(case), target), case["errand"], adapter, case.get("token"))
        assert_error(case["error"], raised.value)
    else:
        answer = run(make(request_of(case), target), case["errand"], adapter, case.get("token"))
        assert_matches(case["answer"], plain(answer))


@pytest.mark.parametrize("path", RAW_CASES, ids=name_of)
def test_raw(path: Path) -> None:
    case = json.loads(path.read_text())
    adapter = adapter_of(case)
    given = case["request"]
    body = given["body"] if isinstance(given["body"], str) else json.dumps(given["body"])
    request = RawRequest(
        model=case["model"],
        operation=given["operation"],
        content_type=given["content_type"],
        body=body.encode(),
    )
    if "refused" in case:
        with pytest.raises(XRouterError) as refused:
            adapter.raw(request, target_of(case, adapter))
        assert_error(case["refused"], refused.value)
        return
    wire = adapter.raw(request, target_of(case, adapter))
    adapter.authorize(wire, case.get("token"))
    expected = dict(case["wire"])
    if isinstance(expected["body"], str):
        assert wire.body.decode() == expected.pop("body")
    assert_wire(expected, wire)


def test_every_adapter_has_golden_cases() -> None:
    """A new provider without golden cases fails here."""
    covered = {json.loads(case.read_text())["adapter"] for case in CASES}
    assert set(adapter_classes()) <= covered
