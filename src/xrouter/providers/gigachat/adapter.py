"""GigaChat: the adapter of its first chat contract (`/v1`, at most one function call an answer)."""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar

from typing_extensions import override

from xrouter.domain.abilities import Features
from xrouter.domain.catalog import Endpoint, ModelDescription
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.domain.images import ImagesAnswer, ImagesRequest
from xrouter.domain.plan import Target
from xrouter.providers.base import (
    BaseAPIAdapter,
    ChatExchange,
    EmbeddingsExchange,
    EnvironmentSpec,
    Lane,
)
from xrouter.providers.gigachat.accounts import Balance, balance, concurrency_of, lane_of
from xrouter.providers.gigachat.auth import (
    AUTH_URL,
    DEFAULT_SCOPE,
    SCOPES,
    key_flow,
    password_flow,
)
from xrouter.providers.gigachat.counting import count
from xrouter.providers.gigachat.drawing import draw
from xrouter.providers.gigachat.embeddings import GigaChatEmbeddings
from xrouter.providers.gigachat.encode import Memory, encode
from xrouter.providers.gigachat.errors import error_of
from xrouter.providers.gigachat.files import tidy
from xrouter.providers.gigachat.models import listed_models, shipped_models
from xrouter.wire.types import Errand, TokenFlow, WireReply, WireRequest

_FETCH, _REFUSE = "fetch", "refuse"


class GigaChatAdapter(BaseAPIAdapter):
    """Speaks GigaChat.

    credential: `access_token` (used as it is), or `credentials` (the authorization key), or `user`
    and `password`; none of them is needed with a client certificate. options: `scope`, `auth_url`,
    `concurrency` (calls at a time, else what the scope's accounts have), `image_urls` (`fetch`:
    images may be named by http address; else `refuse`).
    The hosts present a Russian root certificate: the endpoint's `ca_bundle` must hold it.
    """

    provider: ClassVar[str] = "gigachat"
    display_name: ClassVar[str] = "GigaChat"
    default_base_url: ClassVar[str] = "https://gigachat.devices.sberbank.ru/api/v1"
    environment: ClassVar[EnvironmentSpec | None] = EnvironmentSpec(
        required=(
            (
                "GIGACHAT_CREDENTIALS",
                "GIGACHAT_ACCESS_TOKEN",
                "GIGACHAT_USER",
                "GIGACHAT_CERT_FILE",
            ),
        ),
        credential={
            "credentials": "GIGACHAT_CREDENTIALS",
            "access_token": "GIGACHAT_ACCESS_TOKEN",
            "user": "GIGACHAT_USER",
            "password": "GIGACHAT_PASSWORD",
        },
        options={
            "scope": "GIGACHAT_SCOPE",
            "auth_url": "GIGACHAT_AUTH_URL",
            "concurrency": "GIGACHAT_CONCURRENCY",
            "image_urls": "GIGACHAT_IMAGE_URLS",
        },
        base_url="GIGACHAT_BASE_URL",
        ca_bundle="GIGACHAT_CA_BUNDLE_FILE",
        client_cert="GIGACHAT_CERT_FILE",
        client_key="GIGACHAT_KEY_FILE",
    )
    account_options: ClassVar[frozenset[str]] = frozenset({"scope", "concurrency"})
    own_options: ClassVar[frozenset[str]] = frozenset({"scope"})
    features: ClassVar[Features] = MappingProxyType(
        {
            "streaming": "native",
            "stream_usage": "native",
            "system": "native",
            "late_system": "emulated",
            "tools": "native",
            "parallel_tools": "emulated",
            "parallel_tools_off": "native",
            "tool_choice_none": "native",
            "tool_choice_required": "emulated",
            "tool_choice_named": "native",
            "json_object": "emulated",
            "json_schema": "native",
            "vision": "native",
            "image_urls": "refused",
            "files": "native",
            "audio_input": "native",
            "audio_output": "refused",
            "reasoning": "native",
            "stop": "emulated",
            "n": "emulated",
            "max_tokens": "native",
            "temperature_zero": "emulated",
            "top_p": "native",
            "penalties": "dropped",
            "seed": "dropped",
            "logprobs": "refused",
            "logit_bias": "refused",
            "prediction": "dropped",
            "custom_tools": "refused",
            "embeddings": "native",
            "dimensions": "refused",
            "images": "native",
            "count_tokens": "native",
        }
    )

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._memory = Memory()
        self._fetch = endpoint.options.get("image_urls") == _FETCH

    @override
    @classmethod
    def supported_models(cls) -> list[ModelDescription]:
        return shipped_models()

    @override
    @classmethod
    def validate(cls, endpoint: Endpoint) -> None:
        given = endpoint.credential
        password = bool(given.get("user")) and bool(given.get("password"))
        if bool(given.get("user")) != bool(given.get("password")):
            raise _wrong("credential", "'user' and 'password' belong together.")
        if not (
            given.get("access_token")
            or given.get("credentials")
            or password
            or endpoint.client_cert is not None
        ):
            raise _wrong(
                "credential",
                "GigaChat needs 'credentials', 'user' and 'password', 'access_token' "
                "or a client certificate.",
                hint="'credentials' is the authorization key of a project in Sber's studio.",
            )
        for name in ("credentials", "access_token"):
            text = given[name].reveal() if name in given else ""
            if not text.isascii() or not text.isprintable() or " " in text:
                raise _wrong(f"credential.{name}", "It holds characters that a key cannot have.")
        scope = endpoint.options.get("scope", DEFAULT_SCOPE)
        if scope not in SCOPES:
            raise _wrong("options.scope", f"'scope' must be one of {', '.join(SCOPES)}.")
        if endpoint.options.get("image_urls", _REFUSE) not in (_FETCH, _REFUSE):
            raise _wrong("options.image_urls", "'image_urls' must be 'fetch' or 'refuse'.")
        concurrency_of(endpoint)
        if not _is_http(endpoint.options.get("auth_url", AUTH_URL)):
            raise _wrong("options.auth_url", "'auth_url' must be an http or https URL.")
        if not _is_http(endpoint.base_url):
            raise _wrong("base_url", "'base_url' must be an http or https URL.")

    @override
    def auth(self, now: float) -> TokenFlow | None:
        given = self.endpoint.credential
        if given.get("access_token"):
            return None
        if given.get("credentials"):
            options = self.endpoint.options
            scope = options.get("scope", DEFAULT_SCOPE)
            url = options.get("auth_url", AUTH_URL)
            return key_flow(given["credentials"], scope, url, now)
        if given.get("user") and given.get("password"):
            return password_flow(given["user"], given["password"], self.base_url, now)
        return None

    @override
    def authorize(self, wire: WireRequest, token: str | None) -> None:
        ready = self.endpoint.credential.get("access_token")
        if token is not None:
            wire.headers["authorization"] = f"Bearer {token}"
        elif ready:
            wire.headers["authorization"] = f"Bearer {ready.reveal()}"

    @override
    def encode_chat(self, request: ChatRequest, target: Target) -> ChatExchange:
        return encode(request, target, self.base_url, self._memory, fetch=self._fetch)

    @override
    def encode_embeddings(self, request: EmbeddingsRequest, target: Target) -> EmbeddingsExchange:
        return GigaChatEmbeddings(request, target, self.base_url)

    @override
    def images(self, request: ImagesRequest, target: Target) -> Errand[ImagesAnswer]:
        return draw(request, target, self.base_url)

    @override
    def count(self, request: CountRequest, target: Target) -> Errand[TokenCount]:
        return count(request, target, self.base_url, fetch=self._fetch)

    @override
    def lane(self) -> Lane | None:
        return lane_of(self.endpoint)

    @override
    def chores(self, now: float) -> Errand[None]:
        return tidy(self._memory.files, self.base_url, now)

    def balance(self) -> Errand[tuple[Balance, ...] | None]:
        """Tokens left in the account's packages; None for an account that pays afterwards."""
        return balance(self.base_url)

    @override
    def decode_error(self, reply: WireReply) -> XRouterError:
        return error_of(reply)

    @override
    def probe(self) -> WireRequest:
        return self.discover()

    @override
    def discover(self) -> WireRequest:
        return WireRequest("GET", f"{self.base_url}/models", {"accept": "application/json"})

    @override
    def decode_models(self, reply: WireReply) -> list[ModelDescription]:
        return listed_models(reply)


def _is_http(url: str) -> bool:
    return url.startswith(("https://", "http://"))


def _wrong(param: str, message: str, hint: str | None = None) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_value", param=param, hint=hint)
