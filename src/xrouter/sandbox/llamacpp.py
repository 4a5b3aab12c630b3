"""The simulated llama.cpp server: routes, key, prices. It has one model loaded and four slots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from typing_extensions import override

from xrouter.sandbox.kit import (
    Charge,
    SandboxRequest,
    SandboxResponse,
    Simulator,
    count_tokens,
    json_response,
)
from xrouter.sandbox.llamacpp_chat import compose, stream, whole
from xrouter.sandbox.llamacpp_checks import check_chat
from xrouter.sandbox.llamacpp_errors import ServerError
from xrouter.sandbox.llamacpp_fields import check_fields
from xrouter.sandbox.llamacpp_model import (
    ALIAS,
    EMBEDDER,
    QWEN,
    ROUTED,
    SLOTS,
    Loaded,
    Vocabulary,
    models,
    props,
    routed_models,
    router_props,
    slots,
)
from xrouter.sandbox.llamacpp_native import (
    completions,
    detokenize,
    embeddings,
    openai_embeddings,
    tokenize,
)

Body = dict[str, Any]

_SERVER = {"server": "llama.cpp"}
_NULL_IS_WRONG = ("messages", "prompt", "reasoning_format")
_JSON = _SERVER | {"content-type": "application/json; charset=utf-8"}


class LlamaCppSimulator(Simulator):
    """A llama.cpp server: its native routes, and OpenAI's under /v1. No key is needed.

    While a model loads every route answers 503: add the fault server_error with status 503.
    """

    name: ClassVar[str] = "llamacpp"
    environment: ClassVar[dict[str, str]] = {"LLAMACPP_BASE_URL": "{origin}/llamacpp"}
    api_key: ClassVar[str | None] = None

    def __init__(self, bill: list[Charge]) -> None:
        super().__init__(bill)
        self._busy = 0
        self._vocabulary = Vocabulary()
        gets: dict[str, Callable[[SandboxRequest], Any]] = {
            "/health": lambda _: {"status": "ok"},
            "/v1/health": lambda _: {"status": "ok"},
            "/models": lambda _: self._models(),
            "/v1/models": lambda _: self._models(),
            "/props": self._props,
            "/slots": self._slots,
        }
        posts: dict[str, Callable[[Body], SandboxResponse]] = {
            "/tokenize": lambda body: _json(tokenize(body, self._vocabulary)),
            "/detokenize": lambda body: _json(detokenize(body, self._vocabulary)),
            "/apply-template": self._template,
            "/completion": self._complete,
            "/completions": self._complete,
            "/embedding": self._native_embeddings,
            "/embeddings": self._native_embeddings,
            "/v1/embeddings": self._embeddings,
        }
        for prefix in ("", "/v1"):
            posts[f"{prefix}/chat/completions"] = self._chat
            posts[f"{prefix}/chat/completions/input_tokens"] = self._count
        self._gets = gets
        self._posts = posts

    @override
    async def handle(self, request: SandboxRequest) -> SandboxResponse:
        """Answer as llama-server does."""
        try:
            return self._route(request)
        except ServerError as error:
            return _json(error.envelope, error.code)

    @override
    def failure(self, status: int, message: str | None = None) -> SandboxResponse:
        """The error of this status; of 503: the model is loading."""
        return _json(ServerError(status, message).envelope, status)

    @override
    def error_frame(self) -> bytes:
        """What kills a stream when the slots share a full context."""
        error = ServerError(500, "Context size has been exceeded.")
        return b"data: " + msgspec.json.encode(error.envelope) + b"\n\n"

    def _route(self, request: SandboxRequest) -> SandboxResponse:
        self._check_key(request)
        if request.method in ("GET", "HEAD") and request.path in self._gets:
            return _json(self._gets[request.path](request))
        if request.method == "POST" and request.path in self._posts:
            return self._posts[request.path](_body(request))
        raise ServerError(404)

    def _check_key(self, request: SandboxRequest) -> None:
        if self.api_key is None or request.path in ("/health", "/v1/health"):
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        given = key if scheme == "Bearer" else request.headers.get("x-api-key", "")
        if given != self.api_key:
            raise ServerError(401)

    def _slots(self, request: SandboxRequest) -> Any:
        if self._busy >= SLOTS and request.query.get("fail_on_no_slot"):
            raise ServerError(503, "no slot available")
        return slots(self._busy)

    def _models(self) -> Any:
        return models()

    def _props(self, request: SandboxRequest) -> Any:  # noqa: ARG002 - of one model all ask
        return props(QWEN)

    def _asked(self, body: Body) -> Loaded:  # noqa: ARG002 - the one model answers to any name
        """The model that a body is for."""
        return QWEN

    def _template(self, body: Body) -> SandboxResponse:
        return _json({"prompt": self._rendered(body)})

    def _count(self, body: Body) -> SandboxResponse:
        counted = count_tokens(self._rendered(body))
        return _json({"input_tokens": counted, "object": "response.input_tokens"})

    def _rendered(self, body: Body) -> str:
        model = self._asked(body)
        check_chat(body, model)
        return model.template.render(body["messages"], body.get("tools"))

    def _chat(self, body: Body) -> SandboxResponse:
        model = self._asked(body)
        check_chat(body, model)
        check_fields(body)
        answer = compose(body, model)
        pause, tokens = answer.wish.pause, (answer.prompt, answer.size)
        if body.get("stream") is not True:
            response = _json(whole(answer))
            response.delay = pause * answer.size
            return self._charged(response, model.name, "chat", tokens, [])
        frames, costs = stream(answer, body)
        response = _events(frames, pause)
        return self._charged(response, model.name, "chat", tokens, costs)

    def _complete(self, body: Body) -> SandboxResponse:
        check_fields(body)
        made = completions(body, self._vocabulary)
        evaluated = sum(one.evaluated for one in made)
        predicted = sum(len(one.tokens) for one in made)
        pause = made[0].wish.pause
        if body.get("stream") is not True:
            results = [one.whole() for one in made]
            response = _json(results if len(results) > 1 else results[0])
            response.delay = pause * predicted
            return self._charged(response, ALIAS, "completion", (evaluated, predicted), [])
        frames = [frame for one in made for frame in one.frames()]
        costs = [
            sum(len(one.tokens) for one in made[:place]) + min(count, len(made[place].tokens))
            for place in range(len(made))
            for count in range(1, len(made[place].tokens) + 2)
        ]
        response = _events(frames, pause)
        return self._charged(response, ALIAS, "completion", (evaluated, predicted), costs)

    def _charged(
        self,
        response: SandboxResponse,
        model: str,
        operation: str,
        tokens: tuple[int, int],
        costs: list[int],
    ) -> SandboxResponse:
        """Take a slot until the response is over; then charge what was made until then.

        tokens: of the prompt, and of a whole answer.
        """
        prompt, predicted = tokens
        self._busy += 1

        def close(sent: int) -> None:
            self._busy -= 1
            spent = predicted
            if response.frames is not None:
                spent = costs[min(sent, len(costs)) - 1] if sent else 0
            self.bill.append(
                Charge(
                    provider=self.name,
                    model=model,
                    operation=operation,
                    tokens_in=prompt,
                    tokens_out=spent,
                    streamed=response.frames is not None,
                    key=self.api_key or "",
                )
            )

        response.on_close = close
        return response

    def _embed(self, body: Body) -> tuple[list[list[float]], int]:
        if "embed" not in str(body.get("model", "")):
            raise ServerError(
                501, "This server does not support embeddings. Start it with `--embeddings`"
            )
        vectors, counts = embeddings(body, self._vocabulary)
        total = sum(counts)
        self.bill.append(Charge(self.name, EMBEDDER, "embeddings", total, 0))
        return vectors, total

    def _embeddings(self, body: Body) -> SandboxResponse:
        vectors, total = self._embed(body)
        return _json(openai_embeddings(body, vectors, total))

    def _native_embeddings(self, body: Body) -> SandboxResponse:
        vectors, _ = self._embed(body)
        return _json([{"index": i, "embedding": [floats]} for i, floats in enumerate(vectors)])


class LockedLlamaCppSimulator(LlamaCppSimulator):
    """The same llama.cpp server started with --api-key sk-sandbox."""

    name: ClassVar[str] = "llamacpp-locked"
    environment: ClassVar[dict[str, str]] = {}
    api_key: ClassVar[str | None] = "sk-sandbox"


class RoutingLlamaCppSimulator(LlamaCppSimulator):
    """A llama.cpp server started without a model: it has several, with templates of all kinds.

    Bodies name the model; GET /props?model= and GET /slots?model= do.
    """

    name: ClassVar[str] = "llamacpp-router"
    environment: ClassVar[dict[str, str]] = {}

    @override
    def _route(self, request: SandboxRequest) -> SandboxResponse:
        if request.method == "POST" and request.path in self._posts:
            self._check_key(request)
            self._asked(_body(request))
        return super()._route(request)

    @override
    def _models(self) -> Any:
        return routed_models()

    @override
    def _props(self, request: SandboxRequest) -> Any:
        name = request.query.get("model")
        return props(_known(name)) if name else router_props()

    @override
    def _slots(self, request: SandboxRequest) -> Any:
        _known(request.query.get("model"))
        return super()._slots(request)

    @override
    def _asked(self, body: Body) -> Loaded:
        return _known(body.get("model"))


def _known(name: Any) -> Loaded:
    if not isinstance(name, str) or not name:
        raise ServerError(400, "model name is missing from the request")
    if name not in ROUTED:
        raise ServerError(400, f"model '{name}' not found")
    return ROUTED[name]


def _json(value: Any, status: int = 200) -> SandboxResponse:
    return json_response(value, status, _JSON)


def _events(frames: list[bytes], pause: float) -> SandboxResponse:
    headers = _SERVER | {"content-type": "text/event-stream"}
    return SandboxResponse(headers=headers, frames=frames, stream_pause=pause)


def _body(request: SandboxRequest) -> Body:
    """The body's fields; null is absent but for a few; what is no object has no fields."""
    try:
        body = request.json()
    except ValueError as error:
        raise ServerError(
            500, f"[json.exception.parse_error.101] parse error at line 1: {error}"
        ) from error
    fields = body if isinstance(body, dict) else {}
    return {name: v for name, v in fields.items() if v is not None or name in _NULL_IS_WRONG}
