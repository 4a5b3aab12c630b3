"""Mistral's La Plateforme: OpenAI's language with a closed schema and strict turns."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, ClassVar

from typing_extensions import override

from xrouter.domain.abilities import Features
from xrouter.domain.catalog import Endpoint, ModelDescription
from xrouter.domain.chat import ChatRequest
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.plan import Target
from xrouter.domain.raw import RawRequest
from xrouter.providers.base import ChatExchange, EmbeddingsExchange, EnvironmentSpec
from xrouter.providers.mistral.content import Dropped, Part
from xrouter.providers.mistral.errors import REQUEST_IDS, MistralErrors
from xrouter.providers.mistral.exchange import Call, MistralChat
from xrouter.providers.mistral.messages import history_of
from xrouter.providers.mistral.models import models_of, shortens, thinks
from xrouter.providers.mistral.parameters import parameters_of, reason
from xrouter.providers.mistral.raw import MODERATIONS, PATHS, body_of, with_flags
from xrouter.providers.mistral.tools import tooling_of
from xrouter.providers.shapes.messages_fields import at_home
from xrouter.providers.shapes.openai import OpenAILanguageAdapter
from xrouter.providers.shapes.openai_body import drop
from xrouter.providers.shapes.openai_embeddings import OpenAIEmbeddings
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.wire.types import WireReply, WireRequest

_MAX_DROPPED = 64
_EMBEDDING = frozenset({"input", "output_dimension", "output_dtype", "metadata"})
_OURS = frozenset({"model", "encoding_format", "dimensions"})


class MistralAdapter(OpenAILanguageAdapter):
    """Speaks to api.mistral.ai, its regional hosts, and codestral.mistral.ai.

    base_url: with `/v1`. credential: `api_key`. options: none. Moderations: `flagged`, which the
    provider does not say, is true where at least one of its categories is.
    """

    provider: ClassVar[str] = "mistral"
    display_name: ClassVar[str] = "Mistral"
    default_base_url: ClassVar[str] = "https://api.mistral.ai/v1"
    environment: ClassVar[EnvironmentSpec | None] = EnvironmentSpec(
        required=(("MISTRAL_API_KEY",),),
        credential={"api_key": "MISTRAL_API_KEY"},
        base_url="MISTRAL_BASE_URL",
    )
    known_options: ClassVar[frozenset[str]] = frozenset()
    errors: ClassVar[type[ErrorReader]] = MistralErrors
    request_id_headers: ClassVar[tuple[str, ...]] = REQUEST_IDS
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
            "json_object": "native",
            "json_schema": "native",
            "vision": "native",
            "image_urls": "native",
            "files": "native",
            "audio_input": "native",
            "audio_output": "refused",
            "reasoning": "native",
            "stop": "native",
            "n": "native",
            "max_tokens": "native",
            "temperature_zero": "native",
            "top_p": "native",
            "penalties": "native",
            "seed": "native",
            "logprobs": "native",
            "logit_bias": "dropped",
            "prediction": "native",
            "custom_tools": "emulated",
            "embeddings": "native",
            "dimensions": "native",
            "images": "refused",
            "speech": "refused",
            "transcription": "native",
            "moderations": "native",
        }
    )

    @classmethod
    @override
    def validate(cls, endpoint: Endpoint) -> None:
        super().validate(endpoint)
        if not endpoint.credential.get("api_key"):
            raise InvalidRequest(
                "The credential needs 'api_key'.",
                code="missing_required_parameter",
                param="credential.api_key",
            )

    @classmethod
    @override
    def detect_probe(cls, base_url: str) -> WireRequest | None:
        return WireRequest("GET", f"{base_url}/models", {"accept": "application/json"})

    @classmethod
    @override
    def recognises(cls, reply: WireReply) -> bool:
        """By the header that it sends with every answer, refusals included."""
        return REQUEST_IDS[0] in reply.headers

    @override
    def encode_chat(self, request: ChatRequest, target: Target) -> ChatExchange:
        request, lost = at_home(request)
        dropped: Dropped = set(lost)
        upstream = target.version.upstream
        reasons = thinks(target.model, upstream)
        tooling = tooling_of(request, dropped)
        history = history_of(request, dropped, thinks=reasons is True)
        body: Part = {"model": upstream, "messages": history.messages}
        body |= parameters_of(request, dropped)
        body |= tooling.fields
        reason(request, upstream, body, dropped, thinks=reasons)
        call = Call(body, tooling, frozenset(sorted(dropped)[:_MAX_DROPPED]), history.echo)
        return MistralChat(call, self._post_chat, self.reader)

    @override
    def encode_embeddings(self, request: EmbeddingsRequest, target: Target) -> EmbeddingsExchange:
        """Always plain numbers; the door encodes them."""
        upstream = target.version.upstream
        body: dict[str, Any] = dict(request.fields)
        strange = frozenset(body.keys() - _EMBEDDING - _OURS)
        dropped = drop(body, strange)
        if request.dimensions is not None:
            if shortens(target.model, upstream):
                body["output_dimension"] = request.dimensions
            else:
                dropped.append("dimensions")
        body.pop("dimensions", None)
        body |= {"model": upstream, "encoding_format": "float"}
        wire = self.post("/embeddings", body)
        names = tuple(sorted(dropped)[:_MAX_DROPPED])
        return OpenAIEmbeddings(wire, len(request.input), self.reader, names)

    @override
    def raw(self, request: RawRequest, target: Target) -> WireRequest:
        path = PATHS.get(request.operation)
        if path is None:
            return super().raw(request, target)
        headers = {"content-type": request.content_type, "accept": "*/*"}
        body = body_of(request, target.version.upstream)
        return WireRequest("POST", self.base_url + path, headers, body)

    @override
    def raw_reader(self, request: RawRequest) -> Callable[[bytes], bytes] | None:
        """Verdicts get the `flagged` that the provider leaves out."""
        return with_flags if request.operation == MODERATIONS else None

    @override
    def decode_models(self, reply: WireReply) -> list[ModelDescription]:
        return models_of(reply.body)

    def _post_chat(self, body: Part) -> WireRequest:
        return self.post("/chat/completions", body, stream=body.get("stream") is True)
