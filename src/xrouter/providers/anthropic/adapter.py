"""Anthropic's Messages API."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, ClassVar

import msgspec
from typing_extensions import override

from xrouter.domain.abilities import Features
from xrouter.domain.catalog import Endpoint, ModelDescription
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.errors import InvalidRequest, UpstreamMalformed, XRouterError
from xrouter.domain.plan import Target
from xrouter.providers.anthropic.decode import AnthropicChat
from xrouter.providers.anthropic.encode import Encoded, Terms, encode
from xrouter.providers.anthropic.errors import ErrorReader
from xrouter.providers.anthropic.manners import PLAIN_VERSION, Manners, manners_of
from xrouter.providers.anthropic.models import listed_models, shipped_models
from xrouter.providers.base import BaseAPIAdapter, ChatExchange, EnvironmentSpec
from xrouter.wire.types import Errand, WireReply, WireRequest

DEFAULT_MAX_TOKENS = 8192
_MAX_LEARNED = 1000
_OPTIONS = frozenset({"version", "beta", "max_tokens"})
_COUNTED = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config")


class AnthropicAdapter(BaseAPIAdapter):
    """credential: `api_key`. options: `version` of the API (2023-06-01; newer ones take no
    temperature), `beta` (flags, separated by commas), `max_tokens` (of answers without a limit).
    """

    provider: ClassVar[str] = "anthropic"
    display_name: ClassVar[str] = "Anthropic"
    default_base_url: ClassVar[str] = "https://api.anthropic.com/v1"
    environment: ClassVar[EnvironmentSpec | None] = EnvironmentSpec(
        required=(("ANTHROPIC_API_KEY",),),
        credential={"api_key": "ANTHROPIC_API_KEY"},
        base_url="ANTHROPIC_BASE_URL",
    )
    request_id_headers: ClassVar[tuple[str, ...]] = ("request-id",)
    features: ClassVar[Features] = MappingProxyType(
        {
            "streaming": "native",
            "stream_usage": "native",
            "system": "native",
            "late_system": "emulated",
            "tools": "native",
            "parallel_tools": "native",
            "parallel_tools_off": "native",
            "tool_choice_none": "native",
            "tool_choice_required": "native",
            "tool_choice_named": "native",
            "json_object": "emulated",
            "json_schema": "native",
            "vision": "native",
            "image_urls": "native",
            "files": "native",
            "audio_input": "refused",
            "audio_output": "refused",
            "reasoning": "native",
            "stop": "native",
            "n": "emulated",
            "max_tokens": "native",
            "temperature_zero": "native",
            "top_p": "native",
            "penalties": "dropped",
            "seed": "dropped",
            "logprobs": "refused",
            "logit_bias": "refused",
            "prediction": "dropped",
            "custom_tools": "refused",
            "count_tokens": "native",
        }
    )

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        if not self.base_url.endswith("/v1"):
            self.base_url += "/v1"
        self._errors = ErrorReader([s.reveal() for s in endpoint.credential.values()])
        self._version = endpoint.options.get("version") or PLAIN_VERSION
        self._max_tokens = int(endpoint.options.get("max_tokens") or DEFAULT_MAX_TOKENS)
        self._learned: dict[str, Manners] = {}

    @override
    @classmethod
    def supported_models(cls) -> list[ModelDescription]:
        return shipped_models()

    @override
    @classmethod
    def validate(cls, endpoint: Endpoint) -> None:
        key = endpoint.credential.get("api_key")
        text = key.reveal() if key else ""
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise _wrong("credential.api_key", "Anthropic needs an 'api_key' of plain characters.")
        if not endpoint.base_url.startswith(("https://", "http://")):
            raise _wrong("base_url", "'base_url' must be an http or https URL.")
        for name, value in endpoint.options.items():
            if name not in _OPTIONS:
                raise _wrong(f"options.{name}", f"There is no option '{name}'.")
            if not value.isascii() or not value.isprintable():
                raise _wrong(f"options.{name}", "It holds characters that it cannot have.")
        limit = endpoint.options.get("max_tokens", "1")
        if not limit.isdecimal() or not int(limit):
            raise _wrong("options.max_tokens", "'max_tokens' must be a number of tokens.")

    @override
    def authorize(self, wire: WireRequest, token: str | None) -> None:
        wire.headers["x-api-key"] = self.endpoint.credential["api_key"].reveal()
        wire.headers["anthropic-version"] = self._version

    @override
    def encode_chat(self, request: ChatRequest, target: Target) -> ChatExchange:
        return self._chat(request, target, encode(request, self._terms(target)))

    def _chat(self, request: ChatRequest, target: Target, encoded: Encoded) -> AnthropicChat:
        wire = self._post("/messages", encoded.body, encoded.betas, stream=request.streaming)

        def again(refusal: str) -> ChatExchange | None:
            manners = self._terms(target).manners.after(refusal)
            if manners is not None:
                self._learn(target.version.upstream, manners)
            other = encode(request, self._terms(target))  # a call beside this may have learned it
            return None if other.body == encoded.body else self._chat(request, target, other)

        legacy = not request.tools and bool(request.functions)
        copies = request.n or 1
        return AnthropicChat(wire, encoded, self._errors, again, copies=copies, legacy=legacy)

    def _terms(self, target: Target) -> Terms:
        upstream = target.version.upstream
        manners = self._learned.get(upstream) or manners_of(upstream, self._version)
        can = target.model.abilities
        thinks = can.features.get("reasoning") != "dropped"
        return Terms(upstream, self._max_tokens, can.max_output, manners, thinks)

    def _learn(self, upstream: str, manners: Manners) -> None:
        if len(self._learned) >= _MAX_LEARNED:
            self._learned.clear()
        self._learned[upstream] = manners

    @override
    def count(self, request: CountRequest, target: Target) -> Errand[TokenCount] | None:
        """Conversations only: a bare text is none."""
        if request.chat is None:
            return None
        encoded = encode(request.chat, self._terms(target))
        body = {name: encoded.body[name] for name in _COUNTED if name in encoded.body}
        return self._count(self._post("/messages/count_tokens", body, encoded.betas))

    def _count(self, wire: WireRequest) -> Errand[TokenCount]:
        reply = yield wire
        if reply.status >= 300:  # noqa: PLR2004 - HTTP
            raise self.decode_error(reply)
        try:
            found: Any = msgspec.json.decode(reply.body)
            return TokenCount((int(found["input_tokens"]),))
        except (ValueError, RecursionError, TypeError, KeyError):
            raise UpstreamMalformed("The provider's count cannot be read.") from None

    @override
    def decode_error(self, reply: WireReply) -> XRouterError:
        return self._errors.of_reply(reply)

    @override
    def probe(self) -> WireRequest:
        return self._get("/models?limit=1")

    @override
    def discover(self) -> WireRequest | None:
        return self._get("/models?limit=1000")

    @override
    def decode_models(self, reply: WireReply) -> list[ModelDescription]:
        return listed_models(reply.body)

    def _post(
        self, path: str, body: dict[str, Any], betas: tuple[str, ...], *, stream: bool = False
    ) -> WireRequest:
        accept = "text/event-stream" if stream else "application/json"
        headers = {"content-type": "application/json", "accept": accept}
        ours = self.endpoint.options.get("beta", "").split(",")
        flags = dict.fromkeys(flag for flag in (*map(str.strip, ours), *betas) if flag)
        if flags:
            headers["anthropic-beta"] = ",".join(flags)
        return WireRequest("POST", self.base_url + path, headers, msgspec.json.encode(body))

    def _get(self, path: str) -> WireRequest:
        return WireRequest("GET", self.base_url + path, {"accept": "application/json"})


def _wrong(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_value", param=param)
