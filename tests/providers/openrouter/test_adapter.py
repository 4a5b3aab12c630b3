"""OpenRouter's adapter beside the golden cases: the live list, the probe, the options."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from xrouter.domain.catalog import Endpoint, Model
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.errors import InvalidRequest, UpstreamFailed, XRouterError
from xrouter.domain.plan import Target
from xrouter.domain.secret import Secret
from xrouter.providers.base import ChatExchange
from xrouter.providers.openrouter.adapter import OpenRouterAdapter
from xrouter.providers.openrouter.parameters import OMITTED
from xrouter.providers.openrouter.strict import mended
from xrouter.sandbox.openrouter_models import listed
from xrouter.wire.types import WireReply


def endpoint(**options: str) -> Endpoint:
    return Endpoint(
        id=1,
        provider="openrouter",
        name="primary",
        adapter_class="xrouter.providers.openrouter.adapter.OpenRouterAdapter",
        base_url="https://openrouter.ai/api/v1",
        credential={"api_key": Secret("sk-or-v1-x")},
        options=options,
    )


def models(*entries: dict[str, Any]) -> Any:
    reply = WireReply(200, {}, msgspec.json.encode({"data": list(entries)}))
    return OpenRouterAdapter(endpoint()).decode_models(reply)


def test_the_live_list_says_what_models_can_do_and_cost() -> None:
    mini, claude, free, vectors, pictures, *_ = models(*listed())
    assert (mini.name, mini.context_length) == ("openai/gpt-4o-mini", 128_000)
    assert mini.prices == {"prompt": "0.00000015", "completion": "0.0000006"}
    assert mini.abilities.max_output == 16_384
    assert mini.abilities.features["vision"] == "native"
    assert mini.abilities.features["audio_input"] == "refused"
    assert mini.abilities.features["reasoning"] == "refused"
    assert claude.abilities.features["reasoning"] == "native"
    assert free.name == "deepseek/deepseek-chat-v3.1:free"
    assert free.abilities.features["tools"] == "refused"
    assert free.abilities.features["seed"] == "dropped"
    assert free.abilities.features["stop"] == "native"
    assert (vectors.kind, vectors.prices) == ("embeddings", {"prompt": "0.00000002"})
    assert (pictures.kind, pictures.abilities.features["seed"]) == ("images", "native")
    assert free.prices == {"prompt": "0", "completion": "0", "request": "0"}


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "a/b"},
        {"id": "a/b", "pricing": "x", "top_provider": 1, "architecture": [], "name": 5},
        {"id": "a/b", "pricing": {"prompt": 1}, "context_length": True},
        {"id": "a/b", "supported_parameters": {}, "architecture": {"input_modalities": "text"}},
    ],
)
def test_a_strange_entry_is_a_model_of_which_nothing_is_known(entry: dict[str, Any]) -> None:
    (found,) = models(entry)
    assert (found.name, found.prices, found.abilities.features) == ("a/b", {}, {})


def test_kinds_of_models_by_what_they_put_out() -> None:
    outputs = ("embeddings", "speech", "image", "transcription", "video", "rerank")
    found = models(
        *({"id": f"a/{kind}", "architecture": {"output_modalities": [kind]}} for kind in outputs),
        {"id": "a/both", "architecture": {"output_modalities": ["image", "text"]}},
    )
    assert {model.name: model.kind for model in found} == {
        "a/embeddings": "embeddings",
        "a/speech": "speech",
        "a/image": "images",
        "a/both": "chat",
    }


def test_all_models_are_asked_for() -> None:
    wire = OpenRouterAdapter(endpoint()).discover()
    assert wire is not None
    assert wire.url == "https://openrouter.ai/api/v1/models?output_modalities=all&limit=1000"


def test_the_probe_needs_the_key() -> None:
    assert OpenRouterAdapter(endpoint()).probe().url.endswith("/key")


def test_unknown_options_are_refused() -> None:
    with pytest.raises(InvalidRequest):
        OpenRouterAdapter.validate(endpoint(nonsense="1"))


def sent(lacks: list[str], **more: Any) -> tuple[dict[str, Any], ChatExchange]:
    """The body that goes out to a model that lacks these parameters."""
    known = [name for names in OMITTED.values() for name in names if name not in lacks]
    (about,) = models({"id": "a/b", "supported_parameters": [*known, "tools"]})
    adapter = OpenRouterAdapter(endpoint())
    model = Model(
        model_id="openrouter/a/b",
        provider="openrouter",
        adapter_class=adapter.endpoint.adapter_class,
        display_name="b",
        abilities=about.abilities,
        versions=about.versions,
    )
    body = {"model": "x", "messages": [{"role": "user", "content": "Hi"}], **more}
    raw = msgspec.json.encode(body)
    request = msgspec.json.decode(raw, type=ChatRequest)
    request.fields = msgspec.json.decode(raw, type=Fields)
    exchange = adapter.encode_chat(request, Target(adapter.endpoint, model, model.versions[0]))
    return msgspec.json.decode(exchange.wire.body), exchange


ASKED = {"stop": ["x"], "seed": 1, "temperature": 0.5, "max_tokens": 5, "presence_penalty": 1}


def test_what_a_model_knows_goes_out() -> None:
    body, exchange = sent([], **ASKED)
    assert ASKED.items() <= body.items()
    assert exchange.dropped == ()


def test_what_a_model_lacks_is_named() -> None:
    body, exchange = sent(["stop", "seed", "temperature", "top_p"], **ASKED)
    assert exchange.dropped == ("seed", "stop", "temperature")
    assert not body.keys() & {"seed", "stop", "temperature"}
    assert (body["max_tokens"], body["presence_penalty"]) == (5, 1)


def test_one_name_of_two_is_enough() -> None:
    body, exchange = sent(["max_tokens", "frequency_penalty"], **ASKED)
    assert (body["max_tokens"], body["presence_penalty"]) == (5, 1)
    assert exchange.dropped == ()


@pytest.mark.parametrize(
    "more, dropped",
    [
        ({"provider": {"require_parameters": True}}, ()),
        ({"models": ["c/d"]}, ()),
        ({"provider": {"require_parameters": False}}, ("seed",)),
        ({"provider": None, "models": None}, ("seed",)),
        ({"provider": "odd"}, ("seed",)),
    ],
)
def test_who_insists_gets_the_provider_s_own_word(
    more: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    body, exchange = sent(["seed"], seed=1, **more)
    assert exchange.dropped == dropped
    assert ("seed" in body) is not bool(dropped)


def test_each_alternative_is_a_call() -> None:
    body, exchange = sent([], n=3)
    assert "n" not in body
    assert exchange.copies == 3
    assert sent([])[1].copies == 1


STRICT = InvalidRequest("Provider returned error Mistral: Tool call id was x but must be a-z")
ORDER = InvalidRequest("Unexpected role 'user' after role 'tool'")


def after_a_call(name: str) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [{"id": name, "function": {"name": "f"}}]},
        {"role": "tool", "tool_call_id": name, "content": "1"},
    ]


def test_a_strict_party_is_obeyed_once_and_only_where_it_said_so() -> None:
    exchange = sent([], messages=after_a_call("call_1"), n=2, seed=2**60)[1]
    assert exchange.instead(InvalidRequest("temperature: too hot")) is None
    assert exchange.instead(UpstreamFailed(STRICT.message)) is None
    other = exchange.instead(STRICT)
    assert other is not None
    body = msgspec.json.decode(other.wire.body)
    assert body["messages"][1]["tool_calls"][0]["id"] == body["messages"][2]["tool_call_id"]
    assert (other.copies, body["seed"]) == (2, 2**60)
    assert other.instead(STRICT) is None


@pytest.mark.parametrize("error", [STRICT, ORDER])
def test_a_history_that_fits_is_not_sent_again(error: InvalidRequest) -> None:
    assert sent([], messages=after_a_call("D681PevKs"))[1].instead(error) is None


@pytest.mark.parametrize(
    "odd", [{"role": "assistant", "tool_calls": [5, {}, {"id": 5}]}, {"role": "tool"}, {}]
)
def test_odd_messages_stay_as_they_are(odd: dict[str, Any]) -> None:
    raw = msgspec.json.encode({"messages": [odd, *after_a_call("call_1")]})
    body = mended(raw)
    assert body is not None
    assert odd in msgspec.json.decode(body)["messages"]


def failure(reply: WireReply) -> XRouterError:
    if reply.status >= 300:
        return OpenRouterAdapter(endpoint()).decode_error(reply)
    with pytest.raises(XRouterError) as raised:
        sent([])[1].answer(reply)
    return raised.value


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(
    "headers, known", [({"x-generation-id": "gen-1", "x-request-id": "r"}, "gen-1"), ({}, None)]
)
def test_errors_name_the_generation(
    status: int, headers: dict[str, str], known: str | None
) -> None:
    error = failure(WireReply(status, headers, b'{"error": {"code": 500, "message": "x"}}'))
    assert error.upstream_request_id == known


def test_an_error_in_a_stream_names_the_generation() -> None:
    with pytest.raises(UpstreamFailed) as raised:
        sent([], stream=True)[1].feed("", b'{"id": "gen-7", "error": {"code": 502}}')
    assert raised.value.upstream_request_id == "gen-7"


@pytest.mark.parametrize("raw", [5, [], "", "<html>", '{"error": "\\ud800"}', "{" * 9999])
def test_odd_words_behind_are_no_harm(raw: Any) -> None:
    told = {"error": {"code": 400, "message": "Bad", "metadata": {"raw": raw}}}
    error = failure(WireReply(400, {}, msgspec.json.encode(told)))
    assert error.message.startswith("Bad")
    assert len(error.message) < 2100


def test_words_behind_do_not_repeat_the_key() -> None:
    told = {"error": {"code": 400, "message": "Bad", "metadata": {"raw": "key sk-or-v1-x"}}}
    assert "sk-or" not in failure(WireReply(400, {}, msgspec.json.encode(told))).message
