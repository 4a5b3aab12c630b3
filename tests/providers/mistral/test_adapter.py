"""Mistral's adapter beside the golden cases: models, configuration, what is passed on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, get_args

import pytest
from tests.providers.mistral.conftest import Aim, Ask, endpoint_of
from tests.providers.test_golden import (
    GOLDEN,
)

from xrouter.domain.abilities import Feature
from xrouter.domain.errors import InvalidRequest, UpstreamMalformed, XRouterError
from xrouter.domain.raw import RawRequest
from xrouter.providers.base import from_environment
from xrouter.providers.mistral.adapter import MistralAdapter
from xrouter.wire.types import WireReply

CASES = sorted((GOLDEN / "mistral").glob("*.json"))


def reply(body: Any, status: int = 200, **headers: str) -> WireReply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return WireReply(status, named, json.dumps(body).encode())


@pytest.mark.parametrize(
    "operation, content_type, body, param",
    [
        ("moderations", "application/json", b"{", None),
        ("moderations", "application/json", b"[]", None),
        ("moderations", "application/json", b'{"model":"m"}', "input"),
        ("moderations", "application/json", b'{"model":"m","input":"a","x":1}', "x"),
        ("moderations", "application/json", b'{"model":"m","input":["a",1]}', "input[1]"),
        ("audio/transcriptions", "multipart/form-data", b"", None),
        ("audio/transcriptions", "multipart/form-data; boundary=b", b"", "model"),
        ("audio/transcriptions", "multipart/form-data; boundary=b", b"--b\r\n--b--", "model"),
        ("audio/transcriptions", "multipart/form-data; boundary=b", b"--b\r\n" * 200, "model"),
        ("audio/translations", "multipart/form-data; boundary=b", b"", "model"),
    ],
)
def test_what_cannot_be_passed_on(
    adapter: MistralAdapter,
    aim: Aim,
    operation: str,
    content_type: str,
    body: bytes,
    param: str | None,
) -> None:
    request = RawRequest(model="m", operation=operation, content_type=content_type, body=body)
    with pytest.raises(InvalidRequest) as raised:
        adapter.raw(request, aim())
    assert raised.value.param == param


def raw_reader(adapter: MistralAdapter, operation: str) -> Callable[[bytes], bytes] | None:
    request = RawRequest(model="m", operation=operation, content_type="", body=b"")
    return adapter.raw_reader(request)


def test_verdicts_are_summed_up(adapter: MistralAdapter) -> None:
    """Callers read `flagged` alone; where it is missing everything looks harmless."""
    results: list[Any] = [
        {"categories": {"sexual": False, "pii": True}, "category_scores": {"pii": 0.9}},
        {"categories": {"sexual": False, "pii": False}},
        {"categories": {"sexual": True}, "flagged": False},
        {"categories": {"sexual": None, "pii": 1}},
        {"category_scores": {}},
        5,
    ]
    read = raw_reader(adapter, "moderations")
    assert read is not None
    told = json.loads(read(json.dumps({"id": "x", "results": results}).encode()))
    assert told["id"] == "x"
    assert told["results"] == [
        results[0] | {"flagged": True},
        results[1] | {"flagged": False},
        results[2],
        results[3] | {"flagged": True},
        results[4],
        5,
    ]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"results": 5}', b"[" * 9999, b'{"a":1}'])
def test_what_holds_no_verdicts_stays_as_it_is(adapter: MistralAdapter, body: bytes) -> None:
    read = raw_reader(adapter, "moderations")
    assert read is not None
    assert read(body) == body


def test_transcripts_are_passed_on_as_they_come(adapter: MistralAdapter) -> None:
    assert raw_reader(adapter, "audio/transcriptions") is None


def test_each_feature_has_its_proof() -> None:
    shown: dict[str, list[dict[str, Any]]] = {}
    for path in CASES:
        case = json.loads(path.read_text())
        for feature in case.get("shows", ()):
            shown.setdefault(feature, []).append(case)
    assert shown.keys() == MistralAdapter.features.keys()
    assert shown.keys() <= set(get_args(Feature))
    for feature, degree in MistralAdapter.features.items():
        for case in shown[feature]:
            if degree == "refused":
                assert case["refused"]["status"] == 400, feature
            elif degree == "dropped":
                assert feature in case["dropped"]


def entry(name: str, **can: bool) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "name": name,
        "max_context_length": 32768,
        "aliases": [],
        "deprecation": None,
        "capabilities": {"completion_chat": True, "function_calling": True, **can},
    }


def test_the_live_list(adapter: MistralAdapter) -> None:
    large = entry("mistral-large-2512", vision=True, reasoning=False, audio=False)
    old = entry("open-mistral-7b", function_calling=False, vision=False)
    old |= {"deprecation": "2026-01-01", "deprecation_replacement_model": "ministral-8b"}
    entries = [
        large | {"aliases": ["mistral-large-latest", "mistral-large"]},
        large | {"id": "mistral-large-latest", "aliases": ["mistral-large-2512"]},
        large | {"id": "mistral-large-latest"},
        entry("magistral-medium-2509", reasoning=True),
        old,
        entry("mistral-embed", completion_chat=False),
        entry("codestral-embed-2505", completion_chat=False),
        entry("mistral-moderation-latest", completion_chat=False, moderation=True),
        entry("voxtral-mini-2602", completion_chat=False, audio_transcription=True),
        entry("mistral-ocr-latest", completion_chat=False, ocr=True),
        {"id": "unknown-1"},
        {"id": 5},
    ]
    found = adapter.decode_models(reply({"object": "list", "data": entries}))
    assert [(m.name, m.kind) for m in found] == [
        ("mistral-large-2512", "chat"),
        ("mistral-large-latest", "chat"),
        ("magistral-medium-2509", "chat"),
        ("open-mistral-7b", "chat"),
        ("mistral-embed", "embeddings"),
        ("codestral-embed-2505", "embeddings"),
        ("mistral-moderation-latest", "moderation"),
        ("voxtral-mini-2602", "transcription"),
        ("unknown-1", "chat"),
        ("mistral-large", "chat"),
    ]
    by_name = {m.name: m for m in found}
    assert by_name["mistral-large"].versions[0].upstream == "mistral-large"
    assert by_name["mistral-large-latest"].context_length == 32768
    assert by_name["mistral-large-latest"].abilities.features == {
        "tools": "native",
        "vision": "native",
        "image_urls": "native",
        "audio_input": "refused",
        "reasoning": "dropped",
    }
    assert by_name["magistral-medium-2509"].abilities.features["reasoning"] == "native"
    assert by_name["open-mistral-7b"].abilities.features == {
        "tools": "refused",
        "vision": "refused",
        "image_urls": "refused",
    }
    assert by_name["open-mistral-7b"].display_name == (
        "open-mistral-7b (deprecated; use ministral-8b)"
    )
    assert by_name["open-mistral-7b"].versions[0].channel == "deprecated"
    assert by_name["mistral-embed"].abilities.features == {"dimensions": "dropped"}
    assert by_name["codestral-embed-2505"].abilities.features == {"dimensions": "native"}
    assert by_name["unknown-1"].abilities.features == {}


def test_a_list_that_is_none(adapter: MistralAdapter) -> None:
    with pytest.raises(UpstreamMalformed):
        adapter.decode_models(reply({"data": {}}))


def test_what_the_list_says_of_reasoning_is_used(
    adapter: MistralAdapter, ask: Ask, aim: Aim
) -> None:
    request = ask(
        [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "reasoning_content": "hm"},
            {"role": "user", "content": "c"},
        ],
        reasoning_effort="low",
    )
    knows = adapter.encode_chat(request, aim("m", reasoning="native"))
    body = json.loads(knows.wire.body)
    assert body["reasoning_effort"] == "low"
    assert body["messages"][1]["content"][0]["type"] == "thinking"
    assert knows.dropped == ()
    not_here = adapter.encode_chat(request, aim("m", reasoning="dropped"))
    body = json.loads(not_here.wire.body)
    assert "reasoning_effort" not in body
    assert body["messages"][1]["content"] == "b"
    assert not_here.dropped == ("messages.reasoning_content", "reasoning_effort")
    silent = adapter.encode_chat(ask(reasoning_effort="none"), aim("m", reasoning="dropped"))
    assert silent.dropped == ()
    guessed = adapter.encode_chat(request, aim("m"))
    assert json.loads(guessed.wire.body)["reasoning_effort"] == "low"
    assert guessed.dropped == ("messages.reasoning_content",)


def test_the_other_way_is_taken_once_and_only_for_its_reason(
    adapter: MistralAdapter, ask: Ask, aim: Aim
) -> None:
    exchange = adapter.encode_chat(ask(reasoning_effort="low"), aim("m"))
    assert exchange.instead(InvalidRequest("temperature: too hot", param="temperature")) is None
    assert exchange.instead(UpstreamMalformed("reasoning_effort")) is None
    about = InvalidRequest("reasoning_effort is not supported")
    other = exchange.instead(about)
    assert other is not None
    assert other.dropped == ("reasoning_effort",)
    assert other.instead(about) is None


def test_many_strange_fields_are_listed_up_to_a_bound(
    adapter: MistralAdapter, ask: Ask, aim: Aim
) -> None:
    strange = {f"x{n}" + "y" * 100: n for n in range(100)}
    dropped = adapter.encode_chat(ask(**strange), aim()).dropped
    assert len(dropped) == 64
    assert max(map(len, dropped)) == 64


@pytest.mark.parametrize(
    "more, param",
    [
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.name"),
        ({"prediction": {"type": "other", "content": "x"}}, "prediction"),
        ({"prediction": "x"}, "prediction"),
        ({"tools": [{"type": "custom"}]}, "tools[0].custom.name"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        (
            {
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": []}},
            },
            "tool_choice",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "some"},
            "tool_choice",
        ),
        (
            {"functions": [{"name": "f"}], "function_call": {"name": "g"}},
            "function_call",
        ),
    ],
)
def test_refused(
    adapter: MistralAdapter, ask: Ask, aim: Aim, more: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        adapter.encode_chat(ask(**more), aim())
    assert raised.value.param == param


def test_flat_tools_are_functions_too(adapter: MistralAdapter, ask: Ask, aim: Aim) -> None:
    flat = {"type": "function", "name": "f", "parameters": {"type": "object"}, "x": 1}
    exchange = adapter.encode_chat(
        ask(tools=[flat], tool_choice={"type": "function", "name": "f"}), aim()
    )
    body = json.loads(exchange.wire.body)
    assert body["tools"][0]["function"] == {"name": "f", "parameters": {"type": "object"}}
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert exchange.dropped == ("tools.x",)


@pytest.mark.parametrize(
    "headers, body, expected",
    [
        ({"mistral_correlation_id": "a", "x_kong_request_id": "b"}, {"detail": "x"}, "a"),
        ({"x_kong_request_id": "b", "x_request_id": "c"}, {"detail": "x"}, "b"),
        ({}, {"message": "Unauthorized", "request_id": "d"}, "d"),
        ({}, {"detail": "x"}, None),
        ({}, [], None),
    ],
)
def test_the_request_id_is_kept(
    adapter: MistralAdapter, headers: dict[str, str], body: Any, expected: str | None
) -> None:
    error = adapter.decode_error(reply(body, 401, **headers))
    assert error.upstream_request_id == expected
    assert error.upstream_status == 401


def test_the_key_is_in_no_error(adapter: MistralAdapter) -> None:
    told = {"object": "error", "message": "Bad key key-of-the-endpoint", "type": "x"}
    assert "key-of" not in adapter.decode_error(reply(told, 400)).message


@pytest.mark.parametrize(
    "message, param",
    [
        ("n is not supported for model open-mistral-nemo", "n"),
        ("This model does not support n > 1", "n"),
        ("The parameter `top_p` must be 1 with greedy sampling", "top_p"),
        ("'tool_choice' cannot name a tool here", "tool_choice"),
        ("Image input is not enabled for model x", None),
        ("Unknown field 'n_best'", None),
    ],
)
def test_a_refusal_in_words_names_its_parameter(
    adapter: MistralAdapter, message: str, param: str | None
) -> None:
    told = {"object": "error", "message": message, "type": "invalid_request_error", "param": None}
    error = adapter.decode_error(reply(told, 400))
    assert isinstance(error, InvalidRequest)
    assert error.param == param


@pytest.mark.parametrize(
    "message",
    [{}, [], 5, None, {"detail": {}}, {"detail": [5, {"loc": 5, "msg": None}]}, "[", "{}", '"x"'],
)
@pytest.mark.parametrize("status", [400, 422, 500])
def test_odd_errors_are_read(adapter: MistralAdapter, message: Any, status: int) -> None:
    error = adapter.decode_error(reply({"object": "error", "message": message}, status))
    assert isinstance(error, XRouterError)


def test_configuration() -> None:
    MistralAdapter.validate(endpoint_of())
    with pytest.raises(InvalidRequest) as raised:
        MistralAdapter.validate(endpoint_of(""))
    assert raised.value.param == "credential.api_key"
    with pytest.raises(InvalidRequest) as raised:
        MistralAdapter.validate(endpoint_of(limit_field="max_tokens"))
    assert raised.value.param == "options.limit_field"


def test_the_environment() -> None:
    assert MistralAdapter.environment is not None
    assert from_environment(MistralAdapter.environment, {"MISTRAL_BASE_URL": "x"}) is None
    fields = from_environment(MistralAdapter.environment, {"MISTRAL_API_KEY": "k"})
    assert fields is not None
    assert fields.base_url is None
    assert fields.credential["api_key"].reveal() == "k"


def test_it_is_recognised_by_its_header() -> None:
    probe = MistralAdapter.detect_probe("https://h/v1")
    assert probe is not None
    assert probe.url == "https://h/v1/models"
    answer = reply({"detail": "Unauthorized"}, 401, mistral_correlation_id="x")
    assert MistralAdapter.recognises(answer)
    assert not MistralAdapter.recognises(reply({"detail": "Unauthorized"}, 401))
