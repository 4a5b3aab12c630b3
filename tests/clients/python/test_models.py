from __future__ import annotations

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from tests.clients.served import Product, ask, eventually
from tests.clients.upstreams import ALL, EMBEDDERS, Upstream, each, everywhere


def test_the_list_has_every_provider(client: OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    wanted = {one.model for one in ALL} | {one.embedder for one in ALL if one.embedder}
    assert wanted - models.keys() == set()
    for name in wanted:
        model = models[name]
        assert model.object == "model"
        assert model.owned_by == name.partition("/")[0]
        assert model.created > 1_600_000_000


async def test_the_list_without_blocking(asking: AsyncOpenAI) -> None:
    found = [model.id async for model in asking.models.list()]
    assert len(found) == len(set(found))
    assert found


@everywhere
def test_one_model(client: OpenAI, upstream: Upstream) -> None:
    model = client.models.retrieve(upstream.model)
    assert model.id == upstream.model
    assert model.owned_by == upstream.model.partition("/")[0]


@each(EMBEDDERS)
def test_one_embedder(client: OpenAI, upstream: Upstream) -> None:
    assert client.models.retrieve(upstream.embedder).id == upstream.embedder


@pytest.mark.parametrize(
    "name", ["openai/gpt-4o", "openai%2Fgpt-4o", "openai%2fgpt-4o", "openai/gpt-4o/"]
)
@pytest.mark.parametrize("prefix", ["/v1", "/api/v1", ""])
def test_slashes_raw_and_encoded(product: Product, key: str, prefix: str, name: str) -> None:
    headers = {"authorization": f"Bearer {key}"}
    answer = ask(f"{product.url}{prefix}/models/{name}", headers=headers)
    assert answer.status == 200
    assert answer.json()["id"] == "openai/gpt-4o"


@pytest.mark.parametrize("name", ["yandex/yandexgpt:rc", "yandex%2Fyandexgpt%3Arc"])
def test_a_channel_leads_to_its_model(product: Product, key: str, name: str) -> None:
    headers = {"authorization": f"Bearer {key}"}
    answer = ask(f"{product.url}/v1/models/{name}", headers=headers)
    assert answer.status == 200
    assert answer.json()["id"] == "yandex/yandexgpt"


@pytest.mark.parametrize("name", ["no/such-model", "gpt-4o", "привет/🦔", "a" * 400])
def test_an_unknown_model(client: OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve(name)
    assert caught.value.code == "model_not_found"
    assert caught.value.request_id


def test_deleting_a_model_is_not_offered(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.models.delete("openai/gpt-4o")
    assert caught.value.status_code == 405
    assert caught.value.code == "method_not_supported"


def test_a_model_that_is_switched_off(client: OpenAI, product: Product) -> None:
    name = "openai/gpt-4.1-nano"
    assert product.control(f"/models/{name}", "PATCH", {"is_available": False}).status == 200
    try:
        eventually(
            lambda: name not in {model.id for model in client.models.list()},
            "a switched off model leaves the list",
        )
        with pytest.raises(openai.InternalServerError) as caught:
            client.with_options(max_retries=0).chat.completions.create(
                model=name, messages=[{"role": "user", "content": "Hello"}]
            )
        assert caught.value.status_code == 503
        assert caught.value.code == "model_unavailable"
    finally:
        product.control(f"/models/{name}", "PATCH", {"is_available": True})
