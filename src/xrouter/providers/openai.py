"""OpenAI itself, and everything that speaks its language and has no adapter of its own."""

from __future__ import annotations

import re
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar

import msgspec
from msgspec import Raw
from typing_extensions import override

from xrouter.domain.abilities import Features
from xrouter.domain.catalog import Endpoint, Kind, ModelDescription
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.images import ImagesAnswer, ImagesRequest
from xrouter.domain.multipart import boundary_of, read_field, replace_field
from xrouter.domain.plan import Target
from xrouter.domain.raw import RawRequest
from xrouter.providers.base import ChatExchange, EnvironmentSpec
from xrouter.providers.shapes.openai import OpenAILanguageAdapter
from xrouter.providers.shapes.openai_body import chat_body, without_thoughts
from xrouter.providers.shapes.openai_guests import GuestChat, lessen, without_guests
from xrouter.providers.shapes.openai_models import described, listed, only_version
from xrouter.providers.shapes.openai_pictures import pictures_of
from xrouter.wire.types import Errand, WireReply, WireRequest

_MODELS: tuple[tuple[str, str, Kind, int], ...] = (
    ("gpt-4o", "GPT-4o", "chat", 128_000),
    ("gpt-4o-mini", "GPT-4o mini", "chat", 128_000),
    ("gpt-4.1", "GPT-4.1", "chat", 1_047_576),
    ("gpt-4.1-mini", "GPT-4.1 mini", "chat", 1_047_576),
    ("gpt-4.1-nano", "GPT-4.1 nano", "chat", 1_047_576),
    ("gpt-5", "GPT-5", "chat", 400_000),
    ("gpt-5-mini", "GPT-5 mini", "chat", 400_000),
    ("gpt-5-nano", "GPT-5 nano", "chat", 400_000),
    ("o1", "o1", "chat", 200_000),
    ("o3", "o3", "chat", 200_000),
    ("o3-mini", "o3-mini", "chat", 200_000),
    ("o4-mini", "o4-mini", "chat", 200_000),
    ("text-embedding-3-small", "text-embedding-3-small", "embeddings", 8_191),
    ("text-embedding-3-large", "text-embedding-3-large", "embeddings", 8_191),
)
_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("images", re.compile(r"^(?:dall-e|gpt-image|chatgpt-image)")),
    ("transcription", re.compile(r"^whisper|transcribe")),
    ("speech", re.compile(r"^tts-|-tts\b")),
    ("moderation", re.compile(r"^(?:omni|text)-moderation")),
)
"""By name, whoever serves it."""
_NEITHER = re.compile(
    r"^(?:sora|davinci|babbage|codex)"
    r"|realtime|deep-research|-instruct|computer-use|-pro\b"
)
"""Models of OpenAI that none of the operations here serves."""
_THINKS = re.compile(r"^(?:o\d|gpt-[5-9])")
"""Models that know the limit of an answer by its new name alone."""
_DRAWS_BASE64 = re.compile(r"^(?:gpt-image|chatgpt-image)")
"""Models that know no `response_format`: their pictures always come in base64."""
_PASSED_ON = frozenset(
    {"audio/speech", "audio/transcriptions", "audio/translations", "moderations"}
)
_ANYTHING = "*/*"

_COMMON: Features = {
    "streaming": "native",
    "stream_usage": "native",
    "system": "native",
    "late_system": "native",
    "tools": "native",
    "parallel_tools": "native",
    "tool_choice_none": "native",
    "tool_choice_required": "native",
    "tool_choice_named": "native",
    "json_object": "native",
    "json_schema": "native",
    "vision": "native",
    "image_urls": "native",
    "reasoning": "native",
    "stop": "native",
    "n": "native",
    "max_tokens": "native",
    "temperature_zero": "native",
    "top_p": "native",
    "penalties": "native",
    "seed": "native",
    "embeddings": "native",
}
_OWN: Features = {
    "parallel_tools_off": "native",
    "files": "native",
    "audio_input": "native",
    "audio_output": "native",
    "logprobs": "native",
    "logit_bias": "native",
    "prediction": "native",
    "custom_tools": "native",
    "dimensions": "native",
    "images": "native",
    "speech": "native",
    "transcription": "native",
    "moderations": "native",
}


class _Operations(OpenAILanguageAdapter):
    """Pictures, audio and moderations besides: passed on, with the provider's name of the model."""

    @override
    def images(self, request: ImagesRequest, target: Target) -> Errand[ImagesAnswer]:
        model = target.version.upstream
        body: dict[str, Any] = {**request.fields, "model": model}
        if _DRAWS_BASE64.search(model):
            body.pop("response_format", None)
        return self._draw(self.post("/images/generations", body))

    def _draw(self, wire: WireRequest) -> Errand[ImagesAnswer]:
        reply = yield wire
        if reply.status >= 300:  # noqa: PLR2004 - HTTP
            raise self.decode_error(reply)
        return pictures_of(reply.body)

    @override
    def raw(self, request: RawRequest, target: Target) -> WireRequest:
        if request.operation not in _PASSED_ON:
            return super().raw(request, target)
        headers = {"content-type": request.content_type, "accept": _ANYTHING}
        body = _renamed(request, target.version.upstream)
        return WireRequest("POST", f"{self.base_url}/{request.operation}", headers, body)


def _renamed(request: RawRequest, upstream: str) -> bytes:
    """The body with the provider's name of the model; JSON may lack the field."""
    boundary = boundary_of(request.content_type)
    if boundary is not None:
        if read_field(request.body, boundary, "model") is None:
            raise InvalidRequest(
                "Missing required parameter: 'model'.",
                code="missing_required_parameter",
                param="model",
            )
        return replace_field(request.body, boundary, "model", upstream)
    try:
        fields = msgspec.json.decode(request.body, type=Fields)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json") from None
    fields["model"] = Raw(msgspec.json.encode(upstream))
    return msgspec.json.encode(fields)


@lru_cache(maxsize=1024)
def _thinks(upstream: str) -> bool:
    """Whether a model reasons, by its name there."""
    return _THINKS.search(upstream) is not None


def _with_kind(model: ModelDescription) -> ModelDescription:
    """By the last part of its name, where the list does not tell."""
    name = model.name.rpartition("/")[2].lower()
    kind = next((kind for kind, pattern in _KINDS if pattern.search(name)), None)
    if kind is None or model.kind != "chat":
        return model
    return msgspec.structs.replace(model, kind=kind)


class OpenAIAdapter(_Operations):
    """OpenAI's own API. options: `organization` and `project`, besides the common ones."""

    provider: ClassVar[str] = "openai"
    display_name: ClassVar[str] = "OpenAI"
    default_base_url: ClassVar[str] = "https://api.openai.com/v1"
    environment: ClassVar[EnvironmentSpec | None] = EnvironmentSpec(
        required=(("OPENAI_API_KEY",),),
        credential={"api_key": "OPENAI_API_KEY"},
        options={"organization": "OPENAI_ORG_ID", "project": "OPENAI_PROJECT_ID"},
        base_url="OPENAI_BASE_URL",
    )
    known_options: ClassVar[frozenset[str]] = OpenAILanguageAdapter.known_options | {
        "organization",
        "project",
    }
    account_options: ClassVar[frozenset[str]] = frozenset({"organization", "project"})
    own_options: ClassVar[frozenset[str]] = account_options
    features: ClassVar[Features] = MappingProxyType({**_COMMON, **_OWN})

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        named = {name: endpoint.options.get(name) for name in ("organization", "project")}
        self._payer = {f"openai-{name}": value for name, value in named.items() if value}

    @classmethod
    @override
    def supported_models(cls) -> list[ModelDescription]:
        return [
            ModelDescription(
                name=name,
                display_name=shown,
                kind=kind,
                context_length=context,
                versions=only_version(name),
            )
            for name, shown, kind, context in _MODELS
        ]

    @override
    def authorize(self, wire: WireRequest, token: str | None) -> None:
        super().authorize(wire, token)
        wire.headers |= self._payer

    @override
    def encode_chat(self, request: ChatRequest, target: Target) -> ChatExchange:
        """Thoughts of a history are refused there, and `max_tokens` by models that think."""
        thinks = _thinks(target.version.upstream)
        request, dropped = without_guests(request, thinks=thinks)
        fields, lost = request.fields, without_thoughts(request)
        if lost is not None:
            fields = fields | {"messages": lost}
            dropped.append("messages.reasoning_content")
        if request.reasoning_effort == "none" and not thinks:  # it is the only way of these models
            fields = {name: raw for name, raw in fields.items() if name != "reasoning_effort"}
        if thinks and request.max_tokens is not None and request.max_completion_tokens is None:
            fields = dict(fields)
            fields["max_completion_tokens"] = fields.pop("max_tokens")
        if fields is not request.fields:
            request = msgspec.structs.replace(request, fields=fields)
        exchange = super().encode_chat(request, target)
        if dropped:
            exchange.dropped = (*exchange.dropped, *dropped)
        return exchange

    @override
    def decode_models(self, reply: WireReply) -> list[ModelDescription]:
        """The list has no contexts: those of the models that ship with the adapter are put in."""
        known = {model.name: model for model in self.supported_models()}
        entries = (entry for entry in listed(reply.body) if not _NEITHER.search(entry["id"]))
        return [known.get(entry["id"]) or _with_kind(described(entry)) for entry in entries]


class GenericOpenAIAdapter(_Operations):
    """Any other service that speaks the language; its models are found, not known."""

    provider: ClassVar[str] = "openai-compatible"
    display_name: ClassVar[str] = "OpenAI-compatible"
    environment: ClassVar[EnvironmentSpec | None] = EnvironmentSpec(
        required=(("OPENAI_COMPATIBLE_BASE_URL",),),
        credential={"api_key": "OPENAI_COMPATIBLE_API_KEY"},
        base_url="OPENAI_COMPATIBLE_BASE_URL",
    )
    detect_rank: ClassVar[int] = 100
    features: ClassVar[Features] = MappingProxyType(_COMMON)

    @classmethod
    @override
    def detect_probe(cls, base_url: str) -> WireRequest | None:
        return WireRequest("GET", f"{base_url}/models", {"accept": "application/json"})

    @classmethod
    @override
    def recognises(cls, reply: WireReply) -> bool:
        """A list of models, or an error object that asks for a key."""
        try:
            body = msgspec.json.decode(reply.body)
        except (ValueError, RecursionError):
            return False
        if not isinstance(body, dict):
            return False
        if reply.status in (401, 403):
            return bool(body.get("error") or body.get("detail") or body.get("message"))
        return reply.status < 300 and isinstance(body.get("data"), list)  # noqa: PLR2004 - HTTP

    @override
    def encode_chat(self, request: ChatRequest, target: Target) -> ChatExchange:
        """As it is; without what the service then refuses of another API's fields."""

        def asked(request: ChatRequest, lost: list[str]) -> GuestChat:
            body, dropped = chat_body(request, target.version.upstream, self.habits)
            wire = self.post("/chat/completions", body, stream=request.streaming)
            return GuestChat(wire, self.reader, tuple(sorted([*dropped, *lost])), again)

        def again(error: InvalidRequest) -> GuestChat | None:
            lessened = lessen(request, error)
            return None if lessened is None else asked(*lessened)

        return asked(request, [])

    @override
    def decode_models(self, reply: WireReply) -> list[ModelDescription]:
        return [_with_kind(model) for model in super().decode_models(reply)]
