"""llama.cpp's server: OpenAI's language with gaps, and a few native routes beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from msgspec import Raw
from typing_extensions import override

from xrouter.domain.catalog import Endpoint, ModelDescription
from xrouter.domain.chat import ChatRequest
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.plan import Target
from xrouter.domain.tools import function_tools
from xrouter.providers.base import ChatExchange, CountExchange, EmbeddingsExchange, EnvironmentSpec
from xrouter.providers.llamacpp.errors import LlamaCppErrors
from xrouter.providers.llamacpp.exchanges import LlamaCppChat, LlamaCppCount
from xrouter.providers.llamacpp.messages import (
    STRICT,
    in_strict_order,
    refuse_custom_calls,
    repaired,
)
from xrouter.providers.shapes.openai import OpenAILanguageAdapter
from xrouter.providers.shapes.openai_body import chat_body, drop, embeddings_body, is_null
from xrouter.providers.shapes.openai_embeddings import OpenAIEmbeddings
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.providers.shapes.openai_models import described, listed
from xrouter.providers.shapes.openai_tools import narrow_tools
from xrouter.wire.types import WireReply, WireRequest

_IGNORED = frozenset(
    {
        "user", "store", "metadata", "service_tier", "prediction", "modalities", "verbosity",
        "safety_identifier", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "web_search_options", "audio", "moderation",
    }
)  # fmt: skip
"""Parameters the server ignores."""

_AS_IT_IS: dict[str, tuple[Any, ...]] = {
    "store": (False,),
    "metadata": ({},),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "verbosity": ("medium",),
}
"""Values of them that ask for nothing but what the server does anyway."""

_LEGACY = ("functions", "function_call")
_NUMBER = re.compile(r"[1-9]\d{0,8}")
_OWN_KEYS = frozenset({"default_generation_settings", "total_slots", "models_autoload"})


class LlamaCppAdapter(OpenAILanguageAdapter):
    """Speaks to `llama-server`.

    base_url: the server's root, with or without `/v1`. credential: `api_key` if it was started
    with one. options, besides the common ones:

    strict_roles        "true" for templates that demand one system message and strict turns;
                        "plain" when they know no tools either (Gemma)
    max_tokens_default  limit of an answer when the caller sets none; the server has none itself
    """

    provider: ClassVar[str] = "llamacpp"
    display_name: ClassVar[str] = "llama.cpp"
    default_base_url: ClassVar[str] = "http://127.0.0.1:8080"
    environment: ClassVar[EnvironmentSpec | None] = EnvironmentSpec(
        required=(("LLAMACPP_BASE_URL",),),
        credential={"api_key": "LLAMACPP_API_KEY"},
        base_url="LLAMACPP_BASE_URL",
    )
    known_options: ClassVar[frozenset[str]] = OpenAILanguageAdapter.known_options | {
        "strict_roles",
        "max_tokens_default",
    }
    errors: ClassVar[type[ErrorReader]] = LlamaCppErrors

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.root = _root(self.base_url)
        self.base_url = self.root + "/v1"

    @classmethod
    @override
    def validate(cls, endpoint: Endpoint) -> None:
        super().validate(endpoint)
        options = endpoint.options
        if options.get("strict_roles", "false") not in STRICT:
            raise InvalidRequest(
                f"'strict_roles' must be one of: {', '.join(STRICT)}.",
                code="invalid_value",
                param="options.strict_roles",
            )
        if not _NUMBER.fullmatch(options.get("max_tokens_default", "1")):
            raise InvalidRequest(
                "'max_tokens_default' must be a positive number.",
                code="invalid_value",
                param="options.max_tokens_default",
            )

    @classmethod
    @override
    def detect_probe(cls, base_url: str) -> WireRequest | None:
        return WireRequest("GET", _root(base_url) + "/props", {"accept": "application/json"})

    @classmethod
    @override
    def recognises(cls, reply: WireReply) -> bool:
        """By its name in the headers, which it sends also while loading and without a key."""
        if reply.headers.get("server", "").lower().startswith("llama.cpp"):
            return True
        try:
            body = msgspec.json.decode(reply.body, type=dict[str, Raw])
        except (ValueError, RecursionError):
            return False
        return bool(_OWN_KEYS & body.keys())

    @override
    def encode_chat(self, request: ChatRequest, target: Target) -> ChatExchange:
        _refuse(request)
        body, dropped = chat_body(request, target.version.upstream, self.habits)
        dropped += _drop_ignored(body)
        if is_null(body.get("reasoning_format")):
            body.pop("reasoning_format", None)
        body["messages"] = self._messages(request)
        if isinstance(request.tool_choice, dict):
            mode = narrow_tools(request, body)
            if mode is not None:
                body["tool_choice"] = mode
        if request.logprobs and not request.top_logprobs:
            body["top_logprobs"] = 1
        limit = self.endpoint.options.get("max_tokens_default")
        if limit is not None and request.output_limit is None:
            body["max_tokens"] = int(limit)
        wire = self.post("/chat/completions", body, stream=request.streaming)
        return LlamaCppChat(wire, self.reader, tuple(sorted(dropped)), request)

    @override
    def encode_embeddings(self, request: EmbeddingsRequest, target: Target) -> EmbeddingsExchange:
        """The server ignores `dimensions`."""
        body, dropped = embeddings_body(request, target.version.upstream, self.habits)
        dropped += drop(body, frozenset({"dimensions", "user"}))
        wire = self.post("/embeddings", body)
        return OpenAIEmbeddings(wire, len(request.input), self.reader, tuple(sorted(dropped)))

    @override
    def encode_count(self, texts: Sequence[str], target: Target) -> CountExchange:
        """The texts alone, without the template's marks around them."""
        model = target.version.upstream
        return LlamaCppCount([self._tokenize(text, model) for text in texts])

    @override
    def probe(self) -> WireRequest:
        """`/health` is open to all, so with a key the list of models tells more."""
        if self.endpoint.credential.get("api_key"):
            return self.get("/models")
        return WireRequest("GET", self.root + "/health", {"accept": "application/json"})

    @override
    def decode_models(self, reply: WireReply) -> list[ModelDescription]:
        """A model without an alias is called by the path of its file: its name is enough."""
        return [described(entry, _name_of(entry["id"])) for entry in listed(reply.body)]

    def _messages(self, request: ChatRequest) -> Raw | list[dict[str, Any]]:
        messages = repaired(request.fields["messages"])
        mode = self.endpoint.options.get("strict_roles", "false")
        return messages if mode == "false" else in_strict_order(messages, mode)

    def _tokenize(self, text: str, model: str) -> WireRequest:
        headers = {"content-type": "application/json", "accept": "application/json"}
        body = {"model": model, "content": text, "add_special": False}
        return WireRequest("POST", self.root + "/tokenize", headers, msgspec.json.encode(body))


def _root(base_url: str) -> str:
    return base_url.rstrip("/").removesuffix("/v1").rstrip("/")


def _name_of(model_id: str) -> str:
    path = model_id.replace("\\", "/")
    if not path.endswith(".gguf"):
        return model_id
    return path.rsplit("/", 1)[-1].removesuffix(".gguf") or model_id


def _refuse(request: ChatRequest) -> None:
    """What the server would ignore without a word, or answer with a 500."""
    for name in _LEGACY:
        if getattr(request, name) is not None:
            raise InvalidRequest(
                f"Unsupported parameter: '{name}' is not supported with this model. "
                "Use 'tools' and 'tool_choice' instead.",
                code="unsupported_parameter",
                param=name,
            )
    function_tools(request)
    refuse_custom_calls(request)


def _drop_ignored(body: dict[str, Any]) -> list[str]:
    for name, values in _AS_IT_IS.items():
        given = body.get(name)
        if given is not None and not is_null(given) and msgspec.json.decode(given) in values:
            del body[name]
    return drop(body, _IGNORED)
