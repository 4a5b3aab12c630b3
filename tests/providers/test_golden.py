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

and then one of

    reply      {status, headers, body}   with  answer (ChatAnswer as data, None left out)
    stream     the raw body as text      with  deltas (ChatDelta as data, None left out)
    either of them with  error: {type: class name, status, code, param, retry_after,
                     message (substring)}

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
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.errors import XRouterError
from xrouter.domain.plan import Target
from xrouter.domain.secret import Secret
from xrouter.providers.base import BaseAPIAdapter, ChatExchange
from xrouter.providers.factory import adapter_classes
from xrouter.wire.framing import parser_for
from xrouter.wire.types import WireReply, WireRequest

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(GOLDEN.glob("*/*.json"))
CHAT_CASES = [case for case in CASES if json.loads(case.read_text()).get("kind") != "embeddings"]
OTHER_CASES = [case for case in CASES if case not in CHAT_CASES]


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
        kind=case.get("kind", "chat"),
        versions=(version,),
    )
    return Target(adapter.endpoint, model, version)


def request_of(case: dict[str, Any]) -> Any:
    body = json.dumps(case["request"], ensure_ascii=False).encode()
    kind: Any = EmbeddingsRequest if case.get("kind") == "embeddings" else ChatRequest
    request = msgspec.json.decode(body, type=kind)
    request.fields = msgspec.json.decode(body, type=Fields)
    return request


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
    data = msgspec.to_builtins(value)
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
    exchange = adapter.encode_chat(request_of(case), target)
    adapter.authorize(exchange.wire, case.get("token"))
    assert_wire(case["wire"], exchange.wire)
    assert list(exchange.dropped) == case.get("dropped", [])
    if "reply" in case:
        _check_reply(case, adapter, exchange)
    if "stream" in case:
        _check_stream(case, adapter, target)


def _check_reply(case: dict[str, Any], adapter: BaseAPIAdapter, exchange: ChatExchange) -> None:
    if "error" in case:
        with pytest.raises(XRouterError) as raised:
            read(case, adapter, exchange)
        assert_error(case["error"], raised.value)
    else:
        assert_matches(case["answer"], plain(read(case, adapter, exchange)))


def _check_stream(case: dict[str, Any], adapter: BaseAPIAdapter, target: Target) -> None:
    for chunks in splits(case["stream"].encode()):
        exchange = adapter.encode_chat(request_of(case), target)
        if "error" in case:
            with pytest.raises(XRouterError) as raised:
                replay(exchange, chunks)
            assert_error(case["error"], raised.value)
        else:
            assert_matches(case["deltas"], plain(replay(exchange, chunks)))


@pytest.mark.parametrize("path", OTHER_CASES, ids=name_of)
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


def test_every_adapter_has_golden_cases() -> None:
    """A new provider without golden cases fails here."""
    covered = {json.loads(case.read_text())["adapter"] for case in CASES}
    assert set(adapter_classes()) <= covered
