"""What the tests of this adapter share: an adapter, its target, requests and replies."""

from __future__ import annotations

import base64
import json
from typing import Any, TypeVar

import msgspec

from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.plan import Target
from xrouter.providers.base import ChatExchange
from xrouter.providers.gigachat.adapter import GigaChatAdapter
from xrouter.wire.types import Errand, WireReply, WireRequest

T = TypeVar("T")

PNG = b"\x89PNG\r\n\x1a\n0"


def endpoint_of(**fields: Any) -> Endpoint:
    return Endpoint(
        **{
            "id": 1,
            "provider": "gigachat",
            "name": "primary",
            "adapter_class": "x",
            "base_url": "http://h/v1/",
            **fields,
        }
    )


def adapter_of(**fields: Any) -> GigaChatAdapter:
    return GigaChatAdapter(endpoint_of(**fields))


def target_of(adapter: GigaChatAdapter, upstream: str = "GigaChat-2-Max") -> Target:
    version = Version(label="latest", upstream=upstream)
    model = Model(
        model_id=f"gigachat/{upstream}",
        provider="gigachat",
        adapter_class="x",
        display_name="x",
        versions=(version,),
    )
    return Target(adapter.endpoint, model, version)


def reply(status: int, body: Any, **headers: str) -> WireReply:
    if isinstance(body, bytes):
        return WireReply(status, headers, body)
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return WireReply(status, headers, raw)


def ask(adapter: GigaChatAdapter, **fields: Any) -> ChatExchange:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    raw = json.dumps(body).encode()
    request = msgspec.json.decode(raw, type=ChatRequest)
    request.fields = msgspec.json.decode(raw, type=Fields)
    return adapter.encode_chat(request, target_of(adapter))


def sent(exchange: ChatExchange) -> Any:
    return json.loads(exchange.wire.body)


def said(content: str, finish: str = "stop", **message: Any) -> WireReply:
    choice = {"message": {"content": content, **message}, "finish_reason": finish}
    return reply(200, {"choices": [choice]})


def image(data: bytes = PNG, kind: str = "image/png") -> dict[str, Any]:
    url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def play(errand: Errand[T] | None, *replies: WireReply | Exception) -> tuple[T, list[WireRequest]]:
    """What the errand returns, and the requests it made; each gets one of the replies."""
    assert errand is not None
    wires: list[WireRequest] = []
    try:
        wire = next(errand)
        for answer in replies:
            wires.append(wire)
            wire = errand.throw(answer) if isinstance(answer, Exception) else errand.send(answer)
    except StopIteration as end:
        assert len(wires) == len(replies)
        result: T = end.value
        return result, wires
    raise AssertionError("the errand wants more")
