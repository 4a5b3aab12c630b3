"""The adapter of Yandex Cloud's models: YandexGPT, Alice AI, and the open models they host."""

from __future__ import annotations

import re
import uuid
from types import MappingProxyType
from typing import ClassVar

from typing_extensions import override

from xrouter.domain.abilities import Features
from xrouter.domain.answer import ChatAnswer
from xrouter.domain.catalog import Endpoint, ModelDescription
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest, UpstreamDenied, XRouterError
from xrouter.domain.images import ImagesAnswer, ImagesRequest
from xrouter.domain.plan import Target
from xrouter.providers.base import (
    BaseAPIAdapter,
    ChatExchange,
    EmbeddingsExchange,
    EnvironmentSpec,
    Lane,
    Left,
)
from xrouter.providers.yandexgpt.auth import (
    IAM_URL,
    KINDS,
    METADATA_URL,
    metadata_flow,
    read_key,
    token_flow,
)
from xrouter.providers.yandexgpt.catalog import read_models
from xrouter.providers.yandexgpt.chat import Chats
from xrouter.providers.yandexgpt.door import Door, folder_of
from xrouter.providers.yandexgpt.draw import drawing
from xrouter.providers.yandexgpt.embed import NativeEmbeddings, embedding_bodies, of_the_pair
from xrouter.providers.yandexgpt.models import ART, FEATURES, is_own, shipped
from xrouter.providers.yandexgpt.uri import check_model, embeddings_uri, reference
from xrouter.wire.types import Errand, TokenFlow, WireReply, WireRequest

_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,63}")
_WIDTH = re.compile(r"[1-9]\d{0,3}")
_CONCURRENCY = "10"
_CHOICES = {
    "api": ("auto", "native", "compatible"),
    "auth": ("credential", "metadata"),
    "data_logging": ("off", "on", "false", "true"),
    "image_urls": ("refuse", "fetch"),
}
_URLS = ("iam_url", "operations_url")


class YandexGPTAdapter(BaseAPIAdapter):
    """Speaks the native API with the provider's own models, the compatible one with the rest.

    base_url: the root of the host; an ending `/v1` or `/foundationModels/v1` is taken off.
    credential: one of `api_key`, `iam_token`, `service_account_key` (the JSON of an authorized
    key file); none of them with the option `auth` "metadata". options: `folder_id` (may stand in
    the credential), `iam_url`, `metadata_url`, `operations_url`, `api` ("auto", "native",
    "compatible"), `concurrency` (generations at a time, 10), `data_logging` ("off", "on": whether
    the provider may log), `image_urls` ("refuse", "fetch").
    """

    provider: ClassVar[str] = "yandex"
    display_name: ClassVar[str] = "Yandex Cloud"
    default_base_url: ClassVar[str] = "https://llm.api.cloud.yandex.net"
    environment: ClassVar[EnvironmentSpec | None] = EnvironmentSpec(
        required=(
            (
                "YANDEX_API_KEY",
                "YANDEX_IAM_TOKEN",
                "YANDEX_SERVICE_ACCOUNT_KEY_FILE",
                "YANDEX_AUTH",
            ),
            ("YANDEX_FOLDER_ID",),
        ),
        credential={"api_key": "YANDEX_API_KEY", "iam_token": "YANDEX_IAM_TOKEN"},
        credential_files={"service_account_key": "YANDEX_SERVICE_ACCOUNT_KEY_FILE"},
        options={
            "folder_id": "YANDEX_FOLDER_ID",
            "iam_url": "YANDEX_IAM_URL",
            "auth": "YANDEX_AUTH",
            "metadata_url": "YC_METADATA_ADDR",
            "concurrency": "YANDEX_CONCURRENCY",
        },
        base_url="YANDEX_BASE_URL",
    )
    account_options: ClassVar[frozenset[str]] = frozenset({"folder_id", "auth", "concurrency"})
    own_options: ClassVar[frozenset[str]] = frozenset({"folder_id"})
    features: ClassVar[Features] = MappingProxyType(FEATURES)
    request_id_headers: ClassVar[tuple[str, ...]] = ("x-request-id", "x-server-trace-id")

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._door = Door(endpoint, self.base_url or self.default_base_url)
        self.base_url = self._door.root
        self._folder = self._door.folder
        options = endpoint.options
        self._by_metadata = options.get("auth") == "metadata"
        self._may_log = options.get("data_logging") in ("on", "true")
        fetch_images = options.get("image_urls") == "fetch"
        self._chats = Chats(self._door, options.get("api", "auto"), fetch_images=fetch_images)

    @classmethod
    @override
    def supported_models(cls) -> list[ModelDescription]:
        return shipped()

    @classmethod
    @override
    def validate(cls, endpoint: Endpoint) -> None:
        """Raise InvalidRequest that names the credential or the option."""
        options = endpoint.options
        for name, allowed in _CHOICES.items():
            if options.get(name, allowed[0]) not in allowed:
                raise InvalidRequest(
                    f"'{name}' is one of: {', '.join(allowed)}.", param=f"options.{name}"
                )
        _check_credential(endpoint)
        if not _FOLDER.fullmatch(folder_of(endpoint)):
            raise InvalidRequest(
                "The endpoint needs the id of a folder.",
                param="options.folder_id",
                hint="It is the folder of the credential's service account, as in 'b1g...'.",
            )
        for name in _URLS:
            if not options.get(name, IAM_URL).startswith(("https://", "http://")):
                raise InvalidRequest(f"'{name}' is no URL.", param=f"options.{name}")
        if not _WIDTH.fullmatch(options.get("concurrency", _CONCURRENCY)):
            raise InvalidRequest(
                "'concurrency' is a number from 1 to 9999.", param="options.concurrency"
            )

    @override
    def auth(self, now: float) -> TokenFlow | None:
        options = self.endpoint.options
        if self._by_metadata:
            address = options.get("metadata_url", METADATA_URL)
            return metadata_flow(address, now, self._door.errors)
        secret = self.endpoint.credential.get("service_account_key")
        if not secret:
            return None
        url = options.get("iam_url", IAM_URL)
        return token_flow(read_key(secret), url, now, self._door.errors)

    @override
    def authorize(self, wire: WireRequest, token: str | None) -> None:
        """A user's IAM token needs the folder named; a service account brings its own."""
        compatible = self._door.is_compatible(wire)
        credential = self.endpoint.credential
        api_key, iam_token = credential.get("api_key"), credential.get("iam_token")
        if token is not None:
            wire.headers["authorization"] = f"Bearer {token}"
        elif api_key:
            scheme = "Bearer" if compatible else "Api-Key"
            wire.headers["authorization"] = f"{scheme} {api_key.reveal()}"
        elif iam_token:
            wire.headers["authorization"] = f"Bearer {iam_token.reveal()}"
            wire.headers["x-folder-id"] = self._folder
        else:
            raise UpstreamDenied("The endpoint has no credential, or no token was issued for it.")
        if compatible:
            wire.headers["openai-project"] = self._folder
        wire.headers["x-client-request-id"] = str(uuid.uuid4())
        if not self._may_log:
            wire.headers["x-data-logging-enabled"] = "false"

    @override
    def lane(self) -> Lane | None:
        """The quota counts generations that run at the same time in a folder."""
        width = self.endpoint.options.get("concurrency", _CONCURRENCY)
        return Lane(("yandex", self.base_url, self._folder), int(width))

    @override
    def encode_chat(self, request: ChatRequest, target: Target) -> ChatExchange:
        return self._chats.exchange(request, target)

    @override
    def encode_embeddings(self, request: EmbeddingsRequest, target: Target) -> EmbeddingsExchange:
        check_model(request.model, self._folder)
        ref = of_the_pair(request, reference(target.version.upstream, self._folder))
        bodies = embedding_bodies(request, embeddings_uri(ref, self._folder))
        wires = [self._door.native("textEmbedding", body) for body in bodies]
        return NativeEmbeddings(wires, request, ref)

    @override
    def images(self, request: ImagesRequest, target: Target) -> Errand[ImagesAnswer]:
        check_model(request.model, self._folder)
        ref = reference(target.version.upstream, self._folder)
        if not ref.startswith(ART):
            return super().images(request, target)
        return drawing(self._door, request, ref)

    @override
    def count(self, request: CountRequest, target: Target) -> Errand[TokenCount] | None:
        """The tokenizer knows only the provider's own chat models."""
        ref = reference(target.version.upstream, self._folder)
        if not is_own(ref):
            return None
        if request.chat is not None:
            return self._chats.count(request.chat, ref)
        return self._chats.tokenizer(ref).texts(request.texts or ())

    @override
    def defer(self, request: ChatRequest, target: Target) -> Errand[Left] | None:
        return self._chats.defer(request, target)

    @override
    def collect(self, reference: str, target: Target) -> Errand[ChatAnswer]:
        return self._chats.collect(reference, target)

    @override
    def decode_error(self, reply: WireReply) -> XRouterError:
        return self._door.refusal(reply)

    @override
    def probe(self) -> WireRequest:
        return self._door.models()

    @override
    def discover(self) -> WireRequest | None:
        return self._door.models()

    @override
    def decode_models(self, reply: WireReply) -> list[ModelDescription]:
        return read_models(reply.body, self._folder)


def _check_credential(endpoint: Endpoint) -> None:
    given = [kind for kind in KINDS if endpoint.credential.get(kind)]
    if endpoint.options.get("auth") == "metadata":
        if given:
            raise InvalidRequest(
                "With 'auth' set to 'metadata' the endpoint takes no other credential.",
                param="credential",
            )
        return
    if len(given) != 1:
        raise InvalidRequest(
            "The endpoint needs exactly one of: " + ", ".join(KINDS) + ".",
            param="credential",
            hint="Or set the option 'auth' to 'metadata' on a machine with a service account.",
        )
    if "service_account_key" in given:
        read_key(endpoint.credential["service_account_key"])
