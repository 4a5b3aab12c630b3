"""llama.cpp's adapter: addresses, native routes, configuration."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from xrouter.domain.answer import ChatAnswer
from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.counting import CountRequest
from xrouter.domain.errors import InvalidRequest, UpstreamOverloaded
from xrouter.domain.plan import Target
from xrouter.domain.secret import Secret
from xrouter.providers.llamacpp.adapter import LlamaCppAdapter
from xrouter.wire.types import WireReply


def endpoint_of(
    base_url: str = "http://h:8080", options: dict[str, str] | None = None, key: str | None = None
) -> Endpoint:
    return Endpoint(
        id=1,
        provider="llamacpp",
        name="primary",
        adapter_class="xrouter.providers.llamacpp.adapter.LlamaCppAdapter",
        base_url=base_url,
        credential={} if key is None else {"api_key": Secret(key)},
        options=options or {},
    )


def target() -> Target:
    model = Model(
        model_id="llamacpp/m",
        provider="llamacpp",
        adapter_class="",
        display_name="M",
        versions=(Version(label="latest", upstream="m"),),
    )
    return Target(endpoint_of(), model, model.versions[0])


def reply(body: Any, status: int = 200, **headers: str) -> WireReply:
    return WireReply(status, headers, json.dumps(body).encode())


@pytest.mark.parametrize(
    "base_url", ["http://h/p", "http://h/p/", "http://h/p/v1", "http://h/p/v1/"]
)
def test_the_base_url_is_given_in_any_form(base_url: str) -> None:
    adapter = LlamaCppAdapter(endpoint_of(base_url))
    discover = adapter.discover()
    assert discover is not None
    assert discover.url == "http://h/p/v1/models"
    assert adapter.probe().url == "http://h/p/health"
    counting = adapter.count(CountRequest(model="m", texts=["a"]), target())
    assert counting is not None
    assert next(counting).url == "http://h/p/tokenize"
    found = LlamaCppAdapter.detect_probe(base_url)
    assert found is not None
    assert found.url == "http://h/p/props"


def test_with_a_key_the_probe_shows_that_it_works() -> None:
    """`/health` is open to all."""
    adapter = LlamaCppAdapter(endpoint_of(key="k"))
    wire = adapter.probe()
    adapter.authorize(wire, None)
    assert wire.url == "http://h:8080/v1/models"
    assert wire.headers["authorization"] == "Bearer k"


def test_the_live_list() -> None:
    entries = [
        {"id": "/models/gemma-3-4b.gguf", "meta": {"n_ctx": 4096, "n_ctx_train": 131072}},
        {"id": "org/repo:Q4", "meta": None},
        {"id": "C:\\models\\nomic-embed.gguf", "meta": {"n_ctx_train": 2048}},
    ]
    found = LlamaCppAdapter(endpoint_of()).decode_models(reply({"data": entries}))
    assert [(m.name, m.versions[0].upstream, m.kind, m.context_length) for m in found] == [
        ("gemma-3-4b", "/models/gemma-3-4b.gguf", "chat", 4096),
        ("org/repo:Q4", "org/repo:Q4", "chat", None),
        ("nomic-embed", "C:\\models\\nomic-embed.gguf", "embeddings", 2048),
    ]


@pytest.mark.parametrize(
    "found, expected",
    [
        (reply({"error": {"message": "Loading model"}}, 503, server="llama.cpp"), True),
        (reply({"error": {"message": "Invalid API Key"}}, 401, server="llama.cpp"), True),
        (reply({"default_generation_settings": {}, "total_slots": 4}), True),
        (reply({"role": "router", "models_autoload": True}), True),
        (reply({"error": "File Not Found"}, 404), False),
        (reply([]), False),
        (WireReply(200, {"server": "nginx"}, b"<html>"), False),
    ],
)
def test_recognises(found: WireReply, expected: bool) -> None:
    assert LlamaCppAdapter.recognises(found) is expected


@pytest.mark.parametrize(
    "options, param",
    [
        ({"strict_roles": "yes"}, "options.strict_roles"),
        ({"max_tokens_default": "0"}, "options.max_tokens_default"),
        ({"max_tokens_default": "many"}, "options.max_tokens_default"),
        ({"concurrency": "0"}, "options.concurrency"),
        ({"tools": "perhaps"}, "options.tools"),
        ({"organization": "x"}, "options.organization"),
    ],
)
def test_wrong_options_are_named(options: dict[str, str], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        LlamaCppAdapter.validate(endpoint_of(options=options))
    assert raised.value.param == param


def test_good_options_are_taken() -> None:
    options = {"strict_roles": "plain", "max_tokens_default": "512", "ignored": "seed"}
    options |= {"tools": "refuse", "concurrency": "2"}
    LlamaCppAdapter.validate(endpoint_of(options=options, key="k"))


def test_a_loading_model_says_when_to_come_again() -> None:
    error = LlamaCppAdapter(endpoint_of()).decode_error(
        reply({"error": {"message": "Loading model", "code": 503}}, 503)
    )
    assert isinstance(error, UpstreamOverloaded)
    assert error.retry_after


def test_the_lane_is_as_wide_as_the_operator_says() -> None:
    """Two names of one server share it."""
    assert LlamaCppAdapter(endpoint_of()).lane() is None
    options = {"concurrency": "3"}
    lanes = [
        LlamaCppAdapter(endpoint_of(url, options)).lane() for url in ("http://h", "http://h/v1/")
    ]
    assert lanes[0] == lanes[1]
    assert lanes[0] is not None
    assert lanes[0].width == 3


def several(usage: dict[str, int] | None, *texts: str, **more: Any) -> ChatAnswer:
    """What is made of a whole answer with these alternatives."""
    body = b'{"model":"llamacpp/m","messages":[{"role":"user","content":"x"}],"n":2}'
    request = msgspec.json.decode(body, type=ChatRequest)
    request.fields = msgspec.json.decode(body, type=Fields)
    exchange = LlamaCppAdapter(endpoint_of()).encode_chat(request, target())
    choices = [
        {"index": index, "message": {"content": text}, "finish_reason": "stop"}
        for index, text in enumerate(texts)
    ]
    return exchange.answer(reply({"choices": choices, "usage": usage, **more}))


FIVE = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}


@pytest.mark.parametrize(
    "texts,tokens",
    [
        (("ten chars.", "ten chars."), 10),
        (("ten chars.", ""), 5),
        (("ten chars.", "four"), 7),
        (("", "four"), 10),
        (("ten chars.", "four", "six ch"), 10),
    ],
)
def test_the_tokens_of_further_alternatives_are_estimated(
    texts: tuple[str, ...], tokens: int
) -> None:
    usage = several(FIVE, *texts).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (9, tokens)
    assert usage.estimated
    assert usage.openai() == {
        "prompt_tokens": 9,
        "completion_tokens": tokens,
        "total_tokens": 9 + tokens,
    }


def test_a_server_that_counts_all_alternatives_is_believed() -> None:
    usage = several(FIVE, "one", "two", timings={"predicted_n": 3}).usage
    assert usage is not None
    assert usage.completion_tokens == 5
    assert not usage.estimated
    assert several(None, "one", "two").usage is None
