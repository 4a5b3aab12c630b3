"""The adapter of Yandex Cloud's models: YandexGPT, Alice AI, and the open models they host."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from typing_extensions import override

from xrouter.domain.catalog import Endpoint, ModelDescription
from xrouter.domain.chat import ChatRequest, text_of
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest, UpstreamDenied, XRouterError
from xrouter.domain.plan import Target
from xrouter.providers.base import (
    BaseAPIAdapter,
    ChatExchange,
    CountExchange,
    EmbeddingsExchange,
    EnvironmentSpec,
)
from xrouter.providers.yandexgpt.auth import IAM_URL, KINDS, read_key, token_flow
from xrouter.providers.yandexgpt.catalog import read_models
from xrouter.providers.yandexgpt.compatible_decode import CompatibleChat
from xrouter.providers.yandexgpt.compatible_encode import compatible_body
from xrouter.providers.yandexgpt.embed import NativeCount, NativeEmbeddings, embedding_bodies
from xrouter.providers.yandexgpt.errors import ErrorReader
from xrouter.providers.yandexgpt.models import api_for, is_own, shipped
from xrouter.providers.yandexgpt.native_decode import NativeChat
from xrouter.providers.yandexgpt.native_encode import native_body
from xrouter.providers.yandexgpt.params import (
    AUDIO,
    ONE_ANSWER,
    lost_message_keys,
    refuse,
    stops_of,
    untranslated,
)
from xrouter.providers.yandexgpt.terms import Terms
from xrouter.providers.yandexgpt.text import CALL_MARKER
from xrouter.providers.yandexgpt.uri import chat_uri, embeddings_uri, reference
from xrouter.wire.types import TokenFlow, WireReply, WireRequest

_NATIVE = "/foundationModels/v1"
_COMPATIBLE = "/v1"
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,63}")
_CHOICES = {"api": ("auto", "native", "compatible"), "data_logging": ("true", "false")}


class YandexGPTAdapter(BaseAPIAdapter):
    """Speaks the native API with the provider's own models, the compatible one with the rest.

    base_url: the root of the host; an ending `/v1` or `/foundationModels/v1` is taken off.
    credential: one of `api_key`, `iam_token`, `service_account_key` (the JSON of an authorized
    key file). options: `folder_id` (may stand in the credential), `iam_url`, `api` ("auto",
    "native", "compatible"), `data_logging` ("true", "false": whether the provider may log).
    """

    provider: ClassVar[str] = "yandex"
    display_name: ClassVar[str] = "Yandex Cloud"
    default_base_url: ClassVar[str] = "https://llm.api.cloud.yandex.net"
    environment: ClassVar[EnvironmentSpec | None] = EnvironmentSpec(
        required=(
            ("YANDEX_API_KEY", "YANDEX_IAM_TOKEN", "YANDEX_SERVICE_ACCOUNT_KEY_FILE"),
            ("YANDEX_FOLDER_ID",),
        ),
        credential={"api_key": "YANDEX_API_KEY", "iam_token": "YANDEX_IAM_TOKEN"},
        credential_files={"service_account_key": "YANDEX_SERVICE_ACCOUNT_KEY_FILE"},
        options={"folder_id": "YANDEX_FOLDER_ID", "iam_url": "YANDEX_IAM_URL"},
        base_url="YANDEX_BASE_URL",
    )

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        root = self.base_url or self.default_base_url
        self.base_url = root.removesuffix(_NATIVE).removesuffix(_COMPATIBLE)
        self._folder = _folder_of(endpoint)
        secrets = [secret.reveal() for secret in endpoint.credential.values()]
        self._errors = ErrorReader([*secrets, self._folder])

    @classmethod
    @override
    def supported_models(cls) -> list[ModelDescription]:
        return shipped()

    @classmethod
    @override
    def validate(cls, endpoint: Endpoint) -> None:
        """Raise InvalidRequest that names the credential or the option."""
        given = [kind for kind in KINDS if endpoint.credential.get(kind)]
        if len(given) != 1:
            raise InvalidRequest(
                "The endpoint needs exactly one of: " + ", ".join(KINDS) + ".", param="credential"
            )
        if not _FOLDER.fullmatch(_folder_of(endpoint)):
            raise InvalidRequest(
                "The endpoint needs the id of a folder.",
                param="options.folder_id",
                hint="It is the folder of the credential's service account, as in 'b1g...'.",
            )
        for name, allowed in _CHOICES.items():
            if endpoint.options.get(name, allowed[0]) not in allowed:
                raise InvalidRequest(
                    f"'{name}' is one of: {', '.join(allowed)}.", param=f"options.{name}"
                )
        if not endpoint.options.get("iam_url", IAM_URL).startswith(("https://", "http://")):
            raise InvalidRequest("'iam_url' is no URL.", param="options.iam_url")
        if "service_account_key" in given:
            read_key(endpoint.credential["service_account_key"])

    @override
    def auth(self, now: float) -> TokenFlow | None:
        secret = self.endpoint.credential.get("service_account_key")
        if not secret:
            return None
        url = self.endpoint.options.get("iam_url", IAM_URL)
        return token_flow(read_key(secret), url, now, self._errors)

    @override
    def authorize(self, wire: WireRequest, token: str | None) -> None:
        """A user's IAM token needs the folder named; a service account brings its own."""
        native = wire.url.startswith(self.base_url + _NATIVE)
        credential = self.endpoint.credential
        api_key, iam_token = credential.get("api_key"), credential.get("iam_token")
        if token is not None:
            wire.headers["authorization"] = f"Bearer {token}"
        elif api_key:
            scheme = "Api-Key" if native else "Bearer"
            wire.headers["authorization"] = f"{scheme} {api_key.reveal()}"
        elif iam_token:
            wire.headers["authorization"] = f"Bearer {iam_token.reveal()}"
            wire.headers["x-folder-id"] = self._folder
        else:
            raise UpstreamDenied("The endpoint has no credential, or no token was issued for it.")
        if not native:
            wire.headers["openai-project"] = self._folder
        wire.headers["x-client-request-id"] = str(uuid.uuid4())
        if self.endpoint.options.get("data_logging", "false") != "true":
            wire.headers["x-data-logging-enabled"] = "false"

    @override
    def encode_chat(self, request: ChatRequest, target: Target) -> ChatExchange:
        ref = reference(target.version.upstream, self._folder)
        own = is_own(ref)
        api = api_for(ref, self.endpoint.options.get("api", "auto"), request.messages)
        one_answer = own or api == "native"
        refuse(
            request.fields, (*ONE_ANSWER, *AUDIO) if one_answer else AUDIO, target.model.model_id
        )
        dropped = lost_message_keys(request.fields["messages"]) if one_answer else set()
        terms = self._terms(request, ref, markers=own and api == "compatible")
        uri = chat_uri(ref, self._folder)
        if api == "native":
            dropped |= untranslated(request.fields)
            wire = self._post(_NATIVE + "/completion", native_body(request, ref, uri, dropped))
            return NativeChat(wire, tuple(sorted(dropped)), terms)
        body = compatible_body(request, uri, own=own, dropped=dropped)
        wire = self._post(_COMPATIBLE + "/chat/completions", body)
        return CompatibleChat(wire, tuple(sorted(dropped)), terms)

    @override
    def encode_embeddings(self, request: EmbeddingsRequest, target: Target) -> EmbeddingsExchange:
        ref = reference(target.version.upstream, self._folder)
        bodies = embedding_bodies(request, embeddings_uri(ref, self._folder))
        wires = [self._post(_NATIVE + "/textEmbedding", body) for body in bodies]
        return NativeEmbeddings(wires, request, ref)

    @override
    def encode_count(self, texts: Sequence[str], target: Target) -> CountExchange:
        """The tokenizer knows only the provider's own chat models."""
        ref = reference(target.version.upstream, self._folder)
        if not is_own(ref):
            return super().encode_count(texts, target)
        uri = chat_uri(ref, self._folder)
        wires = [
            self._post(_NATIVE + "/tokenize", {"modelUri": uri, "text": text})
            for text in texts
            if text
        ]
        return NativeCount(wires, texts)

    @override
    def decode_error(self, reply: WireReply) -> XRouterError:
        return self._errors.from_reply(reply)

    @override
    def probe(self) -> WireRequest:
        return self._list()

    @override
    def discover(self) -> WireRequest | None:
        return self._list()

    @override
    def decode_models(self, reply: WireReply) -> list[ModelDescription]:
        return read_models(reply.body, self._folder)

    def _list(self) -> WireRequest:
        """The native API has no list."""
        url = self.base_url + _COMPATIBLE + "/models"
        return WireRequest("GET", url, {"accept": "application/json"})

    def _post(self, path: str, body: dict[str, Any]) -> WireRequest:
        headers = {"content-type": "application/json"}
        return WireRequest("POST", self.base_url + path, headers, msgspec.json.encode(body))

    def _terms(self, request: ChatRequest, ref: str, *, markers: bool) -> Terms:
        return Terms(
            ref=ref,
            folder=self._folder,
            own=is_own(ref),
            errors=self._errors,
            stops=stops_of(request),
            markers=(CALL_MARKER,) if markers and (request.tools or request.functions) else (),
            legacy=not request.tools and bool(request.functions),
            single_call=request.parallel_tool_calls is False,
            prompt_chars=sum(len(text_of(message.content)) for message in request.messages),
        )


def _folder_of(endpoint: Endpoint) -> str:
    secret = endpoint.credential.get("folder_id")
    return secret.reveal() if secret else endpoint.options.get("folder_id", "")
