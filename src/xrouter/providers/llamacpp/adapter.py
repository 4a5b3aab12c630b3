"""llama.cpp's server: OpenAI's language with gaps, and a few native routes beside it."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec
from msgspec import Raw
from typing_extensions import override

from xrouter.domain.abilities import Features
from xrouter.domain.catalog import Endpoint, ModelDescription
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.domain.plan import Target
from xrouter.domain.tools import function_tools
from xrouter.providers.base import ChatExchange, EmbeddingsExchange, EnvironmentSpec, Lane
from xrouter.providers.llamacpp.counting import count_chat, count_texts
from xrouter.providers.llamacpp.emulate import emulate
from xrouter.providers.llamacpp.emulated import Emulated
from xrouter.providers.llamacpp.errors import LOADING_STATUS, LlamaCppErrors
from xrouter.providers.llamacpp.exchanges import LlamaCppChat, Made
from xrouter.providers.llamacpp.features import FEATURES
from xrouter.providers.llamacpp.messages import (
    has_media,
    refuse_custom_calls,
    refuse_parts,
    refuse_unseen,
    repaired,
)
from xrouter.providers.llamacpp.order import arranged
from xrouter.providers.llamacpp.schema import sound_schemas
from xrouter.providers.llamacpp.template import Template, TemplateBook
from xrouter.providers.shapes.openai import OpenAILanguageAdapter
from xrouter.providers.shapes.openai_body import chat_body, drop, embeddings_body, is_null
from xrouter.providers.shapes.openai_embeddings import OpenAIEmbeddings
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.providers.shapes.openai_models import described, listed
from xrouter.providers.shapes.openai_tools import narrow_tools
from xrouter.wire.types import Errand, WireReply, WireRequest

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

_STRICT: dict[str, dict[str, bool]] = {
    "auto": {},
    "false": {"turns": False, "late_system": True},
    "true": {"turns": True, "late_system": False},
    "plain": {"turns": True, "late_system": False, "tools": False},
}
"""What the operator says of the template, by the values of `strict_roles`."""
_TOOLS = ("emulate", "refuse", "native")

_LEGACY = ("functions", "function_call")
_NUMBER = re.compile(r"[1-9]\d{0,8}")
_OWN_KEYS = frozenset({"default_generation_settings", "total_slots", "models_autoload"})


class LlamaCppAdapter(OpenAILanguageAdapter):
    """Speaks to `llama-server`.

    base_url: the server's root, with or without `/v1`. credential: `api_key` if it was started
    with one. options, besides the common ones:

    strict_roles        "auto": the order of the messages that the model's chat template demands;
                        "false": theirs; "true": one system message and strict turns of user and
                        assistant; "plain": that, and calls of tools as text
    tools               what is done for a template that knows no tools: "emulate" or "refuse";
                        "native": nothing, also where the server says that it knows none
    max_tokens_default  limit of an answer when the caller sets none; the server has none itself
    concurrency         how many calls the server is sent at a time
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
        "tools",
        "max_tokens_default",
        "concurrency",
    }
    features: ClassVar[Features] = FEATURES
    errors: ClassVar[type[ErrorReader]] = LlamaCppErrors

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.root = _root(self.base_url)
        self.base_url = self.root + "/v1"
        learns = endpoint.options.get("strict_roles", "auto") == "auto"
        self._book = TemplateBook(self.root, self.reader, learns=learns)

    @classmethod
    @override
    def validate(cls, endpoint: Endpoint) -> None:
        super().validate(endpoint)
        options = endpoint.options
        for name, words in (("strict_roles", tuple(_STRICT)), ("tools", _TOOLS)):
            if options.get(name, words[0]) not in words:
                raise InvalidRequest(
                    f"'{name}' must be one of: {', '.join(words)}.",
                    code="invalid_value",
                    param=f"options.{name}",
                )
        for name in ("max_tokens_default", "concurrency"):
            if not _NUMBER.fullmatch(options.get(name, "1")):
                raise InvalidRequest(
                    f"'{name}' must be a positive number.",
                    code="invalid_value",
                    param=f"options.{name}",
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
        model = target.version.upstream
        body, dropped = self._body(request, model)

        def make(template: Template) -> Made:
            return self._made(request, body, dropped, template)

        return LlamaCppChat(request, model, self._book, make)

    def _body(self, request: ChatRequest, model: str) -> tuple[dict[str, Any], list[str]]:
        """What is asked of every template, and the parameters given up."""
        body, dropped = chat_body(request, model, self.habits)
        dropped += _drop_ignored(body)
        if is_null(body.get("reasoning_format")):
            body.pop("reasoning_format", None)
        sound_schemas(request, body)
        body["messages"] = repaired(request.fields["messages"])
        if request.logprobs and not request.top_logprobs:
            body["top_logprobs"] = 1
        limit = self.endpoint.options.get("max_tokens_default")
        if limit is not None and request.output_limit is None:
            body["max_tokens"] = int(limit)
        return body, dropped

    def _made(
        self, request: ChatRequest, body: dict[str, Any], dropped: list[str], known: Template
    ) -> Made:
        """The request for a template. Raises InvalidRequest for what the model cannot do."""
        template = self._template(known)
        body, dropped = dict(body), list(dropped)
        refuse_unseen(request, vision=template.vision, audio=template.audio)
        instruction, emulated = "", None
        if request.tools and not template.tools:
            mode = narrow_tools(request, body)
            if mode is not None:
                self._refuse_tools()
                instruction, given_up = emulate(request, body, mode)
                dropped += given_up
                emulated = Emulated()
        elif isinstance(request.tool_choice, dict):
            mode = narrow_tools(request, body)
            if mode is not None:
                body["tool_choice"] = mode
        body["messages"] = arranged(body["messages"], template, instruction)
        wire = self.post("/chat/completions", body, stream=request.streaming)
        return Made(wire, tuple(sorted(dropped)), emulated)

    def _template(self, known: Template) -> Template:
        """What is known, unless the operator says otherwise."""
        mode = self.endpoint.options.get("strict_roles", "auto")
        changes = _STRICT[mode]
        if self.endpoint.options.get("tools") == "native":
            changes = changes | {"tools": True}
        return msgspec.structs.replace(known, **changes) if changes else known

    def _refuse_tools(self) -> None:
        if self.endpoint.options.get("tools") == "refuse":
            raise InvalidRequest(
                "Unsupported parameter: 'tools' is not supported with this model.",
                code="unsupported_parameter",
                param="tools",
                hint="For the operator: the chat template of the model knows no tools; the "
                "endpoint's option tools=emulate makes up for it.",
            )

    @override
    def encode_embeddings(self, request: EmbeddingsRequest, target: Target) -> EmbeddingsExchange:
        """The server ignores `dimensions`."""
        body, dropped = embeddings_body(request, target.version.upstream, self.habits)
        dropped += drop(body, frozenset({"dimensions", "user"}))
        wire = self.post("/embeddings", body)
        return OpenAIEmbeddings(wire, len(request.input), self.reader, tuple(sorted(dropped)))

    @override
    def count(self, request: CountRequest, target: Target) -> Errand[TokenCount] | None:
        """Texts alone, without the template's marks around them; a chat as the prompt it makes."""
        model = target.version.upstream
        if request.chat is None:
            return count_texts(self.root, model, request.texts or [], self.decode_error)
        return self._count_chat(request.chat, target)

    def _count_chat(self, chat: ChatRequest, target: Target) -> Errand[TokenCount]:
        exchange = self.encode_chat(chat, target)
        before = exchange.before()
        if before is not None:
            yield from before
        estimated = has_media(chat)
        judge, model = self.decode_error, target.version.upstream
        counted = count_chat(self.root, model, exchange.wire, judge, estimated=estimated)
        return (yield from counted)

    @override
    def lane(self) -> Lane | None:
        """As wide as the operator says; what is more waits here instead of at the server."""
        width = self.endpoint.options.get("concurrency")
        return None if width is None else Lane((self.provider, self.root), int(width))

    @override
    def decode_error(self, reply: WireReply) -> XRouterError:
        error = super().decode_error(reply)
        if reply.status == LOADING_STATUS:
            self._book.forget()
        return error

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
    refuse_parts(request)


def _drop_ignored(body: dict[str, Any]) -> list[str]:
    for name, values in _AS_IT_IS.items():
        given = body.get(name)
        if given is not None and not is_null(given) and msgspec.json.decode(given) in values:
            del body[name]
    return drop(body, _IGNORED)
