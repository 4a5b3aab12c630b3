"""Pictures, audio and moderations: the adapters ask the simulated OpenAI."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.chat import Fields
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.domain.images import ImagesAnswer, ImagesRequest
from xrouter.domain.plan import Target
from xrouter.domain.raw import RawRequest
from xrouter.domain.secret import Secret
from xrouter.providers.openai import GenericOpenAIAdapter, OpenAIAdapter
from xrouter.sandbox.server import running
from xrouter.wire.client import Client
from xrouter.wire.types import Route, WireReply, WireRequest

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\np/m\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n--b--\r\n'
)


class Caller:
    """An endpoint at the simulated OpenAI."""

    def __init__(self, kind: type[OpenAIAdapter], origin: str, client: Client) -> None:
        self.client = client
        self.adapter = kind(
            Endpoint(
                id=1,
                provider="p",
                name="primary",
                adapter_class="",
                base_url=f"{origin}/openai/v1",
                credential={"api_key": Secret("sk-sandbox")},
            )
        )

    def target(self, upstream: str) -> Target:
        version = Version(label="latest", upstream=upstream)
        model = Model(
            model_id="p/m", provider="p", adapter_class="", display_name="M", versions=(version,)
        )
        return Target(self.adapter.endpoint, model, version)

    async def send(self, wire: WireRequest) -> WireReply:
        self.adapter.authorize(wire, None)
        return await self.client.fetch(wire, Route(), timeout=30)

    async def raw(self, upstream: str, operation: str, body: Any) -> WireReply:
        """The answer. Raises what the adapter makes of an error."""
        form = isinstance(body, bytes)
        request = RawRequest(
            model="p/m",
            operation=operation,
            content_type="multipart/form-data; boundary=b" if form else "application/json",
            body=body if form else json.dumps(body).encode(),
        )
        reply = await self.send(self.adapter.raw(request, self.target(upstream)))
        if reply.status >= 300:
            raise self.adapter.decode_error(reply)
        return reply

    async def draw(self, upstream: str, **fields: Any) -> ImagesAnswer:
        body = json.dumps({"model": "p/m", "prompt": "A cat", **fields}).encode()
        request = msgspec.json.decode(body, type=ImagesRequest)
        request.fields = msgspec.json.decode(body, type=Fields)
        errand = self.adapter.images(request, self.target(upstream))
        reply = await self.send(next(errand))
        with pytest.raises(StopIteration) as end:
            errand.send(reply)
        answer: ImagesAnswer = end.value.value
        return answer


@pytest.fixture(params=[OpenAIAdapter, GenericOpenAIAdapter])
async def caller(request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    client = Client()
    try:
        async with running() as origin:
            yield Caller(request.param, origin, client)
    finally:
        await client.close()


async def test_pictures(caller: Caller) -> None:
    """Base64 is told as base64, whatever was asked for: the door makes addresses of it."""
    for wanted in ("url", "b64_json", None):
        answer = await caller.draw("gpt-image-1", response_format=wanted, n=2)
        assert all(picture.b64_json for picture in answer.pictures)
        assert len(answer.pictures) == 2
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == 2
        assert answer.extra is not None
        assert answer.extra["output_format"] == "png"
    (picture,) = (await caller.draw("dall-e-3", response_format="url")).pictures
    assert picture.url
    assert picture.revised_prompt
    with pytest.raises(InvalidRequest) as refused:
        await caller.draw("gpt-image-1", size="1x1")
    assert refused.value.param == "size"


async def test_audio(caller: Caller) -> None:
    spoken = {"model": "p/m", "input": "Hi", "voice": "alloy", "response_format": "wav"}
    sound = await caller.raw("tts-1", "audio/speech", spoken)
    assert sound.headers["content-type"] == "audio/wav"
    assert sound.body.startswith(b"RIFF")
    for operation in ("audio/transcriptions", "audio/translations"):
        heard = await caller.raw("whisper-1", operation, FORM)
        assert json.loads(heard.body)["text"].endswith("a.wav")


async def test_moderations(caller: Caller) -> None:
    answer = await caller.raw("omni-moderation-latest", "moderations", {"input": "violence"})
    assert json.loads(answer.body)["results"][0]["flagged"] is True


@pytest.mark.parametrize("operation", ["moderations", "audio/speech", "audio/transcriptions"])
async def test_errors_are_read(caller: Caller, operation: str) -> None:
    body: Any = FORM if operation.endswith("transcriptions") else {"model": "p/m"}
    with pytest.raises(XRouterError) as refused:
        await caller.raw("nothing", operation, body)
    assert refused.value.code == "model_not_found"


async def test_the_live_list_has_all_kinds(caller: Caller) -> None:
    wire = caller.adapter.discover()
    assert wire is not None
    found = caller.adapter.decode_models(await caller.send(wire))
    kinds = {model.name: model.kind for model in found}
    assert set(kinds.values()) == {
        "chat", "embeddings", "images", "speech", "transcription", "moderation",
    }  # fmt: skip
    assert kinds["gpt-4o-mini-tts"] == "speech"
