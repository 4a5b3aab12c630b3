"""Pictures, audio and moderations of the simulated OpenAI, over raw HTTP."""

from __future__ import annotations

import base64
from typing import Any

import aiohttp
import pytest

ROOT = "/openai/v1"
KEY = {"authorization": "Bearer sk-sandbox-1"}
IMAGES, SPEECH, MODERATIONS = "/images/generations", "/audio/speech", "/moderations"
SPOKEN = {"model": "tts-1", "input": "Hi there", "voice": "alloy"}
LOOK = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


async def ask(http: aiohttp.ClientSession, path: str, body: Any, status: int = 200) -> Any:
    async with http.post(ROOT + path, json=body, headers=KEY) as reply:
        assert reply.status == status, await reply.text()
        return await reply.json()


async def test_pictures_in_base64(http: aiohttp.ClientSession) -> None:
    answer = await ask(http, IMAGES, {"model": "gpt-image-1", "prompt": "A cat", "n": 2})
    pictures = [base64.b64decode(one["b64_json"]) for one in answer["data"]]
    assert len(set(pictures)) == 2
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


async def test_pictures_by_address(http: aiohttp.ClientSession) -> None:
    body = {"model": "dall-e-3", "prompt": "A cat"}
    (picture,) = (await ask(http, IMAGES, body))["data"]
    assert picture["url"].startswith("https://")
    assert picture["revised_prompt"].endswith("A cat")
    answer = await ask(http, IMAGES, body | {"response_format": "b64_json", "style": "vivid"})
    assert "usage" not in answer
    assert list(answer["data"][0]) == ["b64_json", "revised_prompt"]


@pytest.mark.parametrize(
    "model,fields,param",
    [
        ("gpt-4o", {}, "model"),
        ("gpt-image-1", {"prompt": None}, "prompt"),
        ("gpt-image-1", {"prompt": ""}, "prompt"),
        ("gpt-image-1", {"prompt": 5}, "prompt"),
        ("gpt-image-1", {"n": 11}, "n"),
        ("gpt-image-1", {"size": "1x1"}, "size"),
        ("gpt-image-1", {"response_format": "b64_json"}, "response_format"),
        ("dall-e-3", {"n": 2}, "n"),
        ("dall-e-2", {"response_format": "x"}, "response_format"),
        ("dall-e-2", {"strange": 1}, None),
    ],
)
async def test_pictures_that_are_refused(
    http: aiohttp.ClientSession, model: str, fields: dict[str, Any], param: str | None
) -> None:
    error = await ask(http, IMAGES, {"model": model, "prompt": "A cat"} | fields, 400)
    assert error["error"]["param"] == param


async def test_speech(http: aiohttp.ClientSession) -> None:
    for form, kind in (("mp3", "audio/mpeg"), ("wav", "audio/wav")):
        body = SPOKEN | {"response_format": form}
        async with http.post(ROOT + SPEECH, json=body, headers=KEY) as reply:
            assert reply.status == 200
            assert reply.headers["content-type"] == kind
            assert (await reply.read()).startswith(b"RIFF")


@pytest.mark.parametrize(
    "fields,param",
    [
        ({"model": "gpt-4o"}, "model"),
        ({"input": None}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"voice": None}, "voice"),
        ({"voice": 5}, "voice"),
        ({"speed": 5}, "speed"),
        ({"response_format": "midi"}, "response_format"),
        ({"stream_format": "sse"}, "stream_format"),
        ({"instructions": "loud"}, "instructions"),
        ({"strange": 1}, None),
    ],
)
async def test_speech_that_is_refused(
    http: aiohttp.ClientSession, fields: dict[str, Any], param: str | None
) -> None:
    error = await ask(http, SPEECH, SPOKEN | fields, 400)
    assert error["error"]["param"] == param


def form(*, file: bytes | None = b"RIFF\r\n--x\0", **fields: str) -> aiohttp.FormData:
    made = aiohttp.FormData(default_to_multipart=True)
    if file is not None:
        made.add_field("file", file, filename="a.wav", content_type="audio/wav")
    for name, value in fields.items():
        made.add_field(name, value)
    return made


@pytest.mark.parametrize("path", ["/audio/transcriptions", "/audio/translations"])
async def test_transcripts(http: aiohttp.ClientSession, path: str) -> None:
    said = "This is whisper-1. You said: a.wav"
    async with http.post(ROOT + path, data=form(model="whisper-1"), headers=KEY) as reply:
        assert reply.status == 200
        assert (await reply.json())["text"] == said
    for wanted, start in (("text", said), ("srt", "1\n00:"), ("vtt", "WEBVTT")):
        data = form(model="whisper-1", response_format=wanted)
        async with http.post(ROOT + path, data=data, headers=KEY) as reply:
            assert reply.content_type == "text/plain"
            assert (await reply.text()).startswith(start)
    data = form(model="whisper-1", response_format="verbose_json")
    async with http.post(ROOT + path, data=data, headers=KEY) as reply:
        assert (await reply.json())["duration"] == 1.0


@pytest.mark.parametrize(
    "data,status,words",
    [
        (form(), 400, "model"),
        (form(model="gpt-4o"), 400, "Supported values"),
        (form(file=None, model="whisper-1"), 400, "'file'"),
        (form(file=b"", model="whisper-1"), 400, "too short"),
        (form(model="whisper-1", strange="x"), 400, "strange"),
        (form(model="whisper-1", response_format="pdf"), 400, "pdf"),
        (form(model="gpt-4o-transcribe", response_format="srt"), 400, "not compatible"),
        (form(model="nothing"), 404, "does not exist"),
        (b"--b\r\nx", 400, "parse multipart"),
        (b"{}", 415, "content type"),
    ],
)
async def test_transcripts_that_are_refused(
    http: aiohttp.ClientSession, data: Any, status: int, words: str
) -> None:
    headers = dict(KEY)
    if isinstance(data, bytes):
        kind = "multipart/form-data; boundary=b" if data.startswith(b"--") else "application/json"
        headers["content-type"] = kind
    async with http.post(ROOT + "/audio/transcriptions", data=data, headers=headers) as reply:
        assert reply.status == status
        assert words in (await reply.json())["error"]["message"]


async def test_moderations(http: aiohttp.ClientSession) -> None:
    body = {"input": ["hello", "some violence here"]}
    answer = await ask(http, MODERATIONS, body)
    assert answer["model"] == "omni-moderation-latest"
    assert [one["flagged"] for one in answer["results"]] == [False, True]
    assert answer["results"][1]["categories"]["violence"] is True
    parts = [{"type": "text", "text": "hate"}, LOOK]
    (result,) = (await ask(http, MODERATIONS, {"input": parts}))["results"]
    assert result["categories"]["hate"] is True


@pytest.mark.parametrize(
    "body,param",
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"type": "smell"}]}, "input[0].type"),
        ({"input": [LOOK], "model": "text-moderation-latest"}, "input[0]"),
        ({"input": "a", "model": "gpt-4o"}, "model"),
        ({"input": "a", "strange": 1}, None),
    ],
)
async def test_moderations_that_are_refused(
    http: aiohttp.ClientSession, body: dict[str, Any], param: str | None
) -> None:
    assert (await ask(http, MODERATIONS, body, 400))["error"]["param"] == param


async def test_keys_methods_and_the_bill(http: aiohttp.ClientSession) -> None:
    for path in (IMAGES, SPEECH, MODERATIONS, "/audio/transcriptions"):
        async with http.get(ROOT + path, headers=KEY) as reply:
            assert reply.status == 405
        async with http.post(ROOT + path, json={}) as reply:
            assert reply.status == 401
        unpaid = {"authorization": "Bearer sk-sandbox-no-quota"}
        async with http.post(ROOT + path, json={}, headers=unpaid) as reply:
            assert reply.status == 429
    await ask(http, IMAGES, {"model": "gpt-image-1", "prompt": "A cat"})
    await ask(http, MODERATIONS, {"input": "a b"})
    async with http.get("/_sandbox/bill") as reply:
        charges = (await reply.json())["charges"]
    assert [(one["operation"], one["tokens_in"]) for one in charges] == [
        ("images", 2),
        ("moderation", 2),
    ]
    chat = {"model": "whisper-1", "messages": [{"role": "user", "content": "hi"}]}
    assert (
        "not a chat model" in (await ask(http, "/chat/completions", chat, 404))["error"]["message"]
    )
