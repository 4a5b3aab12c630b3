from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import pytest

from xrouter.domain.catalog import Endpoint
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import CountRequest
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest, UpstreamDenied, UpstreamMalformed
from xrouter.domain.plan import Target
from xrouter.providers.yandexgpt.adapter import YandexGPTAdapter
from xrouter.wire.types import WireReply, WireRequest

FOLDER = "b1gexamplefolder0000"


@pytest.mark.parametrize(
    "base_url",
    [
        "https://h.example",
        "https://h.example/",
        "https://h.example/v1",
        "https://h.example/v1/",
        "https://h.example/foundationModels/v1/",
    ],
)
def test_base_urls_of_either_api_lead_to_the_root(
    make_endpoint: Callable[..., Endpoint], base_url: str
) -> None:
    adapter = YandexGPTAdapter(make_endpoint(base_url=base_url))
    assert adapter.probe().url == "https://h.example/v1/models"


def test_an_empty_base_url_is_the_providers_own(make_endpoint: Callable[..., Endpoint]) -> None:
    adapter = YandexGPTAdapter(make_endpoint(base_url=""))
    assert adapter.probe().url == "https://llm.api.cloud.yandex.net/v1/models"


def test_the_list_is_asked_in_the_folders_name(adapter: YandexGPTAdapter) -> None:
    wire = adapter.discover()
    assert wire is not None
    adapter.authorize(wire, None)
    assert wire.method == "GET"
    assert wire.headers["authorization"] == "Bearer AQVNsecretkey"
    assert wire.headers["openai-project"] == FOLDER
    assert "x-folder-id" not in wire.headers


def test_each_request_has_its_own_id(adapter: YandexGPTAdapter) -> None:
    wires = [WireRequest("GET", adapter.base_url + "/v1/models") for _ in range(2)]
    for wire in wires:
        adapter.authorize(wire, None)
    ids = {wire.headers["x-client-request-id"] for wire in wires}
    assert len(ids) == 2
    assert all(re.fullmatch(r"[0-9a-f-]{36}", text) for text in ids)


@pytest.mark.parametrize("word", ["on", "true"])
def test_logging_by_the_provider_is_off_unless_allowed(
    make_endpoint: Callable[..., Endpoint], word: str
) -> None:
    options = {"folder_id": FOLDER, "data_logging": word}
    allowing = YandexGPTAdapter(make_endpoint(options=options))
    wire = allowing.probe()
    allowing.authorize(wire, None)
    assert "x-data-logging-enabled" not in wire.headers


def test_a_service_account_without_a_token_is_not_sent_bare(
    make_endpoint: Callable[..., Endpoint],
) -> None:
    adapter = YandexGPTAdapter(make_endpoint({"service_account_key": "{}"}))
    with pytest.raises(UpstreamDenied):
        adapter.authorize(adapter.probe(), None)


def test_a_service_accounts_folder_is_its_own(make_endpoint: Callable[..., Endpoint]) -> None:
    adapter = YandexGPTAdapter(make_endpoint({"service_account_key": "{}"}))
    wire = adapter.probe()
    adapter.authorize(wire, "t1.token")
    assert wire.headers["authorization"] == "Bearer t1.token"
    assert "x-folder-id" not in wire.headers


@pytest.mark.parametrize(
    "credential,options,param",
    [
        ({}, {"folder_id": FOLDER}, "credential"),
        ({"api_key": ""}, {"folder_id": FOLDER}, "credential"),
        ({"api_key": "k", "iam_token": "t"}, {"folder_id": FOLDER}, "credential"),
        ({"api_key": "k"}, {}, "options.folder_id"),
        ({"api_key": "k"}, {"folder_id": "a/b"}, "options.folder_id"),
        ({"api_key": "k"}, {"folder_id": FOLDER, "api": "grpc"}, "options.api"),
        ({"api_key": "k"}, {"folder_id": FOLDER, "data_logging": "no"}, "options.data_logging"),
        ({"api_key": "k"}, {"folder_id": FOLDER, "iam_url": "iam"}, "options.iam_url"),
        ({"api_key": "k"}, {"folder_id": FOLDER, "operations_url": "x"}, "options.operations_url"),
        ({"api_key": "k"}, {"folder_id": FOLDER, "concurrency": "0"}, "options.concurrency"),
        ({"api_key": "k"}, {"folder_id": FOLDER, "image_urls": "yes"}, "options.image_urls"),
        ({"api_key": "k"}, {"folder_id": FOLDER, "auth": "vm"}, "options.auth"),
        ({"api_key": "k"}, {"folder_id": FOLDER, "auth": "metadata"}, "credential"),
    ],
)
def test_validate_names_what_is_wrong(
    make_endpoint: Callable[..., Endpoint],
    credential: dict[str, str],
    options: dict[str, str],
    param: str,
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        YandexGPTAdapter.validate(make_endpoint(credential, options))
    assert refused.value.param == param


def test_validate_accepts_each_kind(make_endpoint: Callable[..., Endpoint], key_file: str) -> None:
    YandexGPTAdapter.validate(make_endpoint())
    YandexGPTAdapter.validate(make_endpoint({"iam_token": "t1.x", "folder_id": FOLDER}, {}))
    YandexGPTAdapter.validate(make_endpoint({"service_account_key": key_file}))
    YandexGPTAdapter.validate(make_endpoint({}, {"folder_id": FOLDER, "auth": "metadata"}))


def test_the_folder_may_stand_in_the_credential(
    make_endpoint: Callable[..., Endpoint],
    make_target: Callable[[str], Target],
    make_request: Callable[..., ChatRequest],
) -> None:
    adapter = YandexGPTAdapter(make_endpoint({"api_key": "k", "folder_id": "b1gother"}, {}))
    exchange = adapter.encode_chat(make_request(), make_target("yandexgpt/rc"))
    assert msgspec.json.decode(exchange.wire.body)["modelUri"] == "gpt://b1gother/yandexgpt/rc"


@pytest.mark.parametrize("upstream", ["", "a/b/c", "../other", "a b", "a/", "gpt://", "a?b"])
def test_odd_references_do_not_leave(
    adapter: YandexGPTAdapter,
    make_target: Callable[[str], Target],
    make_request: Callable[..., ChatRequest],
    upstream: str,
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        adapter.encode_chat(make_request(), make_target(upstream))
    assert refused.value.param == "model"


@pytest.mark.parametrize("stop", [[""], ["x" * 1025], ["a"] * 17])
def test_stops_are_bounded(
    adapter: YandexGPTAdapter,
    make_target: Callable[[str], Target],
    make_request: Callable[..., ChatRequest],
    stop: list[str],
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        adapter.encode_chat(make_request(stop=stop), make_target("yandexgpt"))
    assert refused.value.param == "stop"


@pytest.mark.parametrize(
    "asked,path",
    [
        (("yandexgpt/latest", "auto"), "/foundationModels/v1/completion"),
        (("yandexgpt-lite/latest@tuned", "auto"), "/foundationModels/v1/completion"),
        (("aliceai-llm-flash", "auto"), "/foundationModels/v1/completion"),
        (("gpt-oss-20b", "auto"), "/v1/chat/completions"),
        (("gpt-oss-20b", "native"), "/foundationModels/v1/completion"),
        (("yandexgpt/latest", "compatible"), "/v1/chat/completions"),
    ],
)
def test_the_api_is_chosen_by_family_and_setting(
    make_endpoint: Callable[..., Endpoint],
    make_target: Callable[[str], Target],
    make_request: Callable[..., ChatRequest],
    asked: tuple[str, str],
    path: str,
) -> None:
    upstream, setting = asked
    adapter = YandexGPTAdapter(make_endpoint(options={"folder_id": FOLDER, "api": setting}))
    exchange = adapter.encode_chat(make_request(), make_target(upstream))
    assert exchange.wire.url == "https://llm.example" + path


def test_what_embeddings_cannot_do_is_listed(
    adapter: YandexGPTAdapter, make_target: Callable[[str], Target]
) -> None:
    fields = {"user": msgspec.Raw(b'"u"'), "input": msgspec.Raw(b'["a"]')}
    request = EmbeddingsRequest(model="m", input=["a"], user="u", fields=fields)
    exchange = adapter.encode_embeddings(request, make_target("text-search-query"))
    assert exchange.dropped == ("user",)
    with pytest.raises(UpstreamMalformed):
        exchange.answer([WireReply(200, {}, b'{"embedding":["x"]}')])


def test_the_account_takes_ten_at_a_time_unless_told(
    make_endpoint: Callable[..., Endpoint],
) -> None:
    usual = YandexGPTAdapter(make_endpoint()).lane()
    options = {"folder_id": FOLDER, "concurrency": "3"}
    told = YandexGPTAdapter(make_endpoint({"iam_token": "t1.x"}, options)).lane()
    other = YandexGPTAdapter(make_endpoint(options={"folder_id": "b1gother"})).lane()
    assert usual is not None
    assert told is not None
    assert other is not None
    assert (usual.width, told.width) == (10, 3)
    assert usual.key == told.key != other.key
    assert "secretkey" not in repr(usual)


def test_open_models_have_no_tokenizer_there(
    adapter: YandexGPTAdapter, make_target: Callable[[str], Target]
) -> None:
    assert adapter.count(CountRequest(model="m", texts=["a"]), make_target("gpt-oss-20b")) is None


def test_the_trace_id_stands_in_for_the_request_id() -> None:
    assert YandexGPTAdapter.request_id_headers == ("x-request-id", "x-server-trace-id")


@pytest.mark.parametrize("model", ["yandex/gpt://b1gother/yandexgpt", "gpt://b1gother/yandexgpt"])
def test_a_caller_names_no_folder(
    adapter: YandexGPTAdapter,
    make_target: Callable[[str], Target],
    make_request: Callable[..., ChatRequest],
    model: str,
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        adapter.encode_chat(make_request(model=model), make_target("yandexgpt"))
    assert refused.value.param == "model"


def test_a_conversation_may_be_about_uris(
    adapter: YandexGPTAdapter,
    make_target: Callable[[str], Target],
    make_request: Callable[..., ChatRequest],
) -> None:
    messages = [{"role": "user", "content": "gpt://b1gother/yandexgpt"}]
    exchange = adapter.encode_chat(make_request(messages=messages), make_target("gpt-oss-20b"))
    assert b"b1gother" in exchange.wire.body


@pytest.mark.parametrize("upstream", ["yandexgpt", "gpt-oss-20b"])
def test_several_answers_are_several_calls(
    adapter: YandexGPTAdapter,
    make_target: Callable[[str], Target],
    make_request: Callable[..., ChatRequest],
    upstream: str,
) -> None:
    exchange = adapter.encode_chat(make_request(n=3), make_target(upstream))
    assert exchange.copies == 3
    assert exchange.dropped == ()
    assert b'"n"' not in exchange.wire.body
    assert adapter.encode_chat(make_request(), make_target(upstream)).copies == 1
