"""An adapter of a provider that exists in tests only, and the provider itself."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from aiohttp import web
from msgspec.structs import replace
from typing_extensions import override

from xrouter.control.catalog.adapters import Adapters
from xrouter.domain.abilities import Abilities, Features
from xrouter.domain.catalog import Endpoint, ModelDescription, Version
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest, UpstreamDenied, XRouterError
from xrouter.domain.plan import Target
from xrouter.providers.base import BaseAPIAdapter, ChatExchange
from xrouter.providers.factory import Identified, KnownProvider, Questions
from xrouter.wire.types import Token, TokenFlow, WireReply, WireRequest


def described(name: str, context: int | None = 8000, *labels: str) -> ModelDescription:
    versions = tuple(
        Version(label=label, upstream=f"{name}@{label}", channel="latest" if i == 0 else None)
        for i, label in enumerate(labels or ("v1",))
    )
    return ModelDescription(
        name=name, display_name=name.title(), context_length=context, versions=versions
    )


def _told(entry: str | dict[str, Any]) -> ModelDescription:
    """A name, or an object with a name and `max_output`."""
    if isinstance(entry, str):
        return described(entry, 4000)
    able = Abilities(max_output=entry["max_output"])
    return replace(described(entry["name"], 4000), abilities=able)


class AcmeAdapter(BaseAPIAdapter):
    provider: ClassVar[str] = "acme"
    shipped: ClassVar[list[ModelDescription]] = []
    features: ClassVar[Features] = {"tools": "native", "vision": "native", "seed": "dropped"}

    @classmethod
    @override
    def supported_models(cls) -> list[ModelDescription]:
        return list(cls.shipped)

    @classmethod
    @override
    def validate(cls, endpoint: Endpoint) -> None:
        if "api_key" not in endpoint.credential:
            raise InvalidRequest("An api_key is needed.", param="credential.api_key")

    @override
    def auth(self, now: float) -> TokenFlow | None:
        return self._exchange() if self.endpoint.options.get("tokens") else None

    def _exchange(self) -> TokenFlow:
        reply = yield WireRequest("POST", self.base_url + "/token", {}, b"{}")
        return Token(json.loads(reply.body)["token"], 4e9)

    @override
    def authorize(self, wire: WireRequest, token: str | None) -> None:
        key = token or self.endpoint.credential["api_key"].reveal()
        wire.headers["authorization"] = f"Bearer {key}"

    @override
    def encode_chat(self, request: ChatRequest, target: Target) -> ChatExchange:
        raise NotImplementedError

    @override
    def decode_error(self, reply: WireReply) -> XRouterError:
        return UpstreamDenied(f"Acme says {reply.status}.", hint="Look at the key.")

    @override
    def probe(self) -> WireRequest:
        return WireRequest("GET", self.base_url + "/models")

    @override
    def discover(self) -> WireRequest | None:
        return None if self.endpoint.options.get("no_list") else self.probe()

    @override
    def decode_models(self, reply: WireReply) -> list[ModelDescription]:
        return [_told(entry) for entry in json.loads(reply.body)]


class OtherAdapter(AcmeAdapter):
    provider: ClassVar[str] = "other"


def path_of(kind: type[BaseAPIAdapter]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


ACME = path_of(AcmeAdapter)
OTHER = path_of(OtherAdapter)
HOMELY = KnownProvider(
    name="homely",
    display_name="Homely",
    adapter_class=ACME,
    default_base_url="https://homely.test/v1",
    supported_models=(described("home"),),
    options={"scope": "home"},
)
_DEFAULTS = {"acme": ACME, "other": OTHER, "homely": ACME}


def _identify(base_url: str) -> Questions:
    """Homely lists its models to everyone."""
    reply = yield WireRequest("GET", base_url + "/models")
    if not isinstance(reply, WireReply):
        raise reply
    if reply.status == 401:
        return Identified(provider=HOMELY, base_url=base_url + "/found")
    raise InvalidRequest("Nobody known is there.", param="base_url")


def adapters() -> Adapters:
    return Adapters(
        {ACME: AcmeAdapter, OTHER: OtherAdapter},
        _DEFAULTS.get,
        known=lambda: {"homely": HOMELY},
        identify=_identify,
    )


class AcmeServer:
    """The provider: lists `models` to those who have `key`; gives out tokens."""

    def __init__(self) -> None:
        self.models: list[str | dict[str, Any]] = []
        self.key = "acme-key"
        self.tokens_given = 0
        self.seen: list[str | None] = []
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/models", self._list)
        app.router.add_post("/token", self._token)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port: int = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _list(self, request: web.Request) -> web.Response:
        given = request.headers.get("authorization")
        self.seen.append(given)
        if given != f"Bearer {self.key}":
            return web.json_response({"error": "who?"}, status=401)
        return web.json_response(self.models)

    async def _token(self, _request: web.Request) -> web.Response:
        self.tokens_given += 1
        return web.json_response({"token": self.key if self.tokens_given > 1 else "stale"})


Json = dict[str, Any]
