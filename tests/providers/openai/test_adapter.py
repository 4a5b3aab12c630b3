"""The adapters themselves: configuration, headers, lists of models."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from xrouter.domain.catalog import Endpoint
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest, UpstreamMalformed, UpstreamRateLimited
from xrouter.domain.plan import Target
from xrouter.domain.raw import RawRequest
from xrouter.providers.openai import GenericOpenAIAdapter, OpenAIAdapter
from xrouter.wire.types import WireReply

Make = Callable[..., Endpoint]


def reply(body: Any, status: int = 200) -> WireReply:
    return WireReply(status, {}, json.dumps(body).encode())


def test_the_key_is_optional(make_endpoint: Make) -> None:
    adapter = GenericOpenAIAdapter(make_endpoint({}))
    wire = adapter.probe()
    adapter.authorize(wire, None)
    assert wire.url == "http://h/v1/models"
    assert "authorization" not in wire.headers
    assert adapter.auth(0.0) is None


def test_who_we_are(make_endpoint: Make) -> None:
    adapter = OpenAIAdapter(make_endpoint({"organization": "o", "project": "p"}, api_key="k"))
    wire = adapter.discover()
    assert wire is not None
    adapter.authorize(wire, None)
    assert wire.headers == {
        "accept": "application/json",
        "authorization": "Bearer k",
        "openai-organization": "o",
        "openai-project": "p",
    }


@pytest.mark.parametrize(
    "options, credential, base_url, param",
    [
        ({"limit": "x"}, {}, "http://h", "options.limit"),
        ({"organization": "x\r\ny: z"}, {}, "http://h", "options.organization"),
        ({"limit_field": "x"}, {}, "http://h", "options.limit_field"),
        ({}, {"api_key": "a b"}, "http://h", "credential.api_key"),
        ({}, {"api_key": "ключ"}, "http://h", "credential.api_key"),
        ({}, {}, "h:80", "base_url"),
    ],
)
def test_wrong_configuration_is_named(
    make_endpoint: Make,
    options: dict[str, str],
    credential: dict[str, str],
    base_url: str,
    param: str,
) -> None:
    endpoint = msgspec.structs.replace(make_endpoint(options, **credential), base_url=base_url)
    with pytest.raises(InvalidRequest) as raised:
        OpenAIAdapter.validate(endpoint)
    assert raised.value.param == param


def test_shipped_models_are_sound() -> None:
    models = OpenAIAdapter.supported_models()
    assert len({model.name for model in models}) == len(models)
    for model in models:
        assert model.context_length
        assert [version.upstream for version in model.versions] == [model.name]


def test_the_live_list(make_endpoint: Make) -> None:
    found = OpenAIAdapter(make_endpoint({})).decode_models(
        reply({"data": [{"id": "gpt-4o"}, {"id": "sora-2"}, {"id": "gpt-9"}, {"id": 7}, None]})
    )
    assert [(m.name, m.context_length) for m in found] == [("gpt-4o", 128_000), ("gpt-9", None)]


@pytest.mark.parametrize(
    "name,kind",
    [
        ("gpt-5", "chat"),
        ("gpt-4o-audio-preview", "chat"),
        ("text-embedding-3-small", "embeddings"),
        ("dall-e-3", "images"),
        ("gpt-image-1-mini", "images"),
        ("chatgpt-image-latest", "images"),
        ("tts-1-hd", "speech"),
        ("gpt-4o-mini-tts-2025-03-20", "speech"),
        ("whisper-1", "transcription"),
        ("gpt-4o-transcribe-diarize", "transcription"),
        ("omni-moderation-latest", "moderation"),
        ("text-moderation-stable", "moderation"),
        ("sora-2", None),
        ("gpt-realtime-mini", None),
        ("gpt-4o-realtime-preview", None),
        ("gpt-3.5-turbo-instruct", None),
        ("davinci-002", None),
        ("o3-deep-research", None),
        ("gpt-5-pro", None),
    ],
)
def test_kinds_of_models(make_endpoint: Make, name: str, kind: str | None) -> None:
    found = OpenAIAdapter(make_endpoint({})).decode_models(reply({"data": [{"id": name}]}))
    assert [m.kind for m in found] == ([] if kind is None else [kind])


def test_the_live_list_of_others(make_endpoint: Make) -> None:
    entries = [
        {"id": "a/b", "name": "B", "context_length": 10},
        {"id": "c", "max_model_len": 20},
        {"id": "bge", "type": "embedding", "context_window": True},
        {"id": "nomic-embed-text", "meta": {"n_ctx": 5}},
        {"id": "openai/whisper-large-v3"},
        {"id": "davinci"},
    ]
    found = GenericOpenAIAdapter(make_endpoint({})).decode_models(reply({"data": entries}))
    assert [(m.name, m.display_name, m.kind, m.context_length) for m in found] == [
        ("a/b", "B", "chat", 10),
        ("c", "c", "chat", 20),
        ("bge", "bge", "embeddings", None),
        ("nomic-embed-text", "nomic-embed-text", "embeddings", 5),
        ("openai/whisper-large-v3", "openai/whisper-large-v3", "transcription", None),
        ("davinci", "davinci", "chat", None),
    ]
    assert found[0].versions[0].upstream == "a/b"


@pytest.mark.parametrize("body", [{}, {"data": None}, [], "x"])
def test_a_list_that_is_none(make_endpoint: Make, body: Any) -> None:
    with pytest.raises(UpstreamMalformed):
        GenericOpenAIAdapter(make_endpoint({})).decode_models(reply(body))


@pytest.mark.parametrize("adapter_class", [OpenAIAdapter, GenericOpenAIAdapter])
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"'])
def test_what_is_no_json_object_is_not_passed_on(
    make_endpoint: Make, target: Target, adapter_class: type[OpenAIAdapter], body: bytes
) -> None:
    request = RawRequest(
        model="m", operation="moderations", content_type="application/json", body=body
    )
    with pytest.raises(InvalidRequest) as refused:
        adapter_class(make_endpoint({})).raw(request, target)
    assert refused.value.code == "invalid_json"


def test_others_are_passed_on_to_as_well(make_endpoint: Make, target: Target) -> None:
    """Numbers stay as the caller wrote them."""
    body = b'{"model":"p/m","input":"Hi","speed":1.50,"seed":123456789012345678901234567890}'
    request = RawRequest(
        model="p/m", operation="audio/speech", content_type="application/json", body=body
    )
    wire = GenericOpenAIAdapter(make_endpoint({})).raw(request, target)
    assert wire.url == "http://h/v1/audio/speech"
    assert wire.body == body.replace(b"p/m", b"up-1")


def vectors(make_endpoint: Make, target: Target, body: Any) -> list[list[float]]:
    request = EmbeddingsRequest(model="m", input=["a", "b"])
    request.fields = {"model": msgspec.Raw(b'"m"'), "input": msgspec.Raw(b'["a","b"]')}
    exchange = GenericOpenAIAdapter(make_endpoint({})).encode_embeddings(request, target)
    return exchange.answer([reply(body)]).vectors


def entry(index: int | None, value: Any) -> dict[str, Any]:
    return {"object": "embedding", "index": index, "embedding": value}


def test_vectors_without_an_index_are_in_order(make_endpoint: Make, target: Target) -> None:
    body = {"data": [{"embedding": [1]}, {"embedding": [2]}]}
    assert vectors(make_endpoint, target, body) == [[1.0], [2.0]]


def test_vectors_in_base64(make_endpoint: Make, target: Target) -> None:
    packed = base64.b64encode(struct.pack("<2f", 0.5, -8.0)).decode()
    body = {"data": [entry(1, [7]), entry(0, packed)]}
    assert vectors(make_endpoint, target, body) == [[0.5, -8.0], [7.0]]


@pytest.mark.parametrize(
    "data",
    [
        [],
        [entry(0, [1])],
        [entry(0, [1]), entry(0, [2])],
        [entry(0, [1]), entry(2, [2])],
        [entry(0, [1]), entry(1, "~~~~")],
        [entry(0, [1]), entry(1, "AAA=")],
        [entry(0, [1]), entry(1, ["x"])],
        None,
    ],
)
def test_vectors_that_are_not_those_asked_for(
    make_endpoint: Make, target: Target, data: Any
) -> None:
    with pytest.raises(UpstreamMalformed):
        vectors(make_endpoint, target, {"data": data})


def test_an_error_instead_of_vectors(make_endpoint: Make, target: Target) -> None:
    with pytest.raises(UpstreamRateLimited):
        vectors(make_endpoint, target, {"error": {"message": "x", "code": 429}})


@pytest.mark.parametrize(
    "status, body, expected",
    [
        (200, {"object": "list", "data": []}, True),
        (401, {"error": {"message": "key?"}}, True),
        (403, {"detail": "key?"}, True),
        (200, {"status": "ok"}, False),
        (404, {"error": "x"}, False),
        (401, {}, False),
        (200, [], False),
    ],
)
def test_recognises(status: int, body: Any, expected: bool) -> None:
    assert GenericOpenAIAdapter.recognises(reply(body, status)) is expected
    assert not GenericOpenAIAdapter.recognises(WireReply(status, {}, b"<html>"))
