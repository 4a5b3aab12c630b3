from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.plan import Target
from xrouter.domain.secret import Secret
from xrouter.providers.yandexgpt.adapter import YandexGPTAdapter

FOLDER = "b1gexamplefolder0000"

EndpointMaker = Callable[..., Endpoint]


@pytest.fixture(scope="session")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def key_file(private_key: rsa.RSAPrivateKey) -> str:
    """An authorized key file, with the line of explanation before the PEM block."""
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    line = "PLEASE DO NOT REMOVE THIS LINE! Yandex.Cloud SA Key ID <ajekey>\n"
    content = {
        "id": "ajekey",
        "service_account_id": "ajeaccount",
        "created_at": "2026-01-01T00:00:00Z",
        "key_algorithm": "RSA_2048",
        "public_key": "unused",
        "private_key": line + pem,
    }
    return msgspec.json.encode(content).decode()


@pytest.fixture
def make_endpoint() -> EndpointMaker:
    def make(
        credential: dict[str, str] | None = None,
        options: dict[str, str] | None = None,
        base_url: str = "https://llm.example",
    ) -> Endpoint:
        given = {"api_key": "AQVNsecretkey"} if credential is None else credential
        return Endpoint(
            id=1,
            provider="yandex",
            name="primary",
            adapter_class="xrouter.providers.yandexgpt.adapter.YandexGPTAdapter",
            base_url=base_url,
            credential={name: Secret(text) for name, text in given.items()},
            options={"folder_id": FOLDER} if options is None else options,
        )

    return make


@pytest.fixture
def adapter(make_endpoint: EndpointMaker) -> YandexGPTAdapter:
    return YandexGPTAdapter(make_endpoint())


@pytest.fixture
def make_target(adapter: YandexGPTAdapter) -> Callable[[str], Target]:
    def make(upstream: str) -> Target:
        version = Version(label="latest", upstream=upstream)
        model = Model(
            model_id="yandex/model",
            provider="yandex",
            adapter_class=adapter.endpoint.adapter_class,
            display_name="Model",
            versions=(version,),
        )
        return Target(adapter.endpoint, model, version)

    return make


@pytest.fixture
def make_request() -> Callable[..., ChatRequest]:
    def make(**given: Any) -> ChatRequest:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]} | given
        raw = msgspec.json.encode(body)
        request = msgspec.json.decode(raw, type=ChatRequest)
        request.fields = msgspec.json.decode(raw, type=Fields)
        return request

    return make
